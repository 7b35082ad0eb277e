//! From a plugin's Cargo project to the bytes of its component.
//!
//! Two routes lead to a compiler for `wasm32-unknown-unknown`, the only target of ours (it has no
//! WASI, so a guest starts with no authority at all):
//!
//! 1. [`Route::Target`]: the `rustc` on `PATH` has the target, or rustup adds it;
//! 2. [`Route::Debian`]: Debian 12's own packages, with the standard library built from source.
//!
//! [`WasmToolchain::find`] takes the first that works, [`WasmToolchain::build_component`] runs
//! Cargo with it and wraps the core module as a component. `aimass plugin build` and
//! `cargo xtask` both build through this crate, so first-party plugins are built exactly as a
//! third party's are. It never signs anything and never runs what it built.
//!
//! Other languages ([`Language`]) are built by [`GuestBuild`], with the compilers of [`Tools`].
//!
//! The feature `component` (on by default) is the building; without it only the toolchain is
//! found, and nothing but the standard library is linked.

#[cfg(feature = "component")]
mod component;
#[cfg(feature = "component")]
mod contract;
mod environment;
mod find;
#[cfg(feature = "component")]
mod guest;
mod language;
mod process;
mod tools;

#[cfg(feature = "component")]
pub use component::{BuildError, ComponentBuild, core_to_component};
pub use find::{ROUTE_VARIABLE, Route, ToolchainError, WasmToolchain};
#[cfg(feature = "component")]
pub use guest::GuestBuild;
pub use language::{Language, UnknownLanguage};
pub use tools::{JavaScriptTools, ToolError, Tools};

//! Marketplaces from three sides, over the trust layer of `aimass-trust`.
//!
//! - [`desk`]: a marketplace's own folder and everything that is done at it: ceremony, delegations,
//!   the inbox, reviews, publishing, revocations, the log.
//! - [`mirror`]: where a marketplace is read from: a folder, an HTTP server of static files, or a registry.
//!   Mirrors are never believed; they are bounded in size and time.
//! - [`oci`]: the same in a repository of an OCI registry, and pushing it there.
//! - [`submit`]: what a publisher prepares for a marketplace.
//! - [`host`]: what a server remembers of the marketplaces that its operator follows, and every
//!   decision that it takes about their packages, in an audit log.
//!
//! Nothing here signs or verifies by itself: `aimass-trust` does. Deliberately absent: a server (the
//! binary has one), and running anything.

pub mod desk;
mod error;
mod files;
pub mod host;
pub mod mirror;
pub mod oci;
pub mod submit;

pub use error::MarketError;
#[doc(hidden)]
pub use files::kill_after;

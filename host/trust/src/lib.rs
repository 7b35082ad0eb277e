//! Signed packages: who may publish what, and the only way to a [`VerifiedPackage`].
//!
//! AMT-1 (AI Mass Trust, version 1) signs with Ed25519 and nothing else, in two layers that other
//! tools can read: a `signature` section inside the component (wasmsign2) and a DSSE envelope with an
//! in-toto statement beside it (securesystemslib). [`TrustPolicy`] holds the operator's `trust.toml`
//! and checks both; whatever fails is a [`Refusal`] with a code, what was expected, what came, and the
//! remedy. Model packages have a statement over the Merkle roots of their files ([`merkle`]).
//!
//! Invariants: no bytes of a stranger cause a panic, or an allocation by a length that they claim;
//! a statement is parsed only after its signature holds; the bytes that were checked are the bytes
//! that are handed on. Deliberately absent: an unsigned mode, other algorithms, downloads, state (the
//! registry remembers sequences), and so far the transparency log and the repository metadata.

#![forbid(unsafe_code)]

mod checks;
mod component;
mod dsse;
mod error;
mod grants;
mod hex;
mod json;
mod key_file;
mod keys;
mod manifest;
pub mod merkle;
mod names;
mod policy;
mod refusal;
mod sign;
mod statement;
mod timestamp;
mod verify;

pub use component::COMPONENT_BYTES_MAX;
pub use dsse::{HexDigest, STATEMENT_BYTES_MAX};
pub use error::TrustError;
pub use grants::{Capabilities, Capability, Grant, Limits, Whole};
pub use keys::{PublicKey, SigningKey, check_signature};
pub use manifest::Manifest;
pub use merkle::{CHUNK_BYTES, ChunkList, FileDigest};
pub use names::{NameError, PackageName, Version, World};
pub use policy::TrustPolicy;
pub use refusal::{Refusal, RefusalCode};
pub use sign::{
    ModelRelease, PluginRelease, SignedPlugin, add_signature, embed_manifest, read_imports,
    read_manifest, sign_component, sign_model, sign_plugin, sign_statement,
};
pub use statement::Dependency;
pub use timestamp::{Timestamp, TimestampError};
pub use verify::{VerifiedModel, VerifiedPackage};

//! Signed packages: who may publish what, and the only way to a [`VerifiedPackage`].
//!
//! AMT-1 (AI Mass Trust, version 1) signs with Ed25519 and nothing else, in three layers that other
//! tools can read: a `signature` section inside the component (wasmsign2), a DSSE envelope with an
//! in-toto statement beside it (securesystemslib), and a marketplace's repository of TUF metadata with a
//! C2SP transparency log. `docs/security/trust-format.md` has every byte of them.
//!
//! - [`TrustPolicy`] holds the operator's `trust.toml` and checks what trusted keys signed directly.
//! - [`MarketPolicy`] checks releases of a marketplace: [`MarketPolicy::update`] verifies metadata from
//!   a mirror or a [`Bundle`] into a [`Current`], [`MarketPolicy::verify_release`] runs all steps of the
//!   verification order and gives an [`Admitted`], [`MarketPolicy::verify_reload`] the steps of every
//!   load, [`MarketPolicy::follow_log`] keeps the log honest. The host keeps one [`MarketState`].
//!
//! Whatever fails is a [`Refusal`] with a code, what was expected, what came, and the remedy. Model
//! packages have a statement over the Merkle roots of their files ([`merkle`]).
//!
//! Invariants: no bytes of a stranger cause a panic, or an allocation by a length that they claim;
//! a statement is parsed only after its signature holds; the bytes that were checked are the bytes
//! that are handed on. Deliberately absent: an unsigned mode, other algorithms, downloads (mirrors are
//! traits), and a place for state (the caller stores a [`MarketState`], the registry sequences).

#![forbid(unsafe_code)]

mod bundle;
mod canonical;
mod checks;
mod clock;
mod component;
mod dsse;
mod error;
mod grants;
mod hex;
mod json;
mod key_file;
mod keys;
mod log;
mod lookalike;
mod manifest;
mod market;
pub mod merkle;
mod names;
mod policy;
pub mod publishing;
mod refusal;
mod release;
mod revocation;
mod sealed;
mod sign;
mod statement;
mod timestamp;
mod tuf;
mod verify;

pub use bundle::{
    BUNDLE_BYTES_MAX, Bundle, MEMBER_PROOF, MEMBER_REVOCATIONS, MEMBER_STATEMENT, MEMBER_WASM,
    bundle_bytes,
};
pub use clock::{CLOCK_SKEW_SECONDS, TrustedTime};
pub use component::COMPONENT_BYTES_MAX;
pub use dsse::{HexDigest, STATEMENT_BYTES_MAX};
pub use error::TrustError;
pub use grants::{Capabilities, Capability, Grant, Limits, Whole};
pub use keys::{PublicKey, SigningKey, check_signature};
pub use log::checkpoint::Checkpoint;
pub use log::leaf::entry_of;
pub use log::note::{NoteKey, NoteKeyKind, PROOF_BYTES_MAX};
pub use log::policy::{LogPolicy, Witnessed};
pub use log::proof::proof_text;
pub use log::tiles::{TILE_WIDTH, TileReader, TileSource, tile_path};
pub use log::tree::{Hash, extends, includes, leaf_hash};
pub use manifest::Manifest;
pub use market::{
    Current, Listed, METADATA_AGE_SECONDS, MarketPolicy, MarketState, Purpose, Update,
    market_fingerprint,
};
pub use merkle::{CHUNK_BYTES, ChunkList, FileDigest};
pub use names::{NameError, PackageName, Version, World};
pub use policy::subscription::{Subscription, SubscriptionAllow};
pub use policy::{Tier, TrustPolicy};
pub use refusal::{Refusal, RefusalCode};
pub use release::{Admission, Admitted, ReleaseFiles};
pub use revocation::{Revocation, Revocations, Revoked};
pub use sign::{
    ModelRelease, PluginRelease, SignedPlugin, Stated, add_signature, adds_signatures,
    embed_manifest, read_imports, read_manifest, read_model, read_plugin, read_signer,
    sign_component, sign_model, sign_plugin, sign_statement,
};
pub use statement::Dependency;
pub use timestamp::{Timestamp, TimestampError};
pub use tuf::metadata::{MarketBounds, NameRules};
pub use tuf::signed::METADATA_BYTES_MAX;
pub use tuf::trusted::ROOT_ROTATIONS_MAX;
pub use tuf::updater::MetadataSource;
pub use verify::{VerifiedModel, VerifiedPackage};

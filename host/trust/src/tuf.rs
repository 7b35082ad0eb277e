//! The repository layer (L3): TUF metadata, by which a marketplace says what is current.
//!
//! Specification: TUF 1.0.x, `consistent_snapshot` only, Ed25519 only, canonical JSON as python-tuf has
//! it. Narrower than TUF: signatures of listed keys must hold, the top-level targets delegate each
//! publisher's names once, terminating, and publishers delegate no further. Wider: a publisher's
//! delegation may carry bounds, and the root may list protected names, both in a field `aimass`, which
//! other clients keep and ignore.

pub(crate) mod metadata;
pub(crate) mod signed;
pub(crate) mod trusted;
pub(crate) mod updater;

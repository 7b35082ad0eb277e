//! The transparency log (C2SP): what a host checks offline of a log and its witnesses.
//!
//! A release is in the log as [`leaf::entry_of`]; its `tlog-proof` carries the inclusion proof and the
//! log's checkpoint with the witnesses' cosignatures, which a [`policy::LogPolicy`] judges. Tiles, the
//! log's own form on disk, are in [`tiles`].

pub(crate) mod checkpoint;
pub(crate) mod leaf;
pub(crate) mod note;
pub(crate) mod policy;
pub(crate) mod proof;
pub(crate) mod tiles;
pub(crate) mod tree;

//! The writing side of a marketplace: what publishers, key holders, the marketplace and witnesses do.
//!
//! Not in the verifier's path: nothing here is called while a release is checked, and everything that
//! is written is first checked by the verifier itself. The parts, in the order of a marketplace's life:
//!
//! 1. [`drafts`]: unsigned metadata from plain values, and [`drafts::sign_metadata`], which each key
//!    holder of a ceremony runs for itself, on its own machine.
//! 2. [`repository`]: publishes signed files. The timestamp is written last, by one rename, so that a
//!    client sees everything or nothing of a change.
//! 3. [`log_writer`]: appends to the transparency log and has witnesses cosign, so that a crash at any
//!    point never makes the log show two histories.
//! 4. [`witness`]: cosigns what continues what it saw before.
//! 5. [`bundles`]: collects a release and its chain into an `.ampkg`.
//!
//! Files are written through a [`storage::Storage`]: a folder, or what a marketplace serves from.

pub mod bundles;
pub mod drafts;
pub mod log_writer;
pub mod repository;
pub mod storage;
pub mod witness;

//! Models and plugins by name and version, in a folder with a SQLite catalog.
//!
//! Several processes may use one registry at once: a running server and commands beside it. Content
//! is written to a staging directory, made durable and renamed into place; one SQLite transaction
//! then inserts its row, and that commit is the acknowledgement. **The row is the truth**: what has
//! no row is a leftover of a killed publish, which [`Registry::sweep`] removes.
//!
//! ```text
//! <dir>/registry.sqlite                                catalog (WAL, synchronous=FULL)
//!       open.lock                                      held while the catalog is created or migrated
//!       plugins/<sha256>/{plugin.wasm,plugin.dsse.json}
//!       models/<name>/<version>/{model.toml,model.dsse.json,files/…}
//!       staging/<id>/  staging/<id>.lock               a publish under way; its owner holds the lock
//!       trash/                                         what the sweep is deleting
//! ```
//!
//! Architecture invariants: every write happens inside one `BEGIN IMMEDIATE` transaction, directory
//! renames included, so SQLite's write lock is the only lock between processes; published files are
//! never changed in place; a version number is never used twice; time is a parameter.
//!
//! Deliberately absent: signatures (names, digests and statements arrive already verified), the
//! meaning of `model.toml`, running fixtures, and protection against the server's own user.

mod database;
mod error;
mod fail_point;
#[cfg(test)]
mod fixture;
mod labels;
mod limits;
mod mapped_file;
mod model_version;
mod models;
mod names;
mod packed_files;
mod plugins;
mod record;
mod registry;
mod releases;
mod rows;
mod selector;
mod staging;
mod sweep;

pub use error::{ErrorFamily, RegistryError};
pub use fail_point::{FailPoint, FailPoints, NoFailPoints};
pub use limits::Limits;
pub use mapped_file::MappedFile;
pub use model_version::ModelVersion;
pub use models::{InitialState, ModelRelease, StagedModel};
pub use names::{
    DEFAULT_LABEL, FILE_NAME_BYTES_MAX, check_file_name, check_label, check_model_name,
    check_plugin_name,
};
pub use packed_files::{PackedFile, PackedFiles};
pub use plugins::{PluginPackage, PluginRelease};
pub use record::{
    FileRecord, LabelAction, LabelEvent, ModelRecord, PluginRecord, Sha256Digest, Snapshot,
    VersionRecord, VersionState, digest_hex,
};
pub use registry::Registry;
pub use releases::SignedRelease;
pub use selector::{Selector, parse_reference};
pub use sweep::SweepReport;

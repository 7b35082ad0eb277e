//! Whether a file changed, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Differs after a file was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    len: u64,
    modified: i64,
    modified_ns: i64,
}

impl Stamp {
    /// The stamp of a file as it is.
    pub(crate) fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            inode: metadata.ino(),
            len: metadata.len(),
            modified: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        }
    }
}

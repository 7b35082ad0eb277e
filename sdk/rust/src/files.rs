//! The model package's own files, read-only, by range.

pub use crate::bindings::aimass::plugin::files::{File, FileInfo, list};

use crate::bindings::aimass::plugin::files;
use crate::error::{Error, Result};

/// Bytes that one host read takes at most; the contract allows 64 MiB.
const READ_BYTES_MAX: u64 = 16 << 20;

impl File {
    /// Opens a file of the package.
    ///
    /// # Errors
    /// `not-found/file`, `limit/handles`.
    pub fn open(name: &str) -> Result<File> {
        files::open(name)
    }

    /// The whole content, if it has at most `bytes_max` bytes.
    ///
    /// # Errors
    /// `limit/file-bytes` if the file is larger.
    pub fn read_all(&self, bytes_max: u64) -> Result<Vec<u8>> {
        let size = self.size();
        if size > bytes_max {
            let message = format!("expected a file of at most {bytes_max} bytes, got {size}");
            return Err(Error::limit("file-bytes", message));
        }
        if size <= READ_BYTES_MAX {
            return self.read(0, size);
        }
        let mut content = Vec::new();
        while (content.len() as u64) < size {
            let at = content.len() as u64;
            let part = self.read(at, (size - at).min(READ_BYTES_MAX))?;
            if part.is_empty() {
                break;
            }
            content.extend_from_slice(&part);
        }
        Ok(content)
    }
}

//! Where a marketplace's files lie. A write is whole or not there, whatever happens meanwhile.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Files by path, each replaced at once. Paths have forward slashes and no `..`.
pub trait Storage {
    /// The file at `path`, or `None`.
    ///
    /// # Errors
    /// What the place reports, and a file above `bytes_max` bytes.
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>>;

    /// Writes the file at `path`, durably: after this returns, a crash does not undo it; before, a
    /// reader sees the old file or none.
    ///
    /// # Errors
    /// What the place reports; the old file is then still there.
    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A folder on a local disk: temporary file, `fsync`, rename, `fsync` of the folder.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder `root`, which is made at the first write.
    pub fn new(root: &Path) -> Self {
        Folder { root: root.to_owned() }
    }

    fn place(&self, path: &str) -> io::Result<PathBuf> {
        let plain =
            |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
        match path.split('/').all(plain) {
            true => Ok(self.root.join(path)),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("not a plain path: {path:?}"),
            )),
        }
    }
}

impl Storage for Folder {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.place(path)?) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take((bytes_max as u64).saturating_add(1)).read_to_end(&mut bytes)?;
        match bytes.len() <= bytes_max {
            true => Ok(Some(bytes)),
            false => {
                let text = format!("{path}: expected at most {bytes_max} bytes, got more");
                Err(io::Error::new(io::ErrorKind::FileTooLarge, text))
            }
        }
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(path)?;
        let folder = place.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        // A dot keeps it out of every served path; one writer at a time is the repository's rule.
        let temporary =
            folder.join(format!(".{}.new", place.file_name().unwrap_or_default().display()));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &place)?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_and_paths_stay_inside() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut storage = Folder::new(&folder.path().join("new"));
        assert_eq!(storage.read("a/b", 9).expect("read"), None);
        storage.write("a/b", b"one").expect("written");
        storage.write("a/b", b"three").expect("written");
        assert_eq!(storage.read("a/b", 5).expect("read"), Some(b"three".to_vec()));
        assert!(storage.read("a/b", 4).is_err());
        for path in ["", "/a", "a//b", "../a", "a/../b", ".a", "a/.b", "a\\b"] {
            assert!(storage.write(path, b"").is_err() && storage.read(path, 9).is_err(), "{path}");
        }
    }
}

//! The disk as the journal sees it: one flat folder. A trait, so that every crash can be tested.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A folder of files with plain names.
pub(crate) trait Disk: Send + Sync {
    /// Names and sizes of all files.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// At most `max` bytes of a file from `offset`; fewer only at its end.
    fn read(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>>;
    /// A new, empty file for appending. Fails if there is one of this name.
    fn create(&self, name: &str) -> io::Result<Box<dyn Appending>>;
    /// Shortens a file to `len` bytes.
    fn truncate(&self, name: &str, len: u64) -> io::Result<()>;
    /// Puts a whole file in the place of another, so that a crash leaves one or the other.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The time that its operations are measured by.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A file that grows.
pub(crate) trait Appending: Send {
    /// Writes at the end. After an error, part of `bytes` may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Waits until everything appended is on the device.
    fn sync(&mut self) -> io::Result<()>;
    /// Shortens the file to `len` bytes and appends there from now on.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

/// A real folder.
pub(crate) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Opens the folder, making it if it is new.
    pub(crate) fn open(dir: &Path) -> io::Result<Folder> {
        fs::create_dir_all(dir)?;
        Ok(Folder { dir: dir.to_owned() })
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                files.push((name, entry.metadata()?.len()));
            }
        }
        Ok(files)
    }

    fn read(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.dir.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Appending>> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.dir.join(name))?;
        self.sync()?;
        Ok(Box::new(FolderFile { file }))
    }

    fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.dir.join(name))?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let next = self.dir.join(format!("{name}.new"));
        let mut file = File::create(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&next, self.dir.join(name))?;
        self.sync()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }
}

struct FolderFile {
    file: File,
}

impl Appending for FolderFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

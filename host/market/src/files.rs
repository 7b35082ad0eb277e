//! Files of this machine: read up to a limit, replaced whole.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use crate::MarketError;

thread_local! {
    static WRITES_LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// For tests: after so many more files that this thread writes or removes, each further one fails and leaves what a
/// process that is killed there leaves. `None` ends that.
#[doc(hidden)]
pub fn kill_after(writes: Option<u64>) {
    WRITES_LEFT.set(writes);
}

/// Counts a write.
///
/// # Errors
/// As if the disk had failed, once [`kill_after`] says so.
pub(crate) fn alive(path: &Path) -> Result<(), MarketError> {
    match WRITES_LEFT.get() {
        None => Ok(()),
        Some(0) => {
            let killed = std::io::Error::other("killed by a test");
            Err(MarketError::file(path)(killed))
        }
        Some(left) => {
            WRITES_LEFT.set(Some(left - 1));
            Ok(())
        }
    }
}

/// The file at `path`, or `None`.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, MarketError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(MarketError::file(path)(error)),
    };
    let mut bytes = Vec::new();
    let mut limited = file.take((bytes_max as u64).saturating_add(1));
    limited.read_to_end(&mut bytes).map_err(MarketError::file(path))?;
    match bytes.len() <= bytes_max {
        true => Ok(Some(bytes)),
        false => {
            let (what, expected) =
                (path.display().to_string(), format!("at most {bytes_max} bytes"));
            Err(MarketError::wrong(what, expected, "more", "look at who wrote the file"))
        }
    }
}

/// As [`read`], of a text.
pub(crate) fn read_text(path: &Path, bytes_max: usize) -> Result<Option<String>, MarketError> {
    let text = read(path, bytes_max)?.map(String::from_utf8).transpose();
    text.map_err(|_| {
        let what = path.display().to_string();
        MarketError::wrong(what, "UTF-8", "other bytes", "restore the file from a backup")
    })
}

/// Replaces the file at `path` at once, durably; folders on the way are made.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), MarketError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let place = || {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        if WRITES_LEFT.get() == Some(0) {
            file.keep()?;
            return Ok(());
        }
        file.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    place().map_err(MarketError::file(path))?;
    alive(path)
}

/// Names of the files in a folder, sorted; none if there is no folder.
pub(crate) fn names(folder: &Path, most: usize) -> Result<Vec<String>, MarketError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(MarketError::file(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(most) {
        let name = entry.map_err(MarketError::file(folder))?.file_name();
        names.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort();
    Ok(names)
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), MarketError> {
    alive(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(MarketError::file(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

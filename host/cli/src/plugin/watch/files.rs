//! Which files a watch looks at, and what it remembers of them.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files that are looked at; a project with more is refused, so that looking stays cheap.
const FILES_MAX: usize = 10_000;
/// Folders that hold nothing which an author writes.
const SKIPPED: [&str; 4] = ["target", "vendor", "node_modules", "__pycache__"];

/// Times and sizes of files, by path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watched(BTreeMap<PathBuf, (SystemTime, u64)>);

impl Watched {
    /// Everything below these folders but build output, vendored code and hidden files.
    ///
    /// # Errors
    /// A folder cannot be read, or there are more than 10,000 files.
    pub(super) fn of<'a>(folders: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<Watched> {
        let mut open: Vec<PathBuf> = folders.cloned().collect();
        let mut found = BTreeMap::new();
        while let Some(folder) = open.pop() {
            let entries = std::fs::read_dir(&folder);
            for entry in entries.with_context(|| folder.display().to_string())? {
                let entry = entry?;
                if is_skipped(&entry.file_name().to_string_lossy()) {
                    continue;
                }
                // A file that an editor takes away meanwhile is a change that the next look sees.
                let Ok(about) = entry.metadata() else { continue };
                if about.is_dir() {
                    open.push(entry.path());
                    continue;
                }
                let time = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.insert(entry.path(), (time, about.len()));
                if found.len() > FILES_MAX {
                    bail!(
                        "expected at most {FILES_MAX} files to watch, there are more below {}",
                        folder.display()
                    );
                }
            }
        }
        Ok(Watched(found))
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Hidden files, build output, and what we and editors write beside a file to replace it.
fn is_skipped(name: &str) -> bool {
    name.starts_with('.')
        || SKIPPED.contains(&name)
        || name.ends_with('~')
        || Path::new(name).extension().is_some_and(|end| end == "new" || end == "swp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_a_new_and_a_removed_file_are_changes_and_build_output_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("src")).unwrap();
        std::fs::create_dir_all(at("target/debug")).unwrap();
        std::fs::write(at("src/lib.rs"), "a").unwrap();
        let root = folder.path().to_owned();
        let look = || Watched::of(std::iter::once(&root)).unwrap();
        let first = look();
        assert_eq!(first.len(), 1);
        std::fs::write(at("target/debug/x"), "b").unwrap();
        std::fs::write(at("src/.lib.rs.swp"), "b").unwrap();
        assert_eq!(look(), first);
        std::fs::write(at("src/lib.rs"), "ab").unwrap();
        let saved = look();
        assert_ne!(saved, first);
        std::fs::write(at("plugin.toml"), "").unwrap();
        assert_ne!(look(), saved);
        std::fs::remove_file(at("plugin.toml")).unwrap();
        assert_eq!(look(), saved);
    }
}

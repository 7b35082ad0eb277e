//! A storage with changes that stay in memory: to see what a change would do before it is made.

use std::collections::BTreeMap;
use std::io;

use aimass_trust::Refusal;
use aimass_trust::publishing::storage::{Folder, Storage};
use aimass_trust::{MetadataSource, RefusalCode};

/// `under` with new files over it.
pub(crate) struct Overlay<'a> {
    under: &'a Folder,
    new: BTreeMap<String, Vec<u8>>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(under: &'a Folder) -> Overlay<'a> {
        Overlay { under, new: BTreeMap::new() }
    }
}

impl Storage for Overlay<'_> {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        match self.new.get(path) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.under.read(path, bytes_max),
        }
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.new.insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }
}

impl MetadataSource for Overlay<'_> {
    fn metadata(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Refusal> {
        self.read(&format!("metadata/{path}"), bytes_max).map_err(|error| {
            let remedy = "look at the marketplace's disk";
            Refusal::new(RefusalCode::Mix, "a readable repository", error.to_string(), remedy)
        })
    }
}

//! What a marketplace shows: its releases, and its log entry by entry.

use std::collections::BTreeMap;

use aimass_trust::publishing::drafts::{read_publisher, read_targets};
use aimass_trust::publishing::log_writer::StoredTiles;
use aimass_trust::publishing::storage::Storage;
use aimass_trust::{
    COMPONENT_BYTES_MAX, Checkpoint, Manifest, PROOF_BYTES_MAX, PackageName, STATEMENT_BYTES_MAX,
    TILE_WIDTH, TileReader, Version, Witnessed, entry_of, leaf_hash, read_manifest, tile_path,
};

use super::Desk;
use crate::{MarketError, files};

/// Entries of one bundle of entries: 32 bytes each, after 2 bytes of length.
const ENTRIES_BYTES_MAX: usize = 256 * 34;

/// A release as the marketplace shows it.
#[derive(Clone, Debug)]
pub struct CatalogRelease {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the component.
    pub sha256: [u8; 32],
    /// Bytes of the component.
    pub bytes: u64,
    /// What is inside the component.
    pub manifest: Manifest,
    /// Keys that signed the statement: publisher and reviewers, as text.
    pub signers: Vec<String>,
    /// Place in the log.
    pub log_index: u64,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place.
    pub index: u64,
    /// The entry, 32 bytes in hexadecimal.
    pub entry: String,
    /// The release that it is of, if it is published.
    pub release: Option<String>,
}

impl Desk {
    /// Every published release, by name and path.
    ///
    /// # Errors
    /// [`MarketError::File`]; [`MarketError::Refused`] for what was damaged.
    pub fn catalog(&self) -> Result<Vec<CatalogRelease>, MarketError> {
        let Some(targets) = self.current("targets")? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for publisher in read_targets(&targets)?.1.publishers {
            let Some(text) = self.current(&publisher.name)? else { continue };
            for release in read_publisher(&text)?.1 {
                let sha256 = files::hex(&release.sha256);
                let start = format!("{}/{sha256}.{}", publisher.name, release.name.name());
                let wasm = format!("targets/{start}@{}.wasm", release.version);
                let evidence = format!("releases/{}@{}", release.name, release.version);
                let dsse = self.need(&format!("{evidence}.dsse.json"), STATEMENT_BYTES_MAX)?;
                let proof = self.need(&format!("{evidence}.tlog-proof"), PROOF_BYTES_MAX)?;
                all.push(CatalogRelease {
                    manifest: read_manifest(&self.need(&wasm, COMPONENT_BYTES_MAX)?)?,
                    signers: signers(&dsse),
                    log_index: index_of(&proof),
                    name: release.name,
                    version: release.version,
                    sha256: release.sha256,
                    bytes: release.length,
                });
            }
        }
        Ok(all)
    }

    /// The published checkpoint of the log and the witnesses that cosigned it; `None` before the first
    /// release.
    ///
    /// # Errors
    /// [`MarketError::Refused`] if it breaks the log policy, [`MarketError::File`].
    pub fn checkpoint(&self) -> Result<Option<Witnessed>, MarketError> {
        let text = self.public().read("log/checkpoint", PROOF_BYTES_MAX).map_err(self.io())?;
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        text.map(|text| Ok::<_, MarketError>(self.log_policy()?.check(&text)?)).transpose()
    }

    /// Every entry of the log, after the whole tree was computed again from the entries and compared
    /// with the checkpoint.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] if log and checkpoint disagree, [`MarketError::File`].
    pub fn log_entries(&self) -> Result<Vec<LogEntry>, MarketError> {
        let Some(Witnessed { checkpoint, .. }) = self.checkpoint()? else { return Ok(Vec::new()) };
        let releases = self.entries_by_release()?;
        let mut all = Vec::new();
        for tile in 0..checkpoint.size.div_ceil(TILE_WIDTH) {
            let width = (checkpoint.size - tile * TILE_WIDTH).min(TILE_WIDTH);
            let path = format!("log/{}", tile_path("entries", tile, width));
            let bundle = self.need(&path, ENTRIES_BYTES_MAX)?;
            for entry in bundle.chunks_exact(34) {
                let release = releases.get(&entry[2..]).cloned();
                let index = all.len() as u64;
                all.push(LogEntry { index, entry: files::hex(&entry[2..]), release });
            }
        }
        self.check_leaves(&checkpoint, &all)?;
        Ok(all)
    }

    fn check_leaves(&self, checkpoint: &Checkpoint, all: &[LogEntry]) -> Result<(), MarketError> {
        let folder = self.public();
        let mut tiles = StoredTiles(&folder);
        let mut reader = TileReader::new(&mut tiles, checkpoint.size);
        let wrong = |got: String| {
            let expected = format!("a log of {} entries under its checkpoint", checkpoint.size);
            MarketError::wrong("the log", expected, got, "restore the log from a mirror")
        };
        if all.len() as u64 != checkpoint.size || reader.root()? != checkpoint.root {
            return Err(wrong(format!("{} entries, or other tiles", all.len())));
        }
        for one in all {
            let entry: Vec<u8> = (0..32)
                .filter_map(|at| u8::from_str_radix(one.entry.get(2 * at..2 * at + 2)?, 16).ok())
                .collect();
            let path = reader.inclusion(one.index)?;
            let (root, size, leaf) = (&checkpoint.root, checkpoint.size, leaf_hash(&entry));
            if !aimass_trust::includes(root, size, one.index, &leaf, &path) {
                return Err(wrong(format!("another entry at {}", one.index)));
            }
        }
        Ok(())
    }

    /// Names of published releases by their entries.
    fn entries_by_release(&self) -> Result<BTreeMap<Vec<u8>, String>, MarketError> {
        let Some(targets) = self.current("targets")? else { return Ok(BTreeMap::new()) };
        let mut all = BTreeMap::new();
        for publisher in read_targets(&targets)?.1.publishers {
            let Some(text) = self.current(&publisher.name)? else { continue };
            for release in read_publisher(&text)?.1 {
                let release = format!("{}@{}", release.name, release.version);
                let path = format!("releases/{release}.dsse.json");
                let dsse = self.need(&path, STATEMENT_BYTES_MAX)?;
                all.insert(entry_of(&dsse)?.to_vec(), release);
            }
        }
        Ok(all)
    }

    pub(super) fn need(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, MarketError> {
        let read = self.public().read(path, bytes_max).map_err(self.io())?;
        read.ok_or_else(|| {
            let remedy = "restore the marketplace's folder from a backup";
            MarketError::wrong(path, "a published file", "none", remedy)
        })
    }
}

fn signers(dsse: &[u8]) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_slice(dsse).unwrap_or_default();
    let lines = value["signatures"].as_array().cloned().unwrap_or_default();
    lines.iter().filter_map(|line| line["keyid"].as_str().map(str::to_owned)).collect()
}

fn index_of(proof: &[u8]) -> u64 {
    let text = std::str::from_utf8(proof).unwrap_or_default();
    let index = text.lines().find_map(|line| line.strip_prefix("index "));
    index.and_then(|index| index.parse().ok()).unwrap_or(0)
}

//! Which files a marketplace shows now: what a copy of it needs, without what was replaced.

use aimass_trust::publishing::drafts::{ReleaseContent, read_publisher, read_targets};
use aimass_trust::publishing::storage::Storage;
use aimass_trust::{METADATA_BYTES_MAX, TILE_WIDTH, tile_path};
use serde_json::Value;

use super::{Desk, LOG_POLICY_FILE};
use crate::{MarketError, files};

/// The present state of a marketplace, by paths below what is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Every root, the metadata that the timestamp makes visible, revocations, log and log policy.
    pub files: Vec<String>,
    /// Every release that the metadata lists.
    pub releases: Vec<ReleaseContent>,
    /// Version of the timestamp.
    pub version: u64,
}

impl Desk {
    /// What the marketplace shows now.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] before the first publication; [`MarketError::Refused`] for what was damaged.
    pub fn listing(&self) -> Result<Listing, MarketError> {
        let missing = || {
            let remedy = "finish the ceremony: `aimass market status`";
            MarketError::wrong("the marketplace", "published targets", "none", remedy)
        };
        let targets = read_targets(&self.current("targets")?.ok_or_else(missing)?)?.1;
        let timestamp = self.signed("metadata/timestamp.json")?;
        let mut listing = Listing { version: version_of(&timestamp), ..Listing::default() };
        for version in 1u64.. {
            let path = format!("metadata/{version}.root.json");
            if self.public().read(&path, METADATA_BYTES_MAX).map_err(self.io())?.is_none() {
                break;
            }
            listing.files.push(path);
        }
        let snapshot = timestamp["meta"]["snapshot.json"]["version"].as_u64().unwrap_or_default();
        let snapshot = format!("metadata/{snapshot}.snapshot.json");
        let meta = self.signed(&snapshot)?;
        for (name, file) in meta["meta"].as_object().into_iter().flatten() {
            let version = file["version"].as_u64().unwrap_or_default();
            listing.files.push(format!("metadata/{version}.{name}"));
        }
        let list = files::hex(&targets.revocations.1);
        let fixed = [snapshot, "metadata/timestamp.json".to_owned(), LOG_POLICY_FILE.to_owned()];
        listing.files.push(format!("targets/{list}.revocations.json"));
        listing.files.extend(fixed);
        if let Some(witnessed) = self.checkpoint()? {
            listing.files.push("log/checkpoint".to_owned());
            listing.files.extend(tiles(witnessed.checkpoint.size));
        }
        for publisher in targets.publishers {
            let Some(text) = self.current(&publisher.name)? else { continue };
            listing.releases.extend(read_publisher(&text)?.1);
        }
        Ok(listing)
    }

    /// What is signed in a metadata file of our own, which publishing verified.
    fn signed(&self, path: &str) -> Result<Value, MarketError> {
        let mut value: Value =
            serde_json::from_slice(&self.need(path, METADATA_BYTES_MAX)?).unwrap_or_default();
        Ok(value["signed"].take())
    }
}

/// The version of signed metadata; 0 for what is none.
fn version_of(signed: &Value) -> u64 {
    signed["version"].as_u64().unwrap_or_default()
}

/// The tiles of a log of `size` entries: all full ones, and the partial one of each level.
fn tiles(size: u64) -> Vec<String> {
    let mut all = Vec::new();
    let levels = std::iter::successors(Some(size), |count| Some(count / TILE_WIDTH));
    let levels = levels.take_while(|count| *count > 0).enumerate();
    let levels = levels.map(|(level, count)| (level.to_string(), count));
    for (level, count) in [("entries".to_owned(), size)].into_iter().chain(levels) {
        for tile in 0..count.div_ceil(TILE_WIDTH) {
            let width = (count - tile * TILE_WIDTH).min(TILE_WIDTH);
            all.push(format!("log/{}", tile_path(&level, tile, width)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_full_tiles_and_one_partial_of_a_level() {
        assert!(tiles(0).is_empty());
        assert_eq!(tiles(2), ["log/tile/entries/000.p/2", "log/tile/0/000.p/2"]);
        let full = ["log/tile/entries/000", "log/tile/0/000", "log/tile/1/000.p/1"];
        assert_eq!(tiles(256), full);
        let more = tiles(65_536 + 1);
        assert_eq!(
            more.len(),
            2 * 257 + 1 + 1,
            "entries, hashes, one full tile above and its root"
        );
        assert!(more.contains(&"log/tile/0/256.p/1".to_owned()));
        assert!(more.contains(&"log/tile/1/000".to_owned()));
        assert!(more.contains(&"log/tile/2/000.p/1".to_owned()));
    }
}

//! The client workflow of TUF over a source of files: a mirror, or a bundle.

use super::signed::METADATA_BYTES_MAX;
use super::trusted::{ROOT_ROTATIONS_MAX, Trusted, Validity};
use crate::market::MarketState;
use crate::refusal::Refusal;

/// Where metadata comes from. A mirror may lie and withhold; it is never believed.
pub trait MetadataSource {
    /// The file at `path` below the repository's `metadata` folder, or `None` if there is none.
    /// Paths are those of TUF's consistent snapshots: `2.root.json`, `timestamp.json`,
    /// `7.snapshot.json`, `3.targets.json`, `5.acme.json`.
    ///
    /// An implementation reads at most `bytes_max` bytes and one more, so that a mirror that never
    /// ends is cut; what is too long is refused by whoever asked.
    ///
    /// # Errors
    /// A refusal if the source fails; what a network does is the implementation's to bound in time.
    fn metadata(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Refusal>;
}

/// The verified metadata of now, with that of `publishers`, and the state to keep instead of `state`.
pub(crate) fn update(
    state: &MarketState,
    source: &mut dyn MetadataSource,
    publishers: &[&str],
    validity: Validity,
) -> Result<(Trusted, MarketState), Refusal> {
    let mut trusted = Trusted::of_root(&state.root, validity)?;
    // One more than the limit, so that the limit is what refuses.
    for _ in 0..=ROOT_ROTATIONS_MAX {
        let path = format!("{}.root.json", trusted.root_version().saturating_add(1));
        match source.metadata(&path, METADATA_BYTES_MAX)? {
            Some(text) => trusted.take_root(&text)?,
            None => break,
        }
    }
    trusted.settle_root(state.timestamp.as_deref(), state.snapshot.as_deref())?;
    let timestamp = needed(source, "timestamp.json")?;
    trusted.take_timestamp(&timestamp)?;
    let snapshot = needed(source, &format!("{}.snapshot.json", trusted.snapshot_version()?))?;
    trusted.take_snapshot(&snapshot)?;
    let version = trusted.file_version("targets.json")?;
    trusted.take_targets(&needed(source, &format!("{version}.targets.json"))?)?;
    for publisher in publishers {
        trusted.delegation(publisher)?;
        let version = trusted.file_version(&format!("{publisher}.json"))?;
        trusted
            .take_publisher(publisher, &needed(source, &format!("{version}.{publisher}.json"))?)?;
    }
    let state = MarketState {
        root: trusted.root_text().to_vec(),
        timestamp: Some(timestamp),
        snapshot: Some(snapshot),
        ..state.clone()
    };
    Ok((trusted, state))
}

fn needed(source: &mut dyn MetadataSource, path: &str) -> Result<Vec<u8>, Refusal> {
    source.metadata(path, METADATA_BYTES_MAX)?.ok_or_else(|| {
        let remedy =
            "fetch from another mirror: this one does not have the file that its metadata names";
        Refusal::new(crate::RefusalCode::Mix, format!("the file {path}"), "none", remedy)
    })
}

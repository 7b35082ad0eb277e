//! What a publisher prepares: its next targets with the new release, and the submission around them.

use aimass_trust::publishing::drafts::{
    draft_publisher, read_publisher, read_release, sign_metadata,
};
use aimass_trust::{METADATA_BYTES_MAX, SigningKey, Timestamp};
use serde_json::Value;

use crate::MarketError;
use crate::desk::submission_bytes;
use crate::mirror::Mirror;

/// Days for which a publisher's targets are valid.
const PUBLISHER_DAYS: u64 = 365;

/// A submission of a signed plugin to the marketplace at `mirror`, signed with the publisher's `keys`.
///
/// What the marketplace lists of the publisher now is read without being verified: a mirror that shows
/// an old list makes a submission that the marketplace turns down, since it would withdraw releases.
///
/// # Errors
/// [`MarketError::Fetch`]; [`MarketError::Refused`] for a plugin that is not signed; for a release that
/// is listed already [`MarketError::Wrong`].
pub fn prepare_submission(
    mirror: &mut dyn Mirror,
    wasm: &[u8],
    dsse: &[u8],
    keys: &[&SigningKey],
    now: Timestamp,
) -> Result<Vec<u8>, MarketError> {
    let release = read_release(wasm, dsse)?;
    let publisher = release.name.publisher().to_owned();
    let (mut version, mut releases) = (0, Vec::new());
    if let Some(text) = current(mirror, &publisher)? {
        (version, releases) = read_publisher(&text)?;
    }
    if let Some(known) = releases.iter().find(|one| one.path() == release.path()) {
        let (what, got) =
            (release.path(), if known.sha256 == release.sha256 { "the same" } else { "another" });
        let remedy = "give the plugin a new version: what was published never changes";
        return Err(MarketError::wrong(
            what,
            "a new release",
            format!("{got} file, published"),
            remedy,
        ));
    }
    releases.push(release);
    let draft = draft_publisher(&releases, version + 1, now.plus_days(PUBLISHER_DAYS))?;
    submission_bytes(wasm, dsse, &sign_metadata(&draft, keys)?)
}

/// The publisher's present targets as the mirror has them, not verified.
fn current(mirror: &mut dyn Mirror, publisher: &str) -> Result<Option<Vec<u8>>, MarketError> {
    let version = |text: &[u8], name: &str| {
        let value: Value = serde_json::from_slice(text).unwrap_or_default();
        value["signed"]["meta"][name]["version"].as_u64()
    };
    let missing = |path: &str| {
        let remedy =
            "look at the address: this is no marketplace, or one that was not published yet";
        MarketError::wrong(path, "a marketplace's file", "none", remedy)
    };
    let path = "metadata/timestamp.json";
    let text = mirror.fetch(path, METADATA_BYTES_MAX)?.ok_or_else(|| missing(path))?;
    let snapshot = version(&text, "snapshot.json").ok_or_else(|| missing(path))?;
    let path = format!("metadata/{snapshot}.snapshot.json");
    let text = mirror.fetch(&path, METADATA_BYTES_MAX)?.ok_or_else(|| missing(&path))?;
    let Some(version) = version(&text, &format!("{publisher}.json")) else { return Ok(None) };
    let path = format!("metadata/{version}.{publisher}.json");
    Ok(Some(mirror.fetch(&path, METADATA_BYTES_MAX)?.ok_or_else(|| missing(&path))?))
}

//! Pushing a marketplace to a registry, so that whatever ends it before its last request leaves the state
//! that was there: blobs, then releases with their evidence, then the tag of the state.

use std::collections::BTreeSet;

use aimass_trust::publishing::drafts::ReleaseContent;
use aimass_trust::publishing::repository::target_path;
use aimass_trust::publishing::storage::Storage;
use aimass_trust::{COMPONENT_BYTES_MAX, METADATA_BYTES_MAX, PROOF_BYTES_MAX, STATEMENT_BYTES_MAX};
use serde_json::Value;

use super::auth::Credentials;
use super::client::Client;
use super::documents::{
    DSSE, Descriptor, Digest, EMPTY, EVIDENCE, INDEX, MANIFEST, Manifest, PROOF, RELEASE, STATE,
};
use super::location::Location;
use super::pull::{OciMirror, fallback_tag, referrers};
use super::{MANIFEST_BYTES_MAX, STATE_TAG, release_tag};
use crate::MarketError;
use crate::desk::Desk;
use crate::mirror::{FetchLimits, Mirror};

const FILE: &str = "application/vnd.aimass.market.file.v1";
const WASM: &str = "application/wasm";
const TIMESTAMP: &str = "metadata/timestamp.json";

/// What a push did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Files of the state, sent or not.
    pub files: usize,
    /// Releases that were not there before.
    pub releases: Vec<String>,
    /// Blobs that were sent.
    pub blobs: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// Whether the state was another before.
    pub changed: bool,
}

/// Brings the registry at `location` to what `desk` shows. What is there already is not sent again. The
/// caller holds the desk's lock.
///
/// # Errors
/// [`MarketError::Fetch`] for what the registry did; [`MarketError::Wrong`] if it has a newer state, or
/// the state is larger than a manifest may be. Clients then see the state before.
pub fn push(
    desk: &Desk,
    location: &Location,
    credentials: Option<Credentials>,
    limits: FetchLimits,
) -> Result<Pushed, MarketError> {
    let listing = desk.listing()?;
    let mut before = OciMirror::new(location.clone(), credentials.clone(), limits)?;
    refuse_older(&mut before, listing.version)?;
    let client = Client::new(location.clone(), credentials, limits)?;
    let mut pusher = Pusher { desk, client, there: BTreeSet::new(), pushed: Pushed::default() };
    let mut layers = Vec::new();
    for path in &listing.files {
        let bytes = pusher.read(path, METADATA_BYTES_MAX)?;
        layers.push(Descriptor::titled(FILE, &bytes, path));
        pusher.blob(path, &bytes)?;
    }
    pusher.pushed.files = layers.len();
    let state = pusher.written(STATE_TAG, &Manifest::new(STATE, layers))?;
    pusher.blob("config", EMPTY)?;
    for release in &listing.releases {
        pusher.release(release)?;
    }
    let rest = format!("manifests/{STATE_TAG}");
    let there = pusher.client.head(STATE_TAG, (&rest, MANIFEST))?;
    pusher.pushed.changed = there != Some(Digest::of(&state).to_string());
    if pusher.pushed.changed {
        pusher.client.put_manifest(STATE_TAG, STATE_TAG, (MANIFEST, &state))?;
    }
    Ok(pusher.pushed)
}

/// A state that clients have seen must not be followed by an older one: they would refuse it.
fn refuse_older(before: &mut OciMirror, version: u64) -> Result<(), MarketError> {
    let there = before.fetch(TIMESTAMP, METADATA_BYTES_MAX)?.unwrap_or_default();
    let there: Value = serde_json::from_slice(&there).unwrap_or_default();
    match there["signed"]["version"].as_u64() {
        Some(newer) if newer > version => {
            let expected = format!("a registry with a timestamp of version {version} at most");
            let remedy = "push from the marketplace's present folder; one from a backup must first \
                          sign past that version: `aimass market refresh`";
            Err(MarketError::wrong("push", expected, format!("version {newer}"), remedy))
        }
        Some(_) | None => Ok(()),
    }
}

struct Pusher<'a> {
    desk: &'a Desk,
    client: Client,
    /// Digests of blobs that the registry was found to hold, or was sent.
    there: BTreeSet<Digest>,
    pushed: Pushed,
}

impl Pusher<'_> {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, MarketError> {
        let read = self.desk.public().read(path, bytes_max).map_err(self.desk.io())?;
        read.ok_or_else(|| {
            let remedy = "restore the marketplace's folder from a backup";
            MarketError::wrong(path, "a published file", "none", remedy)
        })
    }

    /// Sends a blob unless it is there.
    fn blob(&mut self, what: &str, bytes: &[u8]) -> Result<(), MarketError> {
        let digest = Digest::of(bytes);
        if !self.there.insert(digest) {
            return Ok(());
        }
        let rest = format!("blobs/{digest}");
        if self.client.head(what, (&rest, "*/*"))?.is_none() {
            self.client.put_blob(what, bytes)?;
            self.pushed.blobs += 1;
            self.pushed.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// A manifest as it is sent, if a registry takes one of that size.
    fn written(
        &self,
        what: &str,
        document: &impl serde::Serialize,
    ) -> Result<Vec<u8>, MarketError> {
        let bytes = serde_json::to_vec(document)
            .map_err(|error| self.client.failed(what, error.to_string()))?;
        match bytes.len() <= MANIFEST_BYTES_MAX {
            true => Ok(bytes),
            false => {
                let expected = format!("a manifest of at most {MANIFEST_BYTES_MAX} bytes");
                let remedy = "serve a marketplace of this size as static files";
                Err(MarketError::wrong(what, expected, format!("{} bytes", bytes.len()), remedy))
            }
        }
    }

    /// A release whose tag stands is whole: the tag comes last.
    fn release(&mut self, release: &ReleaseContent) -> Result<(), MarketError> {
        let (name, version) = (&release.name, &release.version);
        let title = format!("{name}@{version}");
        let layer = Descriptor {
            media_type: WASM.to_owned(),
            digest: Digest(release.sha256),
            size: release.length,
            artifact_type: None,
            annotations: [(super::documents::TITLE.to_owned(), release.path())].into(),
        };
        let manifest = self.written(&title, &Manifest::new(RELEASE, vec![layer]))?;
        let tag = release_tag(name, version);
        let there = self.client.head(&title, (&format!("manifests/{tag}"), MANIFEST))?;
        if there == Some(Digest::of(&manifest).to_string()) {
            return Ok(());
        }
        let wasm =
            self.read(&target_path(&release.path(), &release.sha256), COMPONENT_BYTES_MAX)?;
        self.blob(&title, &wasm)?;
        let subject = Descriptor::plain(MANIFEST, &manifest);
        let reference = subject.digest.to_string();
        self.client.put_manifest(&title, &reference, (MANIFEST, &manifest))?;
        self.evidence(&title, subject)?;
        self.client.put_manifest(&title, &tag, (MANIFEST, &manifest))?;
        self.pushed.releases.push(title);
        Ok(())
    }

    /// Statement and proof, as a referrer of the release.
    fn evidence(&mut self, title: &str, subject: Descriptor) -> Result<(), MarketError> {
        let mut layers = Vec::new();
        for (ending, kind, bytes_max) in [
            (DSSE, "application/vnd.dsse.envelope.v1+json", STATEMENT_BYTES_MAX),
            (PROOF, "text/plain", PROOF_BYTES_MAX),
        ] {
            let bytes = self.read(&format!("releases/{title}.{ending}"), bytes_max)?;
            self.blob(title, &bytes)?;
            layers.push(Descriptor::titled(kind, &bytes, ending));
        }
        let digest = subject.digest;
        let manifest = Manifest { subject: Some(subject), ..Manifest::new(EVIDENCE, layers) };
        let bytes = self.written(title, &manifest)?;
        let mut descriptor = Descriptor::plain(MANIFEST, &bytes);
        descriptor.artifact_type = Some(EVIDENCE.to_owned());
        let reference = descriptor.digest.to_string();
        if !self.client.put_manifest(title, &reference, (MANIFEST, &bytes))? {
            self.refer(title, digest, descriptor)?;
        }
        Ok(())
    }

    /// Adds a referrer to the tag that stands for the API.
    fn refer(
        &mut self,
        title: &str,
        subject: Digest,
        evidence: Descriptor,
    ) -> Result<(), MarketError> {
        let mut index = referrers(&mut self.client, title, subject)?.unwrap_or_default();
        let kept = index.of_kind(EVIDENCE).map_err(|got| self.client.failed(title, got))?;
        if kept.iter().any(|one| one.digest == evidence.digest) {
            return Ok(());
        }
        // Evidence of before, of the same marketplace restored from a backup, would be a second truth.
        index.manifests.retain(|one| one["artifactType"] != EVIDENCE);
        index.manifests.push(
            serde_json::to_value(&evidence)
                .map_err(|error| self.client.failed(title, error.to_string()))?,
        );
        let bytes = self.written(title, &index)?;
        self.client.put_manifest(title, &fallback_tag(subject), (INDEX, &bytes))?;
        Ok(())
    }
}

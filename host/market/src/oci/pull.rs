//! A marketplace read from a registry: paths of static files become tags, referrers and digests.

use std::collections::BTreeMap;

use aimass_trust::{PackageName, Refusal, RefusalCode, Version};

use super::auth::Credentials;
use super::client::Client;
use super::documents::{DSSE, Descriptor, Digest, EVIDENCE, INDEX, Index, MANIFEST, Manifest};
use super::documents::{PROOF, RELEASE, STATE};
use super::location::Location;
use super::{STATE_TAG, release_tag};
use crate::MarketError;
use crate::mirror::{FetchLimits, Mirror, too_large};

const BLOB: &str = "application/octet-stream";

/// A marketplace in a registry. The tag of its state is read once, and what belongs to it after.
pub struct OciMirror {
    client: Client,
    state: Option<BTreeMap<String, Descriptor>>,
    /// Evidence of releases by path.
    evidence: BTreeMap<String, Descriptor>,
}

impl OciMirror {
    /// With the credentials of the environment.
    pub(crate) fn open(location: &str, limits: FetchLimits) -> Result<OciMirror, MarketError> {
        let location = Location::parse(location)?;
        let credentials = Credentials::of_environment(location.authority())?;
        OciMirror::new(location, credentials, limits)
    }

    /// With these credentials, which are kept from every other host but the one that gives tokens.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] and [`MarketError::File`] for a `$SSL_CERT_FILE` without certificates.
    pub fn new(
        location: Location,
        credentials: Option<Credentials>,
        limits: FetchLimits,
    ) -> Result<OciMirror, MarketError> {
        let client = Client::new(location, credentials, limits)?;
        Ok(OciMirror { client, state: None, evidence: BTreeMap::new() })
    }

    /// The files of the present state; none where nothing was pushed.
    fn state(&mut self) -> Result<&BTreeMap<String, Descriptor>, MarketError> {
        if self.state.is_none() {
            let files = match self.client.manifest(STATE_TAG, STATE_TAG, MANIFEST)? {
                Some(bytes) => Manifest::read(&bytes, STATE)
                    .and_then(Manifest::by_title)
                    .map_err(|got| self.client.failed(STATE_TAG, got))?,
                None => BTreeMap::new(),
            };
            self.state = Some(files);
        }
        Ok(self.state.get_or_insert_default())
    }

    /// A blob by what describes it.
    fn blob(
        &mut self,
        path: &str,
        descriptor: &Descriptor,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, MarketError> {
        if descriptor.size > bytes_max as u64 {
            return Err(too_large(path, bytes_max).into());
        }
        self.content(path, descriptor.digest, bytes_max)
    }

    fn content(
        &mut self,
        path: &str,
        digest: Digest,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, MarketError> {
        let bytes = self.client.get(path, (&format!("blobs/{digest}"), BLOB), bytes_max)?;
        bytes.map(|bytes| same(path, digest, bytes)).transpose()
    }

    /// Where statement and proof of a release are; nothing where there is no such release.
    fn find_evidence(
        &mut self,
        path: &str,
        name: &PackageName,
        version: &Version,
    ) -> Result<(), MarketError> {
        let tag = release_tag(name, version);
        let Some(release) = self.client.manifest(path, &tag, MANIFEST)? else { return Ok(()) };
        Manifest::read(&release, RELEASE).map_err(|got| self.client.failed(path, got))?;
        let subject = Digest::of(&release);
        let Some(index) = referrers(&mut self.client, path, subject)? else { return Ok(()) };
        let found = index.of_kind(EVIDENCE).map_err(|got| self.client.failed(path, got))?;
        let one = match &found[..] {
            [] => return Ok(()),
            [one] => one,
            more => {
                let got =
                    format!("expected one {EVIDENCE} that refers to {tag}, got {}", more.len());
                return Err(self.client.failed(path, got));
            }
        };
        let reference = one.digest.to_string();
        let Some(bytes) = self.client.manifest(path, &reference, MANIFEST)? else { return Ok(()) };
        let bytes = same(path, one.digest, bytes)?;
        let layers = Manifest::read(&bytes, EVIDENCE)
            .and_then(Manifest::by_title)
            .map_err(|got| self.client.failed(path, got))?;
        for (title, layer) in layers {
            self.evidence.insert(format!("releases/{name}@{version}.{title}"), layer);
        }
        Ok(())
    }
}

/// The referrers of a manifest: from the API, else from the tag that stands for it. Only the first page,
/// since what is looked for is there once.
pub(super) fn referrers(
    client: &mut Client,
    what: &str,
    subject: Digest,
) -> Result<Option<Index>, MarketError> {
    let kind = super::auth::encoded(EVIDENCE);
    let rest = format!("referrers/{subject}?artifactType={kind}");
    let bytes = match client.get(what, (&rest, INDEX), super::MANIFEST_BYTES_MAX)? {
        Some(bytes) => Some(bytes),
        None => client.manifest(what, &fallback_tag(subject), INDEX)?,
    };
    let read = |bytes: Vec<u8>| Index::read(&bytes).map_err(|got| client.failed(what, got));
    bytes.map(read).transpose()
}

/// The tag of the referrers of a manifest (distribution specification 1.1, "Referrers Tag Schema").
pub(super) fn fallback_tag(subject: Digest) -> String {
    format!("sha256-{}", subject.hex())
}

fn same(path: &str, digest: Digest, bytes: Vec<u8>) -> Result<Vec<u8>, MarketError> {
    let got = Digest::of(&bytes);
    if got == digest {
        return Ok(bytes);
    }
    let expected = format!("{path} with digest {digest}");
    let remedy = "name another mirror: this registry does not keep what it says";
    Err(Refusal::new(RefusalCode::Digest, expected, got.to_string(), remedy).into())
}

/// The digest in `targets/<publisher>/<sha256>.<name>@<version>.wasm`.
fn component(path: &str) -> Option<Digest> {
    let (_, file) = path.strip_prefix("targets/")?.split_once('/')?;
    Digest::of_hex(file.split_once('.')?.0)
}

/// The release in `releases/<publisher>/<name>@<version>.dsse.json` or `.tlog-proof`.
fn evidence(path: &str) -> Option<(PackageName, Version)> {
    let rest = path.strip_prefix("releases/")?;
    let ending = |ending: &str| rest.strip_suffix(ending)?.strip_suffix('.');
    let (name, version) = ending(DSSE).or_else(|| ending(PROOF))?.split_once('@')?;
    Some((name.parse().ok()?, version.parse().ok()?))
}

impl Mirror for OciMirror {
    fn fetch(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, MarketError> {
        if let Some(digest) = component(path) {
            return self.content(path, digest, bytes_max);
        }
        let found = match evidence(path) {
            Some((name, version)) => {
                if !self.evidence.contains_key(path) {
                    self.find_evidence(path, &name, &version)?;
                }
                self.evidence.get(path).cloned()
            }
            None => self.state()?.get(path).cloned(),
        };
        match found {
            Some(descriptor) => self.blob(path, &descriptor, bytes_max),
            None => Ok(None),
        }
    }
}

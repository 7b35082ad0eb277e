//! The inbox: releases that publishers submitted, until they are published or rejected.
//!
//! A submission is a canonical tar as bundles are, with `plugin.wasm`, `release.dsse.json` and
//! `publisher.json`: the publisher's next targets, signed by the publisher, in which the release is
//! listed. A review adds the reviewer's signature to the statement.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aimass_trust::publishing::drafts::{RoleKeys, read_publisher, read_targets};
use aimass_trust::publishing::repository::{Changes, Repository};
use aimass_trust::{
    Admission, BUNDLE_BYTES_MAX, Bundle, Current, MEMBER_STATEMENT, MEMBER_WASM, Manifest,
    MarketState, PublicKey, Purpose, SigningKey, Update, add_signature, bundle_bytes, entry_of,
    read_manifest,
};
use std::time::SystemTime;

use super::overlay::Overlay;
use super::{Desk, DeskKeys};
use crate::{MarketError, files};

const MEMBER_PUBLISHER: &str = "publisher.json";
const ENDING: &str = ".ampkg";

/// A read submission. Nothing but its form is known to be true before it was checked.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The component.
    pub wasm: Vec<u8>,
    /// Its statement with all signatures so far.
    pub dsse: Vec<u8>,
    /// The publisher's next targets.
    pub publisher: Vec<u8>,
    /// The manifest inside the component.
    pub manifest: Manifest,
}

/// A submission in the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionSummary {
    /// Its name in the inbox: `<publisher>.<name>.<version>`.
    pub id: String,
    /// `publisher/name@version`.
    pub release: String,
    /// Bytes of the component.
    pub bytes: usize,
    /// What it asks for.
    pub capabilities: Vec<String>,
    /// Reviewers that signed, whoever they are.
    pub reviewed: usize,
}

/// A submission after a reviewer signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewed {
    /// `publisher/name@version`.
    pub release: String,
    /// Reviewers of the marketplace that signed.
    pub signed: Vec<PublicKey>,
    /// How many are needed.
    pub needed: u64,
}

/// The bytes of a submission.
///
/// # Errors
/// [`MarketError::Refused`] above 72 MiB.
pub fn submission_bytes(
    wasm: &[u8],
    dsse: &[u8],
    publisher: &[u8],
) -> Result<Vec<u8>, MarketError> {
    let members = [
        (MEMBER_WASM.to_owned(), wasm.to_vec()),
        (MEMBER_STATEMENT.to_owned(), dsse.to_vec()),
        (MEMBER_PUBLISHER.to_owned(), publisher.to_vec()),
    ];
    Ok(bundle_bytes(&BTreeMap::from(members))?)
}

impl Submission {
    /// Reads a submission of at most 72 MiB.
    ///
    /// # Errors
    /// [`MarketError::Refused`] for anything but exactly the three members and their sums, or a
    /// component without a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Submission, MarketError> {
        let bundle = Bundle::parse(bytes)?;
        let member = |name: &str| {
            bundle.get(name).map(<[u8]>::to_vec).ok_or_else(|| {
                let remedy = "make it with `aimass plugin submit`";
                MarketError::wrong("a submission", format!("`{name}` inside"), "none", remedy)
            })
        };
        let wasm = member(MEMBER_WASM)?;
        let manifest = read_manifest(&wasm)?;
        let (dsse, publisher) = (member(MEMBER_STATEMENT)?, member(MEMBER_PUBLISHER)?);
        entry_of(&dsse)?;
        read_publisher(&publisher)?;
        Ok(Submission { wasm, dsse, publisher, manifest })
    }

    /// `publisher/name@version`.
    pub fn release(&self) -> String {
        format!("{}@{}", self.manifest.name, self.manifest.version)
    }

    /// Its name in an inbox.
    pub fn id(&self) -> String {
        self.release().replace(['/', '@'], ".")
    }

    pub(super) fn changes(&self) -> Changes {
        let publisher = self.manifest.name.publisher().to_owned();
        Changes {
            publishers: BTreeMap::from([(publisher, self.publisher.clone())]),
            files: BTreeMap::from([(format!("{}.wasm", self.release()), self.wasm.clone())]),
            ..Changes::default()
        }
    }
}

impl Desk {
    /// Takes a submission into the inbox, instead of an earlier one of the same release. What it is
    /// worth is for [`Desk::check`] to say, which needs the online keys.
    ///
    /// # Errors
    /// [`MarketError::Refused`] for a bad form, [`MarketError::Wrong`] for a publisher whom the
    /// marketplace does not know, or while as many wait as [`super::DeskConfig::inbox_max`] says.
    pub fn submit(&self, bytes: &[u8]) -> Result<SubmissionSummary, MarketError> {
        let submission = Submission::parse(bytes)?;
        let publisher = submission.manifest.name.publisher();
        self.publisher_keys(publisher)?;
        let waiting = self.inbox_names()?;
        let most = self.config().inbox_max;
        if waiting.len() >= most && !waiting.contains(&submission.id()) {
            let remedy =
                "try again when the marketplace has reviewed some; `inbox_max` in its market.toml";
            let expected = format!("at most {most} submissions");
            let got = format!("{} that wait", waiting.len());
            return Err(MarketError::wrong("the inbox", expected, got, remedy));
        }
        files::write(&self.inbox_file(&submission.id()), bytes)?;
        Ok(summary(&submission))
    }

    /// Everything in the inbox, by name.
    ///
    /// # Errors
    /// [`MarketError::File`], and as [`Submission::parse`] for what was damaged.
    pub fn inbox(&self) -> Result<Vec<SubmissionSummary>, MarketError> {
        self.inbox_names()?.iter().map(|id| Ok(summary(&self.submission(id)?))).collect()
    }

    /// A submission by its name in the inbox, or as `publisher/name@version`.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] if there is none.
    pub fn submission(&self, id: &str) -> Result<Submission, MarketError> {
        let id = id.replace(['/', '@'], ".");
        let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        let found = match plain && !id.starts_with('.') {
            true => files::read(&self.inbox_file(&id), BUNDLE_BYTES_MAX)?,
            false => None,
        };
        let bytes = found.ok_or_else(|| {
            let remedy = "`aimass market review` without a name lists them";
            MarketError::wrong(id, "a submission in the inbox", "none", remedy)
        })?;
        Submission::parse(&bytes)
    }

    /// Checks a submission against the metadata that would be published with it: everything but
    /// reviews and log. Returns that metadata.
    ///
    /// # Errors
    /// [`MarketError::Refused`] with the code of the first check that failed.
    pub fn check(
        &self,
        submission: &Submission,
        keys: &DeskKeys,
        now: SystemTime,
    ) -> Result<Current, MarketError> {
        self.refuse_withdrawal(submission)?;
        let folder = self.public();
        let mut overlay = Overlay::new(&folder);
        let at = aimass_trust::Timestamp::from_system(now);
        Repository::new(&mut overlay).publish(&submission.changes(), keys.online(), at)?;
        let name = &submission.manifest.name;
        let policy = self.own_policy()?;
        let root = self.root(true)?.unwrap_or_default();
        let revocations = self.published_revocations()?;
        let asked = Update {
            publishers: &[name.publisher()],
            revocations: &revocations,
            cosigned: None,
            purpose: Purpose::Admission,
            wall: now,
        };
        let state = MarketState::of_root(&root)?;
        let (current, _) = policy.update(&state, &mut overlay, &asked)?;
        let last = self.last_sequence(name)?;
        let admission = Admission {
            name,
            last_sequence: last,
            running: None,
            approved: true,
            admitted_at: None,
        };
        policy.verify_submission(&current, &submission.wasm, &submission.dsse, &admission)?;
        Ok(current)
    }

    /// Adds a reviewer's signature to a submission that passed [`Desk::check`].
    ///
    /// # Errors
    /// As [`Desk::check`]; [`MarketError::Wrong`] for a key that is no reviewer's.
    pub fn accept(
        &self,
        id: &str,
        reviewer: &SigningKey,
        keys: &DeskKeys,
        now: SystemTime,
    ) -> Result<Reviewed, MarketError> {
        let mut submission = self.submission(id)?;
        let current = self.check(&submission, keys, now)?;
        let review = self.targets()?.review;
        if !review.keys.contains(&reviewer.public()) {
            let got = reviewer.public().to_string();
            let remedy = "sign with a key that `aimass market show` lists as a reviewer's";
            return Err(MarketError::wrong("review", "a reviewer's key", got, remedy));
        }
        submission.dsse = add_signature(&submission.dsse, reviewer)?;
        let bytes = submission_bytes(&submission.wasm, &submission.dsse, &submission.publisher)?;
        files::write(&self.inbox_file(&submission.id()), &bytes)?;
        let (signed, needed) = current.reviews(&submission.dsse)?;
        Ok(Reviewed { release: submission.release(), signed, needed })
    }

    /// Takes a submission out of the inbox and keeps it with the reason.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] if there is none, [`MarketError::File`].
    pub fn reject(&self, id: &str, reason: &str) -> Result<String, MarketError> {
        let submission = self.submission(id)?;
        let folder = self.dir.join("rejected");
        let to = folder.join(format!("{}{ENDING}", submission.id()));
        files::write(&to.with_extension("reason.txt"), reason.as_bytes())?;
        let from = self.inbox_file(&submission.id());
        std::fs::rename(&from, &to).map_err(MarketError::file(&from))?;
        Ok(submission.release())
    }

    pub(super) fn inbox_names(&self) -> Result<Vec<String>, MarketError> {
        // Beside them lie what a kill left, and nothing else.
        let most = self.config().inbox_max.saturating_mul(2);
        let names = files::names(&self.dir.join("inbox"), most)?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(ENDING)).map(str::to_owned).collect())
    }

    pub(super) fn inbox_file(&self, id: &str) -> PathBuf {
        self.dir.join("inbox").join(format!("{id}{ENDING}"))
    }

    /// Greatest sequence that was published under this name.
    fn last_sequence(&self, name: &aimass_trust::PackageName) -> Result<Option<u64>, MarketError> {
        let Some(text) = self.current(name.publisher())? else { return Ok(None) };
        let releases = read_publisher(&text)?.1;
        Ok(releases.iter().filter(|one| one.name == *name).map(|one| one.sequence).max())
    }

    /// A publisher that was shown an old list by a mirror must not withdraw what it released since.
    fn refuse_withdrawal(&self, submission: &Submission) -> Result<(), MarketError> {
        let Some(text) = self.current(submission.manifest.name.publisher())? else { return Ok(()) };
        let listed = read_publisher(&submission.publisher)?.1;
        let published = read_publisher(&text)?.1;
        match published.iter().find(|one| !listed.contains(one)) {
            None => Ok(()),
            Some(gone) => {
                let what = submission.release();
                let expected = format!("a list that still has {}", gone.path());
                let remedy = "submit again; releases are withdrawn by revocation alone";
                Err(MarketError::wrong(what, expected, "one without", remedy))
            }
        }
    }

    /// Keys that the published targets delegate to a publisher.
    fn publisher_keys(&self, publisher: &str) -> Result<RoleKeys, MarketError> {
        let published = self.current("targets")?;
        let content = published.map(|text| read_targets(&text)).transpose()?;
        let mut all = content.into_iter().flat_map(|(_, content)| content.publishers);
        let found = all.find(|one| one.name == publisher);
        found.map(|one| one.keys).ok_or_else(|| {
            let remedy = "ask the marketplace for `aimass market delegate`, with your public key";
            MarketError::wrong(publisher, "a publisher of this marketplace", "none", remedy)
        })
    }
}

fn summary(submission: &Submission) -> SubmissionSummary {
    let asked = &submission.manifest.capabilities;
    let lines: serde_json::Value = serde_json::from_slice(&submission.dsse).unwrap_or_default();
    let lines = lines["signatures"].as_array().map_or(0, Vec::len);
    SubmissionSummary {
        id: submission.id(),
        release: submission.release(),
        bytes: submission.wasm.len(),
        capabilities: asked.iter().map(|(one, _)| one.as_str().to_owned()).collect(),
        reviewed: lines.saturating_sub(1),
    }
}

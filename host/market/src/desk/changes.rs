//! Publishing: signed drafts and reviewed submissions become visible, a piece at a time.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aimass_trust::publishing::drafts::read_targets;
use aimass_trust::publishing::log_writer::LogWriter;
use aimass_trust::publishing::repository::{Changes, ReleaseEvidence, Repository};
use aimass_trust::publishing::storage::{Folder, Storage};
use aimass_trust::publishing::witness::{Cosigner, Witness};
use aimass_trust::{METADATA_BYTES_MAX, NoteKey, NoteKeyKind, Timestamp, entry_of};

use super::{Desk, DeskKeys};
use crate::{MarketError, files};

/// What became visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Version of the new root.
    pub root: Option<u64>,
    /// Version of the new top-level targets.
    pub targets: Option<u64>,
    /// Releases, each with its place in the log.
    pub releases: Vec<(String, u64)>,
    /// What is not visible yet.
    pub waiting: Vec<Waiting>,
}

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// A draft's role, or a submission.
    pub what: String,
    /// What it waits for.
    pub reason: String,
}

impl Desk {
    /// Publishes drafts whose keys have signed, and then every submission that is reviewed: it is
    /// logged, cosigned by the local witness, and listed. Submissions that fail a check wait with the
    /// reason. Repeating after a crash or an error goes on where it stopped.
    ///
    /// # Errors
    /// [`MarketError::Refused`] if clients would refuse the drafts, [`MarketError::File`].
    pub fn publish(&self, keys: &DeskKeys, now: SystemTime) -> Result<Published, MarketError> {
        let mut published = Published::default();
        self.publish_drafts(keys, Timestamp::from_system(now), &mut published)?;
        if self.root(true)?.is_none() {
            return Ok(published);
        }
        for id in self.inbox_names()? {
            match self.publish_submission(&id, keys, now) {
                Ok(Ok(release)) => published.releases.push(release),
                Ok(Err(reason)) => published.waiting.push(Waiting { what: id, reason }),
                Err(error) if error.refusal().is_some() => {
                    published.waiting.push(Waiting { what: id, reason: error.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(published)
    }

    /// Signs a new timestamp, and a snapshot, so that clients keep believing what is published. To be
    /// done every few hours: timestamps are valid for 24.
    ///
    /// # Errors
    /// [`MarketError::Refused`] if something else has expired, [`MarketError::File`].
    pub fn refresh(&self, keys: &DeskKeys, now: SystemTime) -> Result<(), MarketError> {
        let mut public = self.public();
        let at = Timestamp::from_system(now);
        Ok(Repository::new(&mut public).publish(&Changes::default(), keys.online(), at)?)
    }

    fn publish_drafts(
        &self,
        keys: &DeskKeys,
        now: Timestamp,
        published: &mut Published,
    ) -> Result<(), MarketError> {
        let drafts = self.drafts()?;
        let waits = drafts.iter().filter(|draft| !draft.complete());
        published.waiting.extend(waits.map(|draft| Waiting {
            what: draft.role.to_owned(),
            reason: match draft.missing_of_previous {
                0 => format!("{} of {} signatures", draft.signed.len(), draft.threshold),
                missing => format!("{missing} signatures by keys of the present root"),
            },
        }));
        let ready = |role: &str| drafts.iter().find(|it| it.role == role && it.complete());
        // The first root and targets go together; afterwards each goes when it is ready.
        let first = self.root(true)?.is_none();
        let (root, targets) = (ready("root"), ready("targets"));
        if (first && (root.is_none() || targets.is_none())) || (root.is_none() && targets.is_none())
        {
            return Ok(());
        }
        let mut changes = Changes::default();
        if let Some(draft) = root {
            changes.root = self.draft("root.json")?;
            published.root = Some(draft.version);
        }
        if let Some(draft) = targets {
            changes.targets = self.draft("targets.json")?;
            published.targets = Some(draft.version);
            changes.files = self.draft_revocations()?;
        }
        let mut public = self.public();
        Repository::new(&mut public).publish(&changes, keys.online(), now)?;
        if root.is_some() {
            files::remove(&self.dir.join("drafts/root.json"))?;
        }
        if targets.is_some() {
            files::remove(&self.dir.join("drafts/targets.json"))?;
            files::remove(&self.dir.join("drafts/revocations.json"))?;
        }
        Ok(())
    }

    fn draft_revocations(&self) -> Result<BTreeMap<String, Vec<u8>>, MarketError> {
        let list = self.draft("revocations.json")?;
        Ok(list.map(|text| ("revocations.json".to_owned(), text)).into_iter().collect())
    }

    /// Publishes one submission; `Ok(Err(_))` says what it waits for.
    fn publish_submission(
        &self,
        id: &str,
        keys: &DeskKeys,
        now: SystemTime,
    ) -> Result<Result<(String, u64), String>, MarketError> {
        let submission = self.submission(id)?;
        let name = &submission.manifest.name;
        // A crash may have come between publishing and taking it out of the inbox.
        if self.current(name.publisher())?.as_deref() != Some(&submission.publisher[..]) {
            let current = self.check(&submission, keys, now)?;
            let (signed, needed) = current.reviews(&submission.dsse)?;
            if (signed.len() as u64) < needed {
                return Ok(Err(format!("{} of {needed} reviews", signed.len())));
            }
        }
        let logged = self.log(&entry_of(&submission.dsse)?, keys, now)?;
        let mut changes = submission.changes();
        changes.releases.push(ReleaseEvidence {
            name: name.clone(),
            version: submission.manifest.version.clone(),
            dsse: submission.dsse.clone(),
            proof: logged.proof.into_bytes(),
        });
        let mut public = self.public();
        let at = Timestamp::from_system(now);
        Repository::new(&mut public).publish(&changes, keys.online(), at)?;
        files::remove(&self.inbox_file(&submission.id()))?;
        Ok(Ok((submission.release(), logged.index)))
    }

    fn log(
        &self,
        entry: &[u8],
        keys: &DeskKeys,
        now: SystemTime,
    ) -> Result<aimass_trust::publishing::log_writer::Logged, MarketError> {
        let log = NoteKey::new(&self.config.name, NoteKeyKind::Log, keys.log.public())?;
        let witness = format!("witness.{}", self.config.name);
        let mut memory = Folder::new(&self.dir);
        let at = Timestamp::from_system(now);
        let mut local = Witness::new(&mut memory, log, &witness, &keys.witness, at)?;
        let mut witnesses: [&mut dyn Cosigner; 1] = [&mut local];
        let (mut public, policy) = (self.public(), self.log_policy()?);
        let mut writer = LogWriter::new(&mut public, &self.config.name, &keys.log, &policy)?;
        Ok(writer.append(entry, &mut witnesses)?)
    }

    /// The published list of revocations.
    pub(super) fn published_revocations(&self) -> Result<Vec<u8>, MarketError> {
        let missing = || {
            let remedy = "finish the ceremony: `aimass market status`";
            MarketError::wrong("the marketplace", "published targets", "none", remedy)
        };
        let content = read_targets(&self.current("targets")?.ok_or_else(missing)?)?.1;
        let path = format!("targets/{}.revocations.json", files::hex(&content.revocations.1));
        let text = self.public().read(&path, METADATA_BYTES_MAX).map_err(self.io())?;
        text.ok_or_else(missing)
    }
}

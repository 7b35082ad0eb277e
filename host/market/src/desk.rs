//! A marketplace's own folder: what it is, its online keys, drafts, the inbox, and what it serves.
//!
//! ```text
//! market.toml                 name, title, and the registries that every change is pushed to
//! keys/                       snapshot.key timestamp.key log.key witness.key: the online keys
//! drafts/                     root.json targets.json revocations.json: waiting for signatures
//! inbox/<publisher>.<name>.<version>.ampkg       submitted, and reviewed one signature at a time
//! rejected/                   what was turned down, each with its reason
//! witness/                    what the local witness has seen
//! public/                     what is served, as `docs/security/trust-format.md` has it, and log.policy
//! ```
//! Root, targets, review and publishers' keys never need to be here: every draft is a file that each
//! key holder signs where its key is. One process changes a desk at a time (`market.lock`).

mod changes;
mod drafts;
mod inbox;
mod journal;
mod listing;
mod overlay;

pub use changes::{Published, Waiting};
pub use drafts::{Delegate, DraftStatus, Roles, sign_draft};
pub use inbox::{Reviewed, Submission, SubmissionSummary, submission_bytes};
pub use journal::{CatalogRelease, LogEntry};
pub use listing::Listing;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aimass_trust::publishing::repository::{OnlineKeys, Repository};
use aimass_trust::publishing::storage::{Folder, Storage};
use aimass_trust::{
    LogPolicy, MarketBounds, MarketPolicy, NoteKey, NoteKeyKind, PublicKey, SigningKey,
    market_fingerprint,
};
use serde::{Deserialize, Serialize};

use crate::MarketError;

/// The file with the log policy, below what is served.
pub const LOG_POLICY_FILE: &str = "log.policy";
/// The name of the local witness in the log policy.
const WITNESS: &str = "local";
/// The online keys, by role.
pub const ONLINE_KEYS: [&str; 4] = ["snapshot", "timestamp", "log", "witness"];
const FILE_BYTES_MAX: usize = 64 << 10;
/// Between two looks at a lock that another holds.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Registries that a marketplace pushes to.
pub const PUSH_MAX: usize = 8;

/// What a marketplace says of itself: `market.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeskConfig {
    /// Name of the marketplace and origin of its log, best a host name: `market.example.org`.
    pub name: String,
    /// What people read on its page.
    pub title: String,
    /// Registries that get every change of what is visible: `oci://host/repository`; at most
    /// [`PUSH_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub push: Vec<String>,
    /// Seconds that a command waits while another one changes the marketplace, such as a server's
    /// hourly refresh and its push.
    #[serde(default = "lock_seconds_max", skip_serializing_if = "is_lock_seconds_max")]
    pub lock_seconds_max: u32,
    /// Submissions that wait in the inbox at once, each of at most 72 MiB.
    #[serde(default = "inbox_max", skip_serializing_if = "is_inbox_max")]
    pub inbox_max: usize,
}

impl DeskConfig {
    /// A marketplace of this name and title that pushes nowhere.
    pub fn new(name: impl Into<String>, title: impl Into<String>) -> DeskConfig {
        DeskConfig {
            name: name.into(),
            title: title.into(),
            push: Vec::new(),
            lock_seconds_max: lock_seconds_max(),
            inbox_max: inbox_max(),
        }
    }
}

fn lock_seconds_max() -> u32 {
    30
}

fn is_lock_seconds_max(seconds: &u32) -> bool {
    *seconds == lock_seconds_max()
}

fn inbox_max() -> usize {
    256
}

fn is_inbox_max(count: &usize) -> bool {
    *count == inbox_max()
}

/// A marketplace's folder.
#[derive(Debug)]
pub struct Desk {
    dir: PathBuf,
    config: DeskConfig,
}

/// The online keys of a marketplace.
#[derive(Debug)]
pub struct DeskKeys {
    /// Signs snapshots.
    pub snapshot: SigningKey,
    /// Signs timestamps.
    pub timestamp: SigningKey,
    /// Signs the log's checkpoints.
    pub log: SigningKey,
    /// Cosigns them.
    pub witness: SigningKey,
}

impl DeskKeys {
    pub(crate) fn online(&self) -> OnlineKeys<'_> {
        OnlineKeys { snapshot: &self.snapshot, timestamp: &self.timestamp }
    }
}

impl Desk {
    /// Opens the folder of a marketplace.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] if it is none, [`MarketError::File`].
    pub fn open(dir: &Path) -> Result<Desk, MarketError> {
        let path = dir.join("market.toml");
        let text = crate::files::read_text(&path, FILE_BYTES_MAX)?.ok_or_else(|| {
            let remedy = "make one with `aimass market init`, or name its folder with --dir";
            MarketError::wrong(dir.display().to_string(), "a marketplace's folder", "none", remedy)
        })?;
        let wrong = |expected: String, got: String| {
            MarketError::wrong(path.display().to_string(), expected, got, "correct the file")
        };
        let config: DeskConfig = toml::from_str(&text)
            .map_err(|error| wrong("`name`, `title` and `push`".to_owned(), error.to_string()))?;
        if config.push.len() > PUSH_MAX {
            let got = config.push.len().to_string();
            return Err(wrong(format!("at most {PUSH_MAX} locations in `push`"), got));
        }
        Ok(Desk { dir: dir.to_owned(), config })
    }

    /// Makes the folder of a new marketplace: its log policy, and drafts of the first root and targets
    /// for the ceremony. `online` are the public halves of its online keys, in the order of
    /// [`ONLINE_KEYS`], whose files lie in `keys/` already.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] if the folder is a marketplace's, or a threshold cannot be reached;
    /// [`MarketError::File`].
    pub fn create(
        dir: &Path,
        config: DeskConfig,
        roles: &Roles,
        online: [PublicKey; 4],
        now: aimass_trust::Timestamp,
    ) -> Result<Desk, MarketError> {
        if dir.join("market.toml").exists() {
            let remedy = "open it as it is, or take another folder";
            let what = dir.display().to_string();
            return Err(MarketError::wrong(what, "a new folder", "a marketplace", remedy));
        }
        let desk = Desk { dir: dir.to_owned(), config };
        let [snapshot, timestamp, log, witness] = online;
        let log = NoteKey::new(&desk.config.name, NoteKeyKind::Log, log)?;
        let witness =
            NoteKey::new(&format!("witness.{}", desk.config.name), NoteKeyKind::Witness, witness)?;
        let policy = format!("log {log}\nwitness {WITNESS} {witness}\nquorum {WITNESS}\n");
        LogPolicy::parse(&policy)?;
        let mut public = desk.public();
        public.write(LOG_POLICY_FILE, policy.as_bytes()).map_err(desk.io())?;
        desk.draft_first(roles, snapshot, timestamp, now)?;
        let text = toml::to_string(&desk.config).map_err(|error| {
            let what = "market.toml".to_owned();
            MarketError::wrong(what, "a name and a title", error.to_string(), "choose others")
        })?;
        // Last, since it is what makes the folder a marketplace's.
        crate::files::write(&dir.join("market.toml"), text.as_bytes())?;
        Ok(desk)
    }

    /// What the marketplace says of itself.
    pub fn config(&self) -> &DeskConfig {
        &self.config
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder that is served.
    pub fn public_dir(&self) -> PathBuf {
        self.dir.join("public")
    }

    /// The file of an online key.
    pub fn key_file(&self, role: &str) -> PathBuf {
        self.dir.join("keys").join(format!("{role}.key"))
    }

    /// What operators must compare before they trust the marketplace; `None` before its first root is
    /// published.
    ///
    /// # Errors
    /// [`MarketError::File`].
    pub fn fingerprint(&self) -> Result<Option<[u8; 32]>, MarketError> {
        let root = self.public().read("metadata/1.root.json", 1 << 20).map_err(self.io())?;
        let policy = self.log_policy_text()?;
        Ok(root.map(|root| market_fingerprint(&root, policy.as_bytes())))
    }

    /// Keeps other processes from changing the marketplace until it is dropped. Waits for another that
    /// does, at most `lock_seconds_max`.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] if another holds it longer, [`MarketError::File`].
    pub fn lock(&self) -> Result<File, MarketError> {
        let path = self.dir.join("market.lock");
        let file = File::create(&path).map_err(MarketError::file(&path))?;
        let wait = Duration::from_secs(self.config.lock_seconds_max.into());
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(MarketError::file(&path)(error)),
                Err(TryLockError::WouldBlock) if start.elapsed() < wait => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    let what = self.dir.display().to_string();
                    let got = format!("another at work for {} s", wait.as_secs());
                    let remedy =
                        "try again when it has ended, or raise `lock_seconds_max` in market.toml";
                    return Err(MarketError::wrong(what, "one writer", got, remedy));
                }
            }
        }
    }

    pub(crate) fn public(&self) -> Folder {
        Folder::new(&self.public_dir())
    }

    pub(crate) fn log_policy_text(&self) -> Result<String, MarketError> {
        let path = self.public_dir().join(LOG_POLICY_FILE);
        crate::files::read_text(&path, FILE_BYTES_MAX)?.ok_or_else(|| {
            let what = path.display().to_string();
            MarketError::wrong(what, "a log policy", "none", "restore it from a backup")
        })
    }

    pub(crate) fn log_policy(&self) -> Result<LogPolicy, MarketError> {
        Ok(LogPolicy::parse(&self.log_policy_text()?)?)
    }

    /// A policy that allows whatever the marketplace's own delegations allow.
    pub(crate) fn own_policy(&self) -> Result<MarketPolicy, MarketError> {
        let bounds = MarketBounds {
            capabilities: aimass_trust::Capability::ALL.to_vec(),
            limits: aimass_trust::Limits::default(),
            models: vec!["*".to_owned()],
        };
        Ok(MarketPolicy::new(self.log_policy()?, vec!["*".to_owned()], bounds))
    }

    /// The current file of `targets` or of a publisher.
    pub(crate) fn current(&self, name: &str) -> Result<Option<Vec<u8>>, MarketError> {
        let mut public = self.public();
        Ok(Repository::new(&mut public).current(name)?)
    }

    /// The newest root, or `None` before the first is published.
    pub(crate) fn root(&self, first: bool) -> Result<Option<Vec<u8>>, MarketError> {
        let mut public = self.public();
        if public.read("metadata/1.root.json", 1 << 20).map_err(self.io())?.is_none() {
            return Ok(None);
        }
        Ok(Some(Repository::new(&mut public).root(first)?))
    }

    pub(crate) fn io(&self) -> impl FnOnce(std::io::Error) -> MarketError {
        MarketError::file(&self.dir)
    }
}

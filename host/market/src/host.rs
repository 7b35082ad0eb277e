//! What a host remembers of the marketplaces that it follows, and what it decides about their packages.
//!
//! ```text
//! markets/<name>/root.json  log.policy     what the operator began to trust
//! markets/<name>/state.json                what must not be rolled back, replaced whole
//! markets/<name>/cache/                    the metadata that was verified last, for loads without a network
//! markets/<name>/admitted/<sha256>.json    when and how a release was admitted, and its proof
//! markets/<name>/held.json                 updates that wait for the operator
//! audit/                                   every decision, see [`audit`]
//! ```
//! Whatever lies here is verified again each time that it is used: a record adds only the moment of the
//! admission, and whether the operator approved of it. Whoever can write the folder is the operator.

mod admission;
pub mod audit;
mod records;
mod refresh;

pub use admission::{Asked, Evidence, Standing, bundle_manifest};
pub use records::{AdmittedRecord, HeldUpdate};
pub use refresh::Refreshed;

use std::collections::BTreeMap;
use std::mem::Discriminant;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use aimass_trust::{LogPolicy, MarketState, Subscription, market_fingerprint};

use crate::desk::LOG_POLICY_FILE;
use crate::host::audit::{Audit, Decision, Event};
use crate::mirror::{FetchLimits, Mirror};
use crate::{MarketError, files};

const STATE_BYTES_MAX: usize = 8 << 20;
const ROOT_BYTES_MAX: usize = 1 << 20;
const POLICY_BYTES_MAX: usize = 64 << 10;

/// The marketplaces of a data folder.
#[derive(Debug)]
pub struct MarketHost {
    dir: PathBuf,
    limits: FetchLimits,
    audit: Audit,
    /// How each location of a marketplace failed the last look at it, and is not recorded again.
    failing: Mutex<BTreeMap<(String, String), Failure>>,
}

/// What kind of failure one is; its words may tell of the moment.
type Failure = (&'static str, Discriminant<MarketError>);

/// What an operator is shown before a marketplace is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstTrust {
    /// The first root.
    pub root: Vec<u8>,
    /// The log policy.
    pub log_policy: Vec<u8>,
    /// What must be compared with the marketplace's own page.
    pub fingerprint: [u8; 32],
}

impl FirstTrust {
    /// Reads the first root and the log policy of the marketplace at `mirror`.
    ///
    /// # Errors
    /// [`MarketError::Fetch`]; [`MarketError::Refused`] for a root that does not sign itself.
    pub fn fetch(mirror: &mut dyn Mirror) -> Result<FirstTrust, MarketError> {
        let mut need = |path: &str, bytes_max| {
            mirror.fetch(path, bytes_max)?.ok_or_else(|| {
                let remedy = "look at the address; the marketplace may not be published yet";
                MarketError::wrong(path, "a marketplace's file", "none", remedy)
            })
        };
        let root = need("metadata/1.root.json", ROOT_BYTES_MAX)?;
        let log_policy = need(LOG_POLICY_FILE, POLICY_BYTES_MAX)?;
        MarketState::of_root(&root)?;
        LogPolicy::parse(&String::from_utf8_lossy(&log_policy))?;
        let fingerprint = market_fingerprint(&root, &log_policy);
        Ok(FirstTrust { root, log_policy, fingerprint })
    }
}

impl MarketHost {
    /// The marketplaces in `data_dir`.
    pub fn open(data_dir: &Path, limits: FetchLimits) -> MarketHost {
        let audit = Audit::new(&data_dir.join("audit"));
        MarketHost { dir: data_dir.join("markets"), limits, audit, failing: Mutex::default() }
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Keeps what the operator compared and trusts. A state that is there already is kept if it is of
    /// the same marketplace.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] for another marketplace under a name that is taken, [`MarketError::File`].
    pub fn trust(
        &self,
        name: &str,
        first: &FirstTrust,
        now: SystemTime,
    ) -> Result<(), MarketError> {
        let folder = self.folder(name);
        if let Some(known) = files::read(&folder.join("root.json"), ROOT_BYTES_MAX)?
            && known != first.root
        {
            let remedy =
                format!("take another name, or remove {} if you mean it", folder.display());
            return Err(MarketError::wrong(name, "the marketplace of before", "another", remedy));
        }
        files::write(&folder.join(LOG_POLICY_FILE), &first.log_policy)?;
        files::write(&folder.join("root.json"), &first.root)?;
        let detail = format!("fingerprint {}", files::hex(&first.fingerprint));
        self.decide(Event::Trusted, name, "", &detail, now)
    }

    pub(crate) fn folder(&self, market: &str) -> PathBuf {
        self.dir.join(market)
    }

    /// The first root and log policy, which must be those that `trust.toml` names.
    fn first_trust(&self, market: &Subscription) -> Result<(Vec<u8>, LogPolicy), MarketError> {
        let folder = self.folder(&market.name);
        let root = files::read(&folder.join("root.json"), ROOT_BYTES_MAX)?.unwrap_or_default();
        let text =
            files::read_text(&folder.join(LOG_POLICY_FILE), POLICY_BYTES_MAX)?.unwrap_or_default();
        if market_fingerprint(&root, text.as_bytes()) != market.fingerprint {
            let expected =
                format!("the root and log policy of {}", files::hex(&market.fingerprint));
            let remedy = format!("run `aimass trust add {}` with its fingerprint", market.name);
            return Err(MarketError::wrong(&market.name, expected, "others, or none", remedy));
        }
        Ok((root, LogPolicy::parse(&text)?))
    }

    fn state(&self, market: &Subscription, root: &[u8]) -> Result<MarketState, MarketError> {
        let path = self.folder(&market.name).join("state.json");
        match files::read(&path, STATE_BYTES_MAX)? {
            Some(bytes) => Ok(MarketState::from_bytes(&bytes)?),
            None => Ok(MarketState::of_root(root)?),
        }
    }

    fn keep_state(&self, market: &str, state: &MarketState) -> Result<(), MarketError> {
        files::write(&self.folder(market).join("state.json"), &state.to_bytes()?)
    }

    pub(crate) fn decide(
        &self,
        event: Event,
        market: &str,
        subject: &str,
        detail: &str,
        now: SystemTime,
    ) -> Result<(), MarketError> {
        let code = detail.split_once(": ").map(|(code, _)| code);
        let code = code.filter(|code| code.starts_with("AMT-"));
        self.audit.record(&Decision { event, market, subject, code, detail }, now)
    }
}

impl MarketHost {
    /// Records a decision that was taken elsewhere, about a `subject` of a `market`.
    ///
    /// # Errors
    /// [`MarketError::File`].
    pub fn note(
        &self,
        event: Event,
        (market, subject): (&str, &str),
        detail: &str,
        now: SystemTime,
    ) -> Result<(), MarketError> {
        self.decide(event, market, subject, detail, now)
    }
}

//! Records of a host: which releases it admitted, and which updates wait.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use aimass_trust::{PackageName, Timestamp, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::MarketHost;
use super::audit::Event;
use crate::{MarketError, files};

const RECORD_BYTES_MAX: usize = 1 << 20;
/// Releases of one marketplace that a host remembers.
const RECORDS_MAX: usize = 65_536;

/// How a release was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdmittedRecord {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the component, in hexadecimal.
    pub sha256: String,
    /// When; validity is judged by this moment ever after.
    pub admitted_at: Timestamp,
    /// Whether the operator approved that it asks for more than the release before it.
    pub approved: bool,
    /// Its place in the log.
    pub log_index: u64,
    /// Its proof of being logged.
    pub proof: String,
}

/// An update that waits for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldUpdate {
    /// The version that waits; empty where the operator holds the package whatever comes.
    pub version: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl MarketHost {
    /// Every release of the marketplace that was admitted.
    ///
    /// # Errors
    /// [`MarketError::File`]; [`MarketError::Wrong`] for a damaged record.
    pub fn admitted(&self, market: &str) -> Result<Vec<AdmittedRecord>, MarketError> {
        let folder = self.folder(market).join("admitted");
        let names = files::names(&folder, RECORDS_MAX)?;
        let read = |name: &String| self.record::<AdmittedRecord>(folder.join(name));
        names
            .iter()
            .filter(|name| name.ends_with(".json"))
            .filter_map(|name| read(name).transpose())
            .collect()
    }

    /// How the release with this digest was admitted, if it was.
    ///
    /// # Errors
    /// As [`MarketHost::admitted`].
    pub fn admitted_as(
        &self,
        market: &str,
        digest: &[u8; 32],
    ) -> Result<Option<AdmittedRecord>, MarketError> {
        self.record(self.record_file(market, &files::hex(digest)))
    }

    /// Updates that wait, by package.
    ///
    /// # Errors
    /// As [`MarketHost::admitted`].
    pub fn held(&self, market: &str) -> Result<BTreeMap<PackageName, HeldUpdate>, MarketError> {
        Ok(self.record(self.folder(market).join("held.json"))?.unwrap_or_default())
    }

    /// The operator holds a package's update, or with `None` lets it go on. The audit log says so if it
    /// changes anything.
    ///
    /// # Errors
    /// As [`MarketHost::admitted`].
    pub fn set_held(
        &self,
        market: &str,
        name: &PackageName,
        update: Option<HeldUpdate>,
    ) -> Result<(), MarketError> {
        let (event, detail) = match &update {
            Some(update) => (Event::Held, update.reason.clone()),
            None => (Event::Unheld, "updates go on".to_owned()),
        };
        match self.replace_held(market, name, update)? {
            true => self.decide(event, market, name.as_str(), &detail, SystemTime::now()),
            false => Ok(()),
        }
    }

    /// Replaces what is held of a package; whether that changed anything.
    pub(super) fn replace_held(
        &self,
        market: &str,
        name: &PackageName,
        update: Option<HeldUpdate>,
    ) -> Result<bool, MarketError> {
        let mut held = self.held(market)?;
        let before = held.clone();
        match update {
            Some(update) => held.insert(name.clone(), update),
            None => held.remove(name),
        };
        match held == before {
            true => Ok(false),
            false => self.keep(self.folder(market).join("held.json"), &held).map(|()| true),
        }
    }

    pub(super) fn keep_record(
        &self,
        market: &str,
        record: &AdmittedRecord,
    ) -> Result<(), MarketError> {
        self.keep(self.record_file(market, &record.sha256), record)
    }

    fn record_file(&self, market: &str, sha256: &str) -> PathBuf {
        self.folder(market).join("admitted").join(format!("{sha256}.json"))
    }

    fn keep(&self, path: PathBuf, value: &impl Serialize) -> Result<(), MarketError> {
        let text = serde_json::to_vec(value).map_err(|error| damaged(&path, &error))?;
        files::write(&path, &text)
    }

    fn record<T: DeserializeOwned>(&self, path: PathBuf) -> Result<Option<T>, MarketError> {
        let text = files::read(&path, RECORD_BYTES_MAX)?;
        text.map(|text| serde_json::from_slice(&text)).transpose().map_err(|e| damaged(&path, &e))
    }
}

fn damaged(path: &std::path::Path, error: &serde_json::Error) -> MarketError {
    let remedy = "restore it from a backup, or remove it and install the package again";
    MarketError::wrong(
        path.display().to_string(),
        "a record of this host",
        error.to_string(),
        remedy,
    )
}

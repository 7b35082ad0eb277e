//! The audit path of a model version: verified, tested, reviewed, released; each step with its line in
//! the audit log.

use crate::engine::Inner;
use crate::errors::{of_market, of_registry};
use crate::files::FileBytes;
use crate::loader::{MANIFEST_FILE, VersionSource};
use crate::{EngineError, Family, ReleaseFacts};
use aimass_market::host::audit::Event;
use aimass_registry::ModelVersion;
use aimass_trust::TrustPolicy;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The marketplace of what the operator trusts directly: none.
const DIRECT: &str = "";

/// Judges a published version by a policy as loading it would, without its plugins: who signed it,
/// who reviewed it. Files above 16 MiB are not read, only their lists of chunks.
///
/// # Errors
/// The first check that failed, with its code (`AMT-…`); the registry cannot be read.
pub fn judge_version(
    version: &ModelVersion,
    policy: &TrustPolicy,
) -> Result<ReleaseFacts, EngineError> {
    let mut source = source_of(version)?;
    let (_, verified) = source.verify(policy)?;
    Ok(source.facts(&verified))
}

/// What loading needs of a published version.
pub(crate) fn source_of(version: &ModelVersion) -> Result<VersionSource, EngineError> {
    let mut files: BTreeMap<String, FileBytes> = BTreeMap::new();
    for file in version.files() {
        let mapped = version.open(&file.name).map_err(|error| of_registry(&error))?;
        files.insert(file.name.clone(), mapped);
    }
    let model_toml = version.model_toml().map_err(|error| of_registry(&error))?;
    files.insert(MANIFEST_FILE.to_owned(), Arc::new(model_toml.into_bytes()));
    let record = version.record();
    Ok(VersionSource {
        name: Arc::from(version.model()),
        version: version.version(),
        admitted: UNIX_EPOCH + Duration::from_millis(record.published_ms),
        statement: version.statement().map_err(|error| of_registry(&error))?,
        files,
        locks: record.locks.clone(),
        fixture_report: record.fixture_report.clone(),
    })
}

impl Inner {
    /// Writes down that something the operator trusts directly was admitted.
    pub(crate) fn note_admission(
        &self,
        subject: &str,
        detail: &str,
        now: SystemTime,
    ) -> Result<(), EngineError> {
        let noted = self.loader.markets.note(Event::Admitted, (DIRECT, subject), detail, now);
        noted.map_err(|error| of_market(&error))
    }

    /// Writes down a refusal, if `error` is one; other errors are no decisions.
    pub(crate) fn note_refusal(
        &self,
        subject: &str,
        error: &EngineError,
        now: SystemTime,
    ) -> Result<(), EngineError> {
        if error.family() != Family::PackageRefused {
            return Ok(());
        }
        let detail = refusal_detail(error);
        let noted = self.loader.markets.note(Event::Refused, (DIRECT, subject), &detail, now);
        noted.map_err(|error| of_market(&error))
    }
}

/// What the audit log says of a refusal: its code first.
pub(crate) fn refusal_detail(error: &EngineError) -> String {
    let message = error.message();
    match message.starts_with(error.code()) {
        true => message.to_owned(),
        false => format!("{}: {message}", error.code()),
    }
}

/// What the audit log says of an admitted model.
pub(crate) fn admission_detail(serving_name: &str, facts: &ReleaseFacts) -> String {
    let reviewed = match facts.reviewed_by.is_empty() {
        true => "nobody".to_owned(),
        false => facts.reviewed_by.join(" and "),
    };
    let fixtures = facts.fixtures.as_deref().unwrap_or("unknown");
    format!(
        "as model {serving_name}; signed by {}; fixtures: {fixtures}; reviewed by {reviewed}",
        facts.signed_by
    )
}

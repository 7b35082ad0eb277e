//! Sums by day, tenant, model and kind: an index of the journal, made again from it where it is missing.

use super::UsageError;
use super::disk::Disk;
use super::event::rfc3339_date;
use super::journal::{Kept, Position};
use super::record::{UsageKind, UsageRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The index file.
pub(crate) const TOTALS_FILE: &str = "totals.json";
/// Most rows; the oldest days go first.
pub(crate) const ROWS_MAX: usize = 100_000;
/// Largest index file that is read.
const FILE_BYTES_MAX: usize = 256 << 20;
const DAY_US: u64 = 86_400_000_000;

/// What a tenant used of a model on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageTotals {
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that failed or were cancelled.
    pub failed: u64,
    /// Tokens, of calls that counted them.
    pub tokens: u64,
    /// Bytes of input tensors.
    pub bytes_in: u64,
    /// Bytes of output tensors.
    pub bytes_out: u64,
    /// Time on a thread inside plugins, in nanoseconds.
    pub plugin_cpu_ns: u64,
    /// Shares of the launches that computed plans, in nanoseconds.
    pub kernel_ns: u64,
}

impl UsageTotals {
    /// Adds other sums.
    pub fn add(&mut self, other: &UsageTotals) {
        let sums = [
            (&mut self.answered, other.answered),
            (&mut self.failed, other.failed),
            (&mut self.tokens, other.tokens),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.plugin_cpu_ns, other.plugin_cpu_ns),
            (&mut self.kernel_ns, other.kernel_ns),
        ];
        for (sum, amount) in sums {
            *sum = sum.saturating_add(amount);
        }
    }
}

/// One row of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// `YYYY-MM-DD`, in UTC.
    pub day: String,
    /// Who pays.
    pub tenant: Arc<str>,
    /// Serving name of the model.
    pub model: Arc<str>,
    /// `infer`, `batch`, `train` or `compress`.
    pub kind: String,
    /// The sums.
    #[serde(flatten)]
    pub totals: UsageTotals,
}

/// Which rows are asked for; absent asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Only of this tenant.
    pub tenant: Option<String>,
    /// Only of this model.
    pub model: Option<String>,
    /// Days since 1970 from which on.
    pub since_day: u64,
}

type Key = (u64, Arc<str>, Arc<str>, UsageKind);

/// The index.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    rows: BTreeMap<Key, UsageTotals>,
    /// The first record that is not in the sums.
    through: Position,
}

/// Day, tenant, model, kind, sums.
type FileRow = (u64, Arc<str>, Arc<str>, String, UsageTotals);

#[derive(Serialize, Deserialize)]
struct TotalsFile {
    through: Position,
    rows: Vec<FileRow>,
}

impl Totals {
    /// The index file; empty if there is none, or none that can be read: then everything is summed again.
    pub(crate) fn load(disk: &dyn Disk) -> Result<Totals, UsageError> {
        let files = disk.list().map_err(|error| UsageError::disk("list the journal", error))?;
        if !files.iter().any(|(name, _)| name == TOTALS_FILE) {
            return Ok(Totals::default());
        }
        let bytes = disk
            .read(TOTALS_FILE, 0, FILE_BYTES_MAX)
            .map_err(|error| UsageError::disk("read totals.json", error))?;
        match serde_json::from_slice::<TotalsFile>(&bytes) {
            Ok(file) => Ok(Totals::of_file(file)),
            Err(error) => {
                tracing::error!(%error, "totals.json is damaged: sums are made from the segments left");
                Ok(Totals::default())
            }
        }
    }

    fn of_file(file: TotalsFile) -> Totals {
        let rows = file.rows.into_iter().filter_map(|(day, tenant, model, kind, totals)| {
            Some(((day, tenant, model, UsageKind::of_name(&kind)?), totals))
        });
        Totals { rows: rows.collect(), through: file.through }
    }

    /// The index as its file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let rows = self.rows.iter().map(|((day, tenant, model, kind), totals)| {
            (*day, tenant.clone(), model.clone(), kind.name().to_owned(), *totals)
        });
        let file = TotalsFile { through: self.through, rows: rows.collect() };
        serde_json::to_vec(&file).expect("numbers and texts are JSON")
    }

    /// The first record that is not in the sums.
    pub(crate) fn through(&self) -> Position {
        self.through
    }

    /// Says how far the sums go.
    pub(crate) fn set_through(&mut self, position: Position) {
        self.through = position;
    }

    /// Adds records that follow what is summed already.
    pub(crate) fn replay(&mut self, kept: &[Kept], through: Position) {
        for one in kept {
            self.add(&one.record);
        }
        self.through = through;
    }

    /// Adds one record.
    pub(crate) fn add(&mut self, record: &UsageRecord) {
        let key =
            (record.time_us / DAY_US, record.tenant.clone(), record.model.clone(), record.kind);
        let totals = self.rows.entry(key).or_default();
        let answered = record.outcome == "ok";
        totals.add(&UsageTotals {
            answered: u64::from(answered),
            failed: u64::from(!answered),
            tokens: record.tokens.unwrap_or(0),
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            plugin_cpu_ns: record.plugin_ns,
            kernel_ns: record.kernel_ns,
        });
        if self.rows.len() > ROWS_MAX {
            self.rows.pop_first();
        }
    }

    /// The rows that a query asks for, by day, tenant and model.
    pub(crate) fn query(&self, query: &UsageQuery) -> Vec<UsageRow> {
        let wanted = |asked: &Option<String>, is: &str| asked.as_ref().is_none_or(|one| one == is);
        let from = (query.since_day, Arc::from(""), Arc::from(""), UsageKind::Infer);
        let rows = self.rows.range::<Key, _>(from..);
        rows.filter(|((_, tenant, model, _), _)| {
            wanted(&query.tenant, tenant) && wanted(&query.model, model)
        })
        .map(|((day, tenant, model, kind), totals)| UsageRow {
            day: rfc3339_date(*day),
            tenant: tenant.clone(),
            model: model.clone(),
            kind: kind.name().to_owned(),
            totals: *totals,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;

    #[test]
    fn sums_are_kept_by_day_tenant_model_and_kind() {
        let mut totals = Totals::default();
        let first = sample("");
        let failed = UsageRecord { outcome: "plugin".into(), tokens: None, ..sample("") };
        let other = UsageRecord { tenant: "zoo".into(), ..sample("") };
        let later = UsageRecord { time_us: first.time_us + DAY_US, ..sample("") };
        let batch = UsageRecord { kind: UsageKind::Batch, ..sample("") };
        for record in [&first, &first, &failed, &other, &later, &batch] {
            totals.add(record);
        }
        let rows = totals.query(&UsageQuery::default());
        assert_eq!(rows.len(), 4);
        assert_eq!((&*rows[0].day, &*rows[0].kind), ("2026-09-21", "infer"));
        let sums = rows[0].totals;
        assert_eq!((sums.answered, sums.failed, sums.tokens), (2, 1, 34));
        assert_eq!((sums.bytes_in, sums.kernel_ns), (600, 27_000_000));
        let of = |query: UsageQuery| totals.query(&query).len();
        assert_eq!(of(UsageQuery { tenant: Some("zoo".to_owned()), ..Default::default() }), 1);
        assert_eq!(of(UsageQuery { model: Some("none".to_owned()), ..Default::default() }), 0);
        let since_day = first.time_us / DAY_US + 1;
        assert_eq!(of(UsageQuery { since_day, ..Default::default() }), 1);
        let read = serde_json::from_slice(&totals.file()).map(Totals::of_file).unwrap();
        assert_eq!(read, totals);
    }

    #[test]
    fn rows_have_a_limit_and_the_oldest_days_go() {
        let mut totals = Totals::default();
        for day in 0..=ROWS_MAX as u64 {
            totals.add(&UsageRecord { time_us: day * DAY_US, ..sample("") });
        }
        assert_eq!(totals.rows.len(), ROWS_MAX);
        assert_eq!(totals.query(&UsageQuery::default())[0].day, "1970-01-02");
    }
}

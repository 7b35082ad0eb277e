//! Usage metering: one record a call, in a journal on disk before the answer leaves.
//!
//! A call that is answered is in the journal; a call that is in the journal may have lost its client before the answer
//! arrived. Records leave as CloudEvents 1.0, at least once, each with an id that never changes.

#[cfg(test)]
mod crash_tests;
mod disk;
mod event;
mod export;
#[cfg(test)]
mod export_tests;
mod journal;
mod meter;
mod places;
mod record;
mod segment;
#[cfg(test)]
mod simulated_disk;
mod totals;
mod writer;
#[cfg(test)]
mod writer_tests;

pub use event::{EVENT_TYPE, UsageData, UsageEvent, day_of_date, rfc3339, rfc3339_date};
pub use meter::{Meter, MeterStats, Slot};
pub use places::read_usage;
pub use record::{UsageKind, UsageRecord};
pub use totals::{UsageQuery, UsageRow, UsageTotals};

use serde::Deserialize;
use std::io;
use std::path::PathBuf;

/// When a record counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The operating system has it: it survives the end of the process, not the loss of power.
    #[default]
    Os,
    /// The device has it (`fdatasync`): it survives the loss of power.
    Disk,
}

/// How usage is metered: `[gateway.telemetry.usage]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageConfig {
    /// Whether calls are metered at all. Default true.
    pub enabled: bool,
    /// Folder of the journal; by default `usage` in the data folder.
    pub dir: Option<PathBuf>,
    /// When a record counts as written: `os` (default) or `disk`.
    pub durability: Durability,
    /// Calls that may run or wait for their record at once. Default 16384; beyond it calls get 503
    /// before they run.
    pub queue_len_max: usize,
    /// Size from which on the journal goes on in a new file. Default 16 MiB.
    pub segment_bytes_max: u64,
    /// Journal above which exported files are removed. Default 1 GiB.
    pub retention_bytes_max: u64,
    /// Age above which exported files are removed. Default 90 days.
    pub retention_days: u64,
    /// Journal above which calls get 503, because exporters do not keep up. Default 4 GiB.
    pub journal_bytes_max: u64,
    /// `source` of the events. Default `/aimass`.
    pub source: String,
    /// File that gets the events as JSON lines.
    pub export_file: Option<PathBuf>,
    /// `http` or `https` address that gets the events in batches.
    pub export_url: Option<String>,
    /// File with the value of the `Authorization` header for `export_url`.
    pub export_authorization_file: Option<PathBuf>,
    /// Events of one batch. Default 500.
    pub export_batch_max: usize,
}

impl Default for UsageConfig {
    fn default() -> UsageConfig {
        UsageConfig {
            enabled: true,
            dir: None,
            durability: Durability::Os,
            queue_len_max: 16_384,
            segment_bytes_max: 16 << 20,
            retention_bytes_max: 1 << 30,
            retention_days: 90,
            journal_bytes_max: 4 << 30,
            source: "/aimass".to_owned(),
            export_file: None,
            export_url: None,
            export_authorization_file: None,
            export_batch_max: 500,
        }
    }
}

impl UsageConfig {
    /// Every number with its name, least and greatest value.
    pub fn ranges(&self) -> [(&'static str, u64, u64, u64); 6] {
        let twice = self.segment_bytes_max.saturating_mul(2);
        [
            ("telemetry.usage.queue_len_max", self.queue_len_max as u64, 1, 1 << 20),
            ("telemetry.usage.segment_bytes_max", self.segment_bytes_max, 4 << 10, 1 << 30),
            ("telemetry.usage.retention_bytes_max", self.retention_bytes_max, 0, 1 << 50),
            ("telemetry.usage.retention_days", self.retention_days, 0, 36_500),
            ("telemetry.usage.journal_bytes_max", self.journal_bytes_max, twice, 1 << 50),
            ("telemetry.usage.export_batch_max", self.export_batch_max as u64, 1, 10_000),
        ]
    }
}

/// Why usage cannot be metered.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// As many calls hold a slot as there are.
    #[error("{max} calls wait for their usage records; try again")]
    Full {
        /// Slots in all.
        max: usize,
    },
    /// Nothing can be written now.
    #[error("{reason}")]
    Failing {
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// As many servers use this folder as may.
    #[error("{places} servers use the usage journals of {dir}; give each its own --data folder")]
    Taken {
        /// The journals' folder.
        dir: PathBuf,
        /// How many may.
        places: usize,
    },
    /// The disk does not do what is needed.
    #[error("usage journal: cannot {action}: {source}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// An exporter's settings are wrong.
    #[error("usage export: {message}")]
    Export {
        /// What is wrong and what is expected.
        message: String,
    },
}

impl UsageError {
    pub(crate) fn disk(action: &'static str, source: io::Error) -> UsageError {
        UsageError::Disk { action, source }
    }
}

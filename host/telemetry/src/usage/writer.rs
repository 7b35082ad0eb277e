//! Whoever writes the journal: a caller that leaves its record, as long as that is quicker than waking the
//! thread, else the thread.
//!
//! A record that the operating system is to have costs one `write` to its memory, about a microsecond: callers do it
//! themselves, one at a time, and whoever finds another one at it leaves the record to that one. What may take long is
//! the thread's alone: syncing, starting and removing segments, and a disk that has been slow.

use super::disk::Disk;
use super::journal::{Journal, Position};
use super::meter::{Shared, Waiting, lock};
use super::record::UsageRecord;
use super::segment;
use super::totals::TOTALS_FILE;
use super::{Durability, UsageConfig, UsageError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A write that takes longer makes the thread write, until one of its writes is quicker.
const SLOW: Duration = Duration::from_millis(2);

/// The right to write, and what it takes.
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    journal: Journal,
    config: UsageConfig,
    frames: Vec<u8>,
    closed: bool,
}

impl Writer {
    pub(crate) fn new(disk: Arc<dyn Disk>, journal: Journal, config: UsageConfig) -> Writer {
        Writer { disk, journal, config, frames: Vec::new(), closed: false }
    }

    /// The thread: writes what callers leave to it, and looks after the journal.
    pub(crate) fn run(shared: &Shared) {
        loop {
            let (waiting, closing) = shared.wait();
            let mut writer = lock(&shared.writer);
            if !waiting.is_empty() {
                if writer.journal.is_full() {
                    writer.tidy(shared);
                }
                writer.write_all(shared, waiting);
                continue;
            }
            writer.tidy(shared);
            if closing {
                writer.save_totals(shared);
                writer.closed = true;
                shared.in_place.store(false, Ordering::Release);
                return;
            }
        }
    }

    /// Whether a record can be written without anything that may take long.
    pub(crate) fn is_ready(&self) -> bool {
        !self.closed && self.journal.is_open() && !self.journal.is_full()
    }

    /// Writes records and tells who left them.
    pub(crate) fn write_all(&mut self, shared: &Shared, waiting: Vec<Waiting>) {
        let result = self.write(shared, waiting.iter().map(|one| &one.record));
        let handed_over = waiting.iter().filter(|one| one.to_thread).count();
        shared.handed_over.fetch_add(handed_over as u64, Ordering::Relaxed);
        for one in waiting {
            // Nobody waits if the caller went away; the record stays.
            let _ = one.done.send(result.as_ref().map_err(not_written).copied());
        }
    }

    /// Writes one record for whoever left it.
    ///
    /// # Errors
    /// [`UsageError::Failing`]: it is not in the journal.
    pub(crate) fn write_one(
        &mut self,
        shared: &Shared,
        record: &UsageRecord,
    ) -> Result<(), UsageError> {
        self.write(shared, std::iter::once(record)).map_err(|error| not_written(&error))
    }

    fn write<'a>(
        &mut self,
        shared: &Shared,
        records: impl Iterator<Item = &'a UsageRecord> + Clone,
    ) -> io::Result<()> {
        self.frames.clear();
        let mut count = 0;
        for record in records.clone() {
            segment::put_record(record, &mut self.frames);
            count += 1;
        }
        let start = self.disk.now();
        let result = self.journal.append(&self.frames, count, now());
        let slow = self.disk.now().saturating_duration_since(start) >= SLOW;
        if result.is_ok() {
            let mut totals = lock(&shared.totals);
            records.for_each(|record| totals.add(record));
            totals.set_through(end(&self.journal));
        }
        let failing = result.as_ref().err().map(describe);
        self.publish(shared, failing.or_else(|| self.over_limit()));
        let counter = if result.is_ok() { &shared.records } else { &shared.lost };
        counter.fetch_add(count, Ordering::Relaxed);
        shared.writes.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
        let os = self.config.durability == Durability::Os;
        let in_place = os && !slow && result.is_ok() && self.is_ready();
        shared.in_place.store(in_place, Ordering::Release);
        result
    }

    /// Shows readers what is written, and callers whether more can be.
    fn publish(&self, shared: &Shared, failing: Option<String>) {
        let mut durable = lock(&shared.durable);
        let known = durable.segments.len();
        let segments = self.journal.segments();
        if known == segments.len()
            && let (Some(shown), Some(last)) = (durable.segments.last_mut(), segments.back())
        {
            *shown = *last;
        } else {
            durable.segments = segments.iter().copied().collect();
        }
        (durable.next, durable.bytes) = (self.journal.next(), self.journal.bytes());
        if durable.failing != failing {
            match &failing {
                Some(reason) => tracing::error!(reason, "usage records cannot be written"),
                None => tracing::info!("usage records are written again"),
            }
            shared.is_failing.store(failing.is_some(), Ordering::Release);
            durable.failing = failing;
        }
    }

    /// Drops what is old and exported, and looks whether writing works where it did not.
    pub(crate) fn tidy(&mut self, shared: &Shared) {
        let mut failing = lock(&shared.durable).failing.clone();
        if self.journal.is_full() || self.is_over() {
            self.save_totals(shared);
        }
        self.retain(shared);
        if let Some(reason) = self.over_limit() {
            failing = Some(reason);
        } else if failing.is_some() {
            let mut mark = Vec::new();
            segment::put_mark(&mut mark);
            let result = self.journal.append(&mark, 0, now());
            failing = result.err().map(|error| describe(&error));
        }
        self.publish(shared, failing);
    }

    /// Why no more is taken, if exporters left too much behind.
    fn over_limit(&self) -> Option<String> {
        let (bytes, max) = (self.journal.bytes(), self.config.journal_bytes_max);
        (bytes >= max).then(|| {
            format!(
                "the usage journal has {bytes} bytes that were not exported, its limit is {max}; see \
                 to the exporter or raise gateway.telemetry.usage.journal_bytes_max"
            )
        })
    }

    fn is_over(&self) -> bool {
        self.journal.bytes() > self.config.retention_bytes_max
    }

    /// Removes the oldest segments as long as they are summed, exported, and too many or too old.
    fn retain(&mut self, shared: &Shared) {
        let cursors = lock(&shared.durable).cursors.clone();
        let exported = cursors.iter().map(|cursor| cursor.sequence).min().unwrap_or(u64::MAX);
        let oldest_kept = now().saturating_sub(self.config.retention_days * 86_400);
        while let [Some(_), Some(second)] =
            [0, 1].map(|at| self.journal.segments().get(at).copied())
        {
            let old = second.header.created < oldest_kept;
            if second.first > exported || !(old || self.is_over()) {
                return;
            }
            self.save_totals(shared);
            if let Err(error) = self.journal.remove_oldest() {
                tracing::warn!(%error, "an old segment of the usage journal cannot be removed");
                return;
            }
        }
    }

    fn save_totals(&self, shared: &Shared) {
        let file = lock(&shared.totals).file();
        if let Err(error) = self.disk.replace(TOTALS_FILE, &file) {
            tracing::warn!(%error, "the sums of usage cannot be saved; they are made again at the start");
        }
    }
}

/// Behind the last record.
fn end(journal: &Journal) -> Position {
    let sequence = journal.next();
    let last = journal.segments().back();
    let (segment, offset) = last.map_or((sequence, 0), |last| (last.first, last.bytes));
    Position { sequence, segment, offset }
}

fn not_written(error: &io::Error) -> UsageError {
    UsageError::Failing { reason: describe(error) }
}

fn describe(error: &io::Error) -> String {
    format!("usage records cannot be written: {error}; make room, or mend the disk")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

//! The meter: calls hold a slot while they run, and get their answer out once their record is written.
//!
//! One thread writes. Records that wait together are written together (group commit). There are as
//! many slots as the queue is long, so that a call that runs can always leave its record: where there is no
//! slot, the call is refused before it runs.

use super::disk::{Disk, Folder};
use super::export::{self, Exporter};
use super::journal::{Journal, Position, Segment, read, scan};
use super::places::{self, Orphans, Place};
use super::record::UsageRecord;
use super::segment;
use super::totals::{TOTALS_FILE, Totals, UsageQuery, UsageRow};
use super::{UsageConfig, UsageError};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// How often the writer looks after the journal when nobody writes.
const IDLE: Duration = Duration::from_secs(1);
/// Records that are summed at once when the index is made again.
const REPLAY_RECORDS: usize = 4096;

/// Writes usage records. Dropping it writes what waits, and stops its threads.
pub struct Meter {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    exporters: Vec<Exporter>,
    orphans: Option<Orphans>,
    /// Held locked as long as the journal is ours.
    _lock: Option<File>,
}

/// The right to leave one record.
pub struct Slot {
    shared: Arc<Shared>,
}

/// What the meter did so far, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterStats {
    /// Records in the journal since the start.
    pub records: u64,
    /// Writes that held them.
    pub writes: u64,
    /// Calls refused for want of a slot or of a working journal.
    pub refused: u64,
    /// Records that could not be written.
    pub lost: u64,
    /// Slots taken now.
    pub slots: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Records that some exporter has not passed on yet.
    pub export_lag: u64,
    /// Attempts to export that failed.
    pub export_failures: u64,
}

/// What callers, the writer and exporters share.
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    pub(crate) durable: Mutex<Durable>,
    totals: Mutex<Totals>,
    slots: AtomicUsize,
    slots_max: usize,
    /// Whether `durable` says why nothing can be written.
    is_failing: AtomicBool,
    records: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    pub(crate) export_failures: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    closing: bool,
}

/// A record that is to be written, and who wants to know.
struct Waiting {
    record: UsageRecord,
    done: oneshot::Sender<Result<(), UsageError>>,
    /// Given back when the record is written, even if nobody waits for it any more.
    _slot: Slot,
}

/// What readers may read.
#[derive(Default)]
pub(crate) struct Durable {
    pub(crate) segments: Vec<Segment>,
    pub(crate) next: u64,
    /// Why nothing can be written now.
    failing: Option<String>,
    /// Where each exporter is.
    pub(crate) cursors: Vec<Position>,
    bytes: u64,
}

impl Meter {
    /// Opens the journal in `dir` and starts the writer and the exporters.
    ///
    /// # Errors
    /// [`UsageError`]: the folder cannot be used, too many servers use it, or a setting is wrong.
    pub fn open(dir: &Path, config: &UsageConfig) -> Result<Meter, UsageError> {
        let mut meter = Meter::of_place(places::take(dir, config)?)?;
        meter.orphans = Orphans::start(dir, config)?;
        Ok(meter)
    }

    /// The meter of one place, without those that other servers left.
    pub(super) fn of_place(place: Place) -> Result<Meter, UsageError> {
        let folder = Folder::open(&place.dir);
        let folder = folder.map_err(|error| UsageError::disk("open its folder", error))?;
        let mut meter = Meter::on(Arc::new(folder), &place.config)?;
        meter._lock = Some(place.lock);
        Ok(meter)
    }

    /// As [`Meter::open`], on any disk.
    pub(crate) fn on(disk: Arc<dyn Disk>, config: &UsageConfig) -> Result<Meter, UsageError> {
        let sinks = export::sinks(&disk, config)?;
        let mut totals = Totals::load(&*disk)?;
        let at_least = sinks.iter().map(|sink| sink.cursor.sequence).max().unwrap_or(0);
        let at_least = at_least.max(totals.through().sequence);
        let journal = Journal::open(disk.clone(), config, at_least)
            .map_err(|error| UsageError::disk("recover the journal", error))?;
        let segments: Vec<Segment> = journal.segments().iter().copied().collect();
        replay(&*disk, &segments, &mut totals)?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            durable: Mutex::new(Durable {
                next: journal.next(),
                cursors: sinks.iter().map(|sink| sink.cursor).collect(),
                bytes: journal.bytes(),
                segments,
                failing: None,
            }),
            totals: Mutex::new(totals),
            slots: AtomicUsize::new(0),
            slots_max: config.queue_len_max,
            is_failing: AtomicBool::new(false),
            records: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            export_failures: AtomicU64::new(0),
        });
        let mut writer = Writer {
            shared: shared.clone(),
            disk: disk.clone(),
            journal,
            config: config.clone(),
            frames: Vec::new(),
        };
        writer.tidy();
        let writer = spawn("aimass-usage", move || writer.run())?;
        let exporters = sinks
            .into_iter()
            .enumerate()
            .map(|(index, sink)| Exporter::start(index, sink, shared.clone(), disk.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Meter { shared, writer: Some(writer), exporters, orphans: None, _lock: None })
    }

    /// Makes room for the record of a call that is about to run.
    ///
    /// # Errors
    /// [`UsageError::Full`] if as many calls hold one as the queue is long,
    /// [`UsageError::Failing`] if nothing can be written now.
    pub fn reserve(&self) -> Result<Slot, UsageError> {
        let shared = &self.shared;
        let slot = Slot { shared: shared.clone() };
        let taken = shared.slots.fetch_add(1, Ordering::Relaxed);
        let refused = if taken >= shared.slots_max {
            Some(UsageError::Full { max: shared.slots_max })
        } else if shared.is_failing.load(Ordering::Acquire) {
            let failing = lock(&shared.durable).failing.clone();
            failing.map(|reason| UsageError::Failing { reason })
        } else {
            None
        };
        match refused {
            None => Ok(slot),
            Some(error) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Why nothing can be written now; nothing if it can.
    pub fn failing(&self) -> Option<String> {
        lock(&self.shared.durable).failing.clone()
    }

    /// The sums that a query asks for.
    pub fn query(&self, query: &UsageQuery) -> Vec<UsageRow> {
        lock(&self.shared.totals).query(query)
    }

    /// What the meter did so far.
    pub fn stats(&self) -> MeterStats {
        let shared = &self.shared;
        let durable = lock(&shared.durable);
        let behind = durable.cursors.iter().map(|cursor| cursor.sequence).min();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MeterStats {
            records: load(&shared.records),
            writes: load(&shared.writes),
            refused: load(&shared.refused),
            lost: load(&shared.lost),
            slots: shared.slots.load(Ordering::Relaxed) as u64,
            journal_bytes: durable.bytes,
            export_lag: behind.map_or(0, |cursor| durable.next.saturating_sub(cursor)),
            export_failures: load(&shared.export_failures),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        lock(&self.shared.queue).closing = true;
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take() {
            // It only fails if the writer panicked, which is in the log.
            let _ = writer.join();
        }
        self.exporters.clear();
        self.orphans = None;
    }
}

impl Slot {
    /// Leaves the record; resolves once it is written as durably as the configuration says. Dropping the
    /// future does not take the record back.
    ///
    /// # Errors
    /// [`UsageError::Failing`] if it could not be written: then it is not in the journal.
    pub fn commit(
        self,
        record: UsageRecord,
    ) -> impl Future<Output = Result<(), UsageError>> + Send + 'static {
        let (done, written) = oneshot::channel();
        let shared = self.shared.clone();
        let mut queue = lock(&shared.queue);
        if !queue.closing {
            queue.waiting.push(Waiting { record, done, _slot: self });
        }
        let first = queue.waiting.len() == 1;
        drop(queue);
        if first {
            shared.wake.notify_one();
        }
        async move {
            let gone = || UsageError::Failing { reason: "the usage journal is closed".to_owned() };
            written.await.unwrap_or_else(|_| Err(gone()))
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.slots.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    journal: Journal,
    config: UsageConfig,
    frames: Vec<u8>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let (waiting, closing) = self.wait();
            if waiting.is_empty() {
                self.tidy();
                if closing {
                    self.save_totals();
                    return;
                }
            } else {
                self.write(waiting);
            }
        }
    }

    /// Records that wait, or nothing after a while.
    fn wait(&self) -> (Vec<Waiting>, bool) {
        let mut queue = lock(&self.shared.queue);
        if queue.waiting.is_empty() && !queue.closing {
            let waited = self.shared.wake.wait_timeout(queue, IDLE);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        (std::mem::take(&mut queue.waiting), queue.closing)
    }

    fn write(&mut self, waiting: Vec<Waiting>) {
        if self.journal.is_full() {
            self.tidy();
        }
        self.frames.clear();
        for one in &waiting {
            segment::put_record(&one.record, &mut self.frames);
        }
        let count = waiting.len() as u64;
        let result = self.journal.append(&self.frames, count, now());
        if result.is_ok() {
            let mut totals = lock(&self.shared.totals);
            waiting.iter().for_each(|one| totals.add(&one.record));
            totals.set_through(end(&self.journal));
        }
        let failing = result.as_ref().err().map(|error| describe("written", error));
        self.publish(failing.or_else(|| self.over_limit()));
        let counter = if result.is_ok() { &self.shared.records } else { &self.shared.lost };
        counter.fetch_add(count, Ordering::Relaxed);
        self.shared.writes.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
        for one in waiting {
            let answer = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(UsageError::Failing { reason: describe("written", error) }),
            };
            // Nobody waits if the caller went away; the record stays.
            let _ = one.done.send(answer);
        }
    }

    /// Shows readers what is written, and callers whether more can be.
    fn publish(&self, failing: Option<String>) {
        let mut durable = lock(&self.shared.durable);
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
            self.shared.is_failing.store(failing.is_some(), Ordering::Release);
            durable.failing = failing;
        }
    }

    /// Drops what is old and exported, and looks whether writing works where it did not.
    fn tidy(&mut self) {
        let mut failing = lock(&self.shared.durable).failing.clone();
        if self.journal.is_full() || self.is_over() {
            self.save_totals();
        }
        self.retain();
        if let Some(reason) = self.over_limit() {
            failing = Some(reason);
        } else if failing.is_some() {
            let mut mark = Vec::new();
            segment::put_mark(&mut mark);
            let result = self.journal.append(&mark, 0, now());
            failing = result.err().map(|error| describe("written", &error));
        }
        self.publish(failing);
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
    fn retain(&mut self) {
        let cursors = lock(&self.shared.durable).cursors.clone();
        let exported = cursors.iter().map(|cursor| cursor.sequence).min().unwrap_or(u64::MAX);
        let oldest_kept = now().saturating_sub(self.config.retention_days * 86_400);
        while let [Some(_), Some(second)] =
            [0, 1].map(|at| self.journal.segments().get(at).copied())
        {
            let old = second.header.created < oldest_kept;
            if second.first > exported || !(old || self.is_over()) {
                return;
            }
            self.save_totals();
            if let Err(error) = self.journal.remove_oldest() {
                tracing::warn!(%error, "an old segment of the usage journal cannot be removed");
                return;
            }
        }
    }

    fn save_totals(&self) {
        let file = lock(&self.shared.totals).file();
        if let Err(error) = self.disk.replace(TOTALS_FILE, &file) {
            tracing::warn!(%error, "the sums of usage cannot be saved; they are made again at the start");
        }
    }
}

/// The sums of one place, which may be in use by a server.
pub(super) fn read_place(dir: &Path, query: &UsageQuery) -> Result<Vec<UsageRow>, UsageError> {
    let folder = Folder::open(dir).map_err(|error| UsageError::disk("open", error))?;
    let mut totals = Totals::load(&folder)?;
    let segments = scan(&folder).map_err(|error| UsageError::disk("list the journal", error))?;
    replay(&folder, &segments.iter().copied().collect::<Vec<_>>(), &mut totals)?;
    Ok(totals.query(query))
}

/// Sums what the index does not have.
fn replay(disk: &dyn Disk, segments: &[Segment], totals: &mut Totals) -> Result<(), UsageError> {
    loop {
        let (kept, through) = read(disk, segments, totals.through(), REPLAY_RECORDS)
            .map_err(|error| UsageError::disk("read the journal", error))?;
        totals.replay(&kept, through);
        if kept.len() < REPLAY_RECORDS {
            return Ok(());
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

fn describe(what: &str, error: &io::Error) -> String {
    format!("usage records cannot be {what}: {error}; make room, or mend the disk")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, UsageError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(work).map_err(|error| UsageError::disk("start a thread", error))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

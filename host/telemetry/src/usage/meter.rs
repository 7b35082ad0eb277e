//! The meter: calls hold a slot while they run, and get their answer out once their record is written.
//!
//! Records that wait together are written together (group commit); [`super::writer`] says who writes. There are as
//! many slots as the queue is long, so that a call that runs can always leave its record: where there is no
//! slot, the call is refused before it runs.

use super::disk::{Disk, Folder};
use super::export::{self, Exporter};
use super::journal::{Journal, Position, Segment, read, scan};
use super::places::{self, Orphans, Place};
use super::record::UsageRecord;
use super::totals::{Totals, UsageQuery, UsageRow};
use super::writer::Writer;
use super::{UsageConfig, UsageError};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// How often the thread looks after the journal when nothing is left to it.
const IDLE: Duration = Duration::from_secs(1);
/// Rounds in which a caller writes what others left meanwhile; the thread goes on.
const ROUNDS_MAX: usize = 8;
/// Records that are summed at once when the index is made again.
const REPLAY_RECORDS: usize = 4096;

/// Writes usage records. Dropping it writes what waits, and stops its threads.
pub struct Meter {
    pub(super) shared: Arc<Shared>,
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
    /// Records that their callers left to the writing thread.
    pub handed_over: u64,
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
    /// Whoever gets it writes, and looks at the queue again after letting go of it.
    pub(super) writer: Mutex<Writer>,
    /// Whether callers try to write themselves.
    pub(super) in_place: AtomicBool,
    pub(crate) durable: Mutex<Durable>,
    pub(super) totals: Mutex<Totals>,
    slots: AtomicUsize,
    slots_max: usize,
    /// Whether `durable` says why nothing can be written.
    pub(super) is_failing: AtomicBool,
    pub(super) records: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) handed_over: AtomicU64,
    refused: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(crate) export_failures: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    closing: bool,
}

/// A record that is to be written, and who wants to know.
pub(super) struct Waiting {
    pub(super) record: UsageRecord,
    pub(super) done: oneshot::Sender<Result<(), UsageError>>,
    /// Whether the thread was to write it, and not another caller.
    pub(super) to_thread: bool,
    /// Given back when the record is written, even if nobody waits for it any more.
    _slot: Slot,
}

/// What readers may read.
#[derive(Default)]
pub(crate) struct Durable {
    pub(crate) segments: Vec<Segment>,
    pub(crate) next: u64,
    /// Why nothing can be written now.
    pub(super) failing: Option<String>,
    /// Where each exporter is.
    pub(crate) cursors: Vec<Position>,
    pub(super) bytes: u64,
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
        let durable = Durable {
            next: journal.next(),
            cursors: sinks.iter().map(|sink| sink.cursor).collect(),
            bytes: journal.bytes(),
            segments,
            failing: None,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            writer: Mutex::new(Writer::new(disk.clone(), journal, config.clone())),
            in_place: AtomicBool::new(false),
            durable: Mutex::new(durable),
            totals: Mutex::new(totals),
            slots: AtomicUsize::new(0),
            slots_max: config.queue_len_max,
            is_failing: AtomicBool::new(false),
            records: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            export_failures: AtomicU64::new(0),
        });
        lock(&shared.writer).tidy(&shared);
        let of_thread = shared.clone();
        let writer = spawn("aimass-usage", move || Writer::run(&of_thread))?;
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
            handed_over: load(&shared.handed_over),
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
        let left = self.shared.clone().leave(self, record);
        async move {
            match left {
                Left::Written(result) => result,
                Left::Waits(written) => {
                    let reason = || "the usage journal is closed".to_owned();
                    written.await.unwrap_or_else(|_| Err(UsageError::Failing { reason: reason() }))
                }
            }
        }
    }
}

/// What became of a record.
enum Left {
    Written(Result<(), UsageError>),
    Waits(oneshot::Receiver<Result<(), UsageError>>),
}

impl Shared {
    /// Writes a record, or leaves it to whoever writes.
    fn leave(&self, slot: Slot, record: UsageRecord) -> Left {
        let in_place = self.in_place.load(Ordering::Acquire);
        if in_place
            && let Some(mut writer) = self.try_writer()
            && writer.is_ready()
        {
            let result = writer.write_one(self, &record);
            drop((writer, slot));
            self.write_left();
            return Left::Written(result);
        }
        let (done, written) = oneshot::channel();
        let mut queue = lock(&self.queue);
        if !queue.closing {
            let to_thread = !in_place;
            queue.waiting.push(Waiting { record, done, to_thread, _slot: slot });
        }
        let first = queue.waiting.len() == 1;
        drop(queue);
        if in_place {
            self.write_left();
        } else if first {
            self.wake.notify_one();
        }
        Left::Waits(written)
    }

    /// Writes what others left while a caller wrote. Nothing is forgotten: whoever has the writer comes
    /// here, or to [`Shared::wait`], after letting go of it.
    fn write_left(&self) {
        for _ in 0..ROUNDS_MAX {
            if lock(&self.queue).waiting.is_empty() {
                return;
            }
            let Some(mut writer) = self.try_writer() else { return };
            if !writer.is_ready() {
                break;
            }
            let waiting = std::mem::take(&mut lock(&self.queue).waiting);
            if !waiting.is_empty() {
                writer.write_all(self, waiting);
            }
        }
        self.wake.notify_one();
    }

    /// The writer, unless somebody has it.
    fn try_writer(&self) -> Option<MutexGuard<'_, Writer>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// For the thread: records that wait, or nothing after a while; whether there will be no more.
    pub(super) fn wait(&self) -> (Vec<Waiting>, bool) {
        let mut queue = lock(&self.queue);
        if queue.waiting.is_empty() && !queue.closing {
            let waited = self.wake.wait_timeout(queue, IDLE);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        (std::mem::take(&mut queue.waiting), queue.closing)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.slots.fetch_sub(1, Ordering::Relaxed);
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

//! Exporters: each follows the journal on a thread of its own and remembers how far it is.
//!
//! At least once: a batch is sent again if it is not known to have arrived. Ids stay the same.

mod file;
mod http;

use super::disk::Disk;
use super::event::UsageEvent;
use super::journal::{Kept, Position, read};
use super::meter::{Shared, lock, spawn};
use super::{UsageConfig, UsageError};
use crate::backoff::Backoff;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often an exporter looks for new records.
const POLL: Duration = Duration::from_millis(200);
/// First wait after a failed attempt.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Longest wait after a failed attempt. It bounds what a remote that is down costs: twelve attempts an hour.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// How long what is left may take to export when the server stops; the rest goes out at the next start.
const LAST_MAX: Duration = Duration::from_secs(2);

/// Where events go.
pub(crate) trait Target: Send {
    /// Takes a batch; it may have taken part of it if this fails.
    fn send(&mut self, events: &[UsageEvent]) -> Result<(), Refused>;
}

/// Why a batch did not arrive.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: String,
    /// How long the other side asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// A target, and how far it is.
pub(crate) struct Sink {
    pub(crate) cursor: Position,
    target: Box<dyn Target>,
    cursor_file: &'static str,
    source: String,
    batch_max: usize,
}

/// The targets of a configuration, each with the cursor that the journal's folder holds.
pub(crate) fn sinks(disk: &Arc<dyn Disk>, config: &UsageConfig) -> Result<Vec<Sink>, UsageError> {
    let mut sinks = Vec::new();
    if let Some(path) = &config.export_file {
        let (target, last) = file::open(path)?;
        let mut sink = sink(&**disk, config, "cursor-file.json", Box::new(target))?;
        // The file knows better than the cursor, which a crash may have left behind.
        sink.cursor = file::advance(&**disk, sink.cursor, last.as_deref())?;
        sinks.push(sink);
    }
    if let Some(url) = &config.export_url {
        let target = http::open(url, config.export_authorization_file.as_deref())?;
        sinks.push(sink(&**disk, config, "cursor-http.json", Box::new(target))?);
    }
    Ok(sinks)
}

fn sink(
    disk: &dyn Disk,
    config: &UsageConfig,
    cursor_file: &'static str,
    target: Box<dyn Target>,
) -> Result<Sink, UsageError> {
    let failed = |error| UsageError::disk("read an exporter's cursor", error);
    let known = disk.list().map_err(failed)?.iter().any(|(name, _)| name == cursor_file);
    let cursor = match known {
        false => Position::default(),
        true => {
            let bytes = disk.read(cursor_file, 0, 4096).map_err(failed)?;
            serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(%error, cursor_file, "is damaged: everything kept is exported again");
                Position::default()
            })
        }
    };
    let (source, batch_max) = (config.source.clone(), config.export_batch_max);
    Ok(Sink { cursor, target, cursor_file, source, batch_max })
}

/// One exporter's thread. Dropping it exports what is left, for up to two seconds.
pub(crate) struct Exporter {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Stop {
    /// Waits, but not beyond the end.
    fn wait(&self, time: Duration) {
        let guard = lock(&self.lock);
        if !self.asked.load(Ordering::Acquire) {
            drop(self.wake.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Exporter {
    pub(crate) fn start(
        index: usize,
        sink: Sink,
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
    ) -> Result<Exporter, UsageError> {
        let stop = Arc::new(Stop::default());
        let of_thread = stop.clone();
        let following = Following { index, sink, shared, disk };
        let thread = spawn("aimass-export", move || following.run(&of_thread))?;
        Ok(Exporter { stop, thread: Some(thread) })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        {
            let _guard = lock(&self.stop.lock);
            self.stop.asked.store(true, Ordering::Release);
        }
        self.stop.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only fails if the thread panicked, which is in the log.
            let _ = thread.join();
        }
    }
}

struct Following {
    index: usize,
    sink: Sink,
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
}

impl Following {
    fn run(mut self, stop: &Stop) {
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        let mut end = None;
        loop {
            let last = stop.asked.load(Ordering::Acquire);
            if last && Instant::now() > *end.get_or_insert_with(|| Instant::now() + LAST_MAX) {
                return;
            }
            match self.step() {
                Ok(0) if last => return,
                Ok(0) => stop.wait(POLL),
                Ok(_) => backoff.succeeded(),
                Err(refused) => {
                    self.shared.export_failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(reason = refused.reason, "usage records were not exported");
                    if last {
                        return;
                    }
                    stop.wait(backoff.failed(refused.retry_after));
                }
            }
        }
    }

    /// Exports one batch; returns how many records it had.
    fn step(&mut self) -> Result<usize, Refused> {
        let segments = lock(&self.shared.durable).segments.clone();
        let from = self.sink.cursor;
        let (kept, next) =
            read(&*self.disk, &segments, from, self.sink.batch_max).map_err(refused_by_disk)?;
        if kept.is_empty() {
            return Ok(0);
        }
        let source = &self.sink.source;
        let event = |kept: &Kept| UsageEvent::of(&kept.record, kept.id(), source);
        let events: Vec<UsageEvent> = kept.iter().map(event).collect();
        self.sink.target.send(&events)?;
        self.sink.cursor = next;
        let bytes = serde_json::to_vec(&next).expect("numbers are JSON");
        let saved = self.disk.replace(self.sink.cursor_file, &bytes);
        lock(&self.shared.durable).cursors[self.index] = next;
        saved.map_err(refused_by_disk)?;
        Ok(kept.len())
    }
}

fn refused_by_disk(error: std::io::Error) -> Refused {
    Refused { reason: format!("usage journal: {error}"), retry_after: None }
}

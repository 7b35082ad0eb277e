//! The clock that cuts guests: one thread that advances the engine's epoch while calls run.
//!
//! A guest notices a new epoch at its next loop or call and then compares the wall clock with its
//! deadline, so a deadline is kept to about one tick. Without calls the thread sleeps.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;
use wasmtime::{Engine, EngineWeak};

/// Time between two epochs.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without any call after which the thread goes to sleep: long enough that steady traffic
/// never pays for waking it.
const IDLE_TICKS_MAX: u32 = 200;

/// Keeps the epoch advancing while it has guests.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    _handle: JoinHandle<()>,
}

struct Shared {
    calls: AtomicUsize,
    asleep: AtomicBool,
}

/// A call in progress; the epoch advances until it is dropped.
pub(crate) struct Ticking {
    shared: Arc<Shared>,
}

impl Ticker {
    /// Starts the thread; it ends when the ticker or the engine is dropped.
    ///
    /// # Errors
    /// The operating system's, if it allows no further thread.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Ticker> {
        let shared =
            Arc::new(Shared { calls: AtomicUsize::new(0), asleep: AtomicBool::new(false) });
        let (weak, engine) = (Arc::downgrade(&shared), engine.weak());
        let handle = thread::Builder::new()
            .name("aimass-epoch".into())
            .spawn(move || tick(&weak, &engine))?;
        Ok(Ticker { shared, thread: handle.thread().clone(), _handle: handle })
    }

    /// Declares a call; wakes the thread if it slept.
    pub(crate) fn enter(&self) -> Ticking {
        self.shared.calls.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Ticking { shared: self.shared.clone() }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.shared.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Advances the epoch each tick; parks after a while without calls, until `enter` unparks it.
fn tick(shared: &Weak<Shared>, engine: &EngineWeak) {
    let mut idle = 0;
    loop {
        let (Some(shared), Some(engine)) = (shared.upgrade(), engine.upgrade()) else { return };
        engine.increment_epoch();
        idle = if shared.calls.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        if idle < IDLE_TICKS_MAX {
            drop((shared, engine));
            thread::sleep(TICK);
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        let woken_since = shared.calls.load(Ordering::SeqCst) > 0;
        let asleep = Arc::downgrade(&shared);
        drop((shared, engine));
        if !woken_since {
            thread::park();
        }
        if let Some(shared) = asleep.upgrade() {
            shared.asleep.store(false, Ordering::SeqCst);
        }
        idle = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn wait_for(condition: impl Fn() -> bool) {
        let give_up = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < give_up, "gave up waiting");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_thread_sleeps_without_calls_and_wakes_with_the_next() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        wait_for(|| ticker.shared.asleep.load(Ordering::SeqCst));
        let call = ticker.enter();
        wait_for(|| !ticker.shared.asleep.load(Ordering::SeqCst));
        drop(call);
        wait_for(|| ticker.shared.asleep.load(Ordering::SeqCst));
    }

    #[test]
    fn dropping_the_ticker_ends_its_thread() {
        let engine = Engine::default();
        let Ticker { .. } = &Ticker::start(&engine).unwrap();
        let ticker = Ticker::start(&engine).unwrap();
        let shared = Arc::downgrade(&ticker.shared);
        drop(ticker);
        wait_for(|| shared.upgrade().is_none());
    }
}

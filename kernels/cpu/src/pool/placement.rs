//! Which processors a worker may be woken on: any but that of the thread that wakes it.
//!
//! Linux may wake a thread on the processor of its waker while others are idle, and leaves both there for
//! milliseconds: a run of a model that came after a pause then took as long as with one thread (docs/performance.md).

use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// No processor.
const NONE: usize = usize::MAX;

/// Where one worker may run.
pub(super) struct Placement {
    /// The worker, and the processors that it was started with; none before it runs.
    worker: OnceLock<(Pid, CpuSet)>,
    /// The processor that it keeps off.
    avoided: AtomicUsize,
}

impl Placement {
    pub(super) fn new() -> Placement {
        Placement { worker: OnceLock::new(), avoided: AtomicUsize::new(NONE) }
    }

    /// Called by the worker itself, once.
    pub(super) fn settle(&self) {
        if let Ok(allowed) = sched_getaffinity(None) {
            let _ = self.worker.set((gettid(), allowed));
        }
    }

    /// Called by a thread that is about to wake the worker: keeps it off this thread's processor, if it may run
    /// on another one. A system call only when that is another one than last time.
    pub(super) fn keep_off_caller(&self) {
        let Some((worker, allowed)) = self.worker.get() else { return };
        let here = sched_getcpu();
        if here >= CpuSet::MAX_CPU || self.avoided.load(Relaxed) == here {
            return;
        }
        let mut others = *allowed;
        others.unset(here);
        if others.count() > 0 {
            // Where the system does not let a thread choose, the worker runs wherever it is put.
            let _ = sched_setaffinity(Some(*worker), &others);
        }
        self.avoided.store(here, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::pool::KernelPool;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use std::sync::{Barrier, Mutex};
    use std::time::Duration;

    #[test]
    fn workers_are_woken_on_other_processors_than_their_callers() {
        let allowed = sched_getaffinity(None).unwrap();
        let processors: Vec<usize> =
            (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        if processors.len() < 2 {
            // There is nowhere else to be.
            return;
        }
        let pool = KernelPool::new(2);
        for &here in &[processors[0], processors[1], processors[0]] {
            let mut one = CpuSet::new();
            one.set(here);
            sched_setaffinity(None, &one).unwrap();
            // The worker parks meanwhile.
            std::thread::sleep(Duration::from_millis(20));
            let (caller, both) = (std::thread::current().id(), Barrier::new(2));
            let seen = Mutex::new(None);
            pool.run(2, &|_| {
                both.wait();
                if std::thread::current().id() != caller {
                    *seen.lock().unwrap() = Some(sched_getaffinity(None).unwrap());
                }
            });
            let of_worker = seen.into_inner().unwrap().expect("the worker took a task");
            assert!(!of_worker.is_set(here), "the worker may run on processor {here}");
            assert_eq!(of_worker.count() as usize, processors.len() - 1);
        }
        sched_setaffinity(None, &allowed).unwrap();
    }
}

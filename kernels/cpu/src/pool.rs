//! The kernel pool: one set of threads for the arithmetic of the whole process.
//!
//! The caller of [`KernelPool::run`] is worker 0 and the others take tasks from one counter. A
//! worker that has nothing to do spins for at most 50 us and then parks: long spinning collapses
//! when the machine is oversubscribed. A run allocates nothing. While one thread runs a job, every
//! other caller (and every nested call) runs its own job inline.
#![expect(unsafe_code, reason = "a job borrows the caller's closure for as long as it runs")]

mod placement;

use placement::Placement;
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Most threads that a pool may have.
pub const THREADS_MAX: usize = 256;
/// How long an idle worker, or a caller waiting for its last workers, spins before it parks.
const SPIN: Duration = Duration::from_micros(50);

/// Low bits of the state: workers inside the job.
const INSIDE: u64 = (1 << 16) - 1;
/// The job takes more workers.
const OPEN: u64 = 1 << 16;
/// One job further; the bits above count jobs.
const NEXT: u64 = 1 << 17;

type Task<'a> = &'a (dyn Fn(usize) + Sync);

/// Threads that run one job of many tasks at a time.
pub struct KernelPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Job number, [`OPEN`], and the count of workers [`INSIDE`].
    state: AtomicU64,
    next: AtomicUsize,
    /// Workers that have entered the present job so far.
    tickets: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    busy: AtomicBool,
    stop: AtomicBool,
    parked: Box<[AtomicBool]>,
    placements: Box<[Placement]>,
    caller_waits: AtomicBool,
    waiting: Mutex<()>,
    last_left: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    /// Workers that may take tasks besides the caller.
    helpers_max: usize,
}

// SAFETY: `job` is written only by the one caller that set `busy`, while the state is closed and
// nobody is inside; it is read only by workers inside, who keep the caller from returning.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is used only as described above.
unsafe impl Send for Shared {}

impl KernelPool {
    /// A pool for `threads` threads in all, the caller of `run` included (1 to [`THREADS_MAX`]).
    ///
    /// Threads that the system refuses to start are done without.
    pub fn new(threads: usize) -> KernelPool {
        let helpers = threads.clamp(1, THREADS_MAX) - 1;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            tickets: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            parked: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            placements: (0..helpers).map(|_| Placement::new()).collect(),
            caller_waits: AtomicBool::new(false),
            waiting: Mutex::new(()),
            last_left: Condvar::new(),
            panic: Mutex::new(None),
        });
        let start = |index: usize| {
            let shared = shared.clone();
            let name = format!("kernel-{}", index + 1);
            std::thread::Builder::new().name(name).spawn(move || shared.work(index)).ok()
        };
        KernelPool { workers: (0..helpers).map_while(start).collect(), shared: shared.clone() }
    }

    /// The pool of this process; its first use starts it with one thread a core.
    pub fn global() -> &'static KernelPool {
        GLOBAL.get_or_init(|| {
            KernelPool::new(std::thread::available_parallelism().map_or(1, |cores| cores.get()))
        })
    }

    /// Starts the pool of this process with `threads` threads; false if it runs already.
    pub fn init_global(threads: usize) -> bool {
        let mut started = false;
        GLOBAL.get_or_init(|| {
            started = true;
            KernelPool::new(threads)
        });
        started
    }

    /// Threads that take part, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// This pool with at most `limit` threads a run.
    pub fn team(&self, limit: usize) -> Team<'_> {
        Team { pool: Some(self), threads: self.threads().min(limit).max(1) }
    }

    /// Calls `task(0)` to `task(tasks - 1)`, in any order, and returns when all are done.
    ///
    /// # Panics
    /// With the panic of a task; tasks that had not begun are then left out.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.run_limited(tasks, self.threads(), task);
    }

    fn run_limited(&self, tasks: usize, threads: usize, task: Task<'_>) {
        let helpers = self.workers.len().min(threads.saturating_sub(1)).min(tasks.max(1) - 1);
        if helpers == 0 || self.shared.busy.swap(true, Acquire) {
            (0..tasks).for_each(task);
            return;
        }
        self.shared.open(tasks, helpers, task);
        self.wake(helpers);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.shared.take_tasks(tasks, task)));
        if outcome.is_err() {
            self.shared.next.store(tasks, Relaxed);
        }
        self.shared.close();
        let theirs = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.busy.store(false, SeqCst);
        if let Some(payload) = outcome.err().or(theirs) {
            resume_unwind(payload);
        }
    }

    fn wake(&self, helpers: usize) {
        let Shared { parked, placements, .. } = &*self.shared;
        for ((worker, parked), placement) in
            self.workers.iter().zip(parked).zip(placements).take(helpers)
        {
            if parked.load(SeqCst) && parked.swap(false, SeqCst) {
                placement.keep_off_caller();
                Thread::unpark(worker.thread());
            }
        }
    }
}

static GLOBAL: OnceLock<KernelPool> = OnceLock::new();

impl Drop for KernelPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its tasks, so there is nothing to learn here.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn open(&self, tasks: usize, helpers: usize, task: Task<'_>) {
        // SAFETY: only the lifetime changes; `close` returns after the last worker has left.
        let task = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        // SAFETY: `busy` makes this the only writer, and a closed state keeps readers out.
        unsafe { *self.job.get() = Some(Job { task, tasks, helpers_max: helpers }) };
        self.next.store(0, Relaxed);
        self.tickets.store(0, Relaxed);
        let state = self.state.load(Relaxed);
        self.state.store((state & !OPEN).wrapping_add(NEXT) | OPEN, SeqCst);
    }

    fn close(&self) {
        self.state.fetch_and(!OPEN, SeqCst);
        let started = Instant::now();
        while self.state.load(Acquire) & INSIDE != 0 {
            if started.elapsed() < SPIN {
                std::hint::spin_loop();
                continue;
            }
            let mut guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.caller_waits.store(true, SeqCst);
            while self.state.load(SeqCst) & INSIDE != 0 {
                guard = self.last_left.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.caller_waits.store(false, SeqCst);
        }
    }

    fn take_tasks(&self, tasks: usize, task: Task<'_>) {
        loop {
            let index = self.next.fetch_add(1, Relaxed);
            if index >= tasks {
                return;
            }
            task(index);
        }
    }

    fn work(&self, index: usize) {
        self.placements[index].settle();
        let mut last = 0;
        while let Some(state) = self.await_job(last, index) {
            last = state / NEXT;
            if self.enter(last) {
                self.help();
                self.leave();
            }
        }
    }

    /// The state of a job after number `last` that is open, or `None` when the pool ends.
    fn await_job(&self, last: u64, index: usize) -> Option<u64> {
        let fresh = |state: u64| state & OPEN != 0 && state / NEXT != last;
        let mut idle_since = Instant::now();
        loop {
            for _ in 0..64 {
                let state = self.state.load(Acquire);
                if fresh(state) {
                    return Some(state);
                }
                std::hint::spin_loop();
            }
            if self.stop.load(SeqCst) {
                return None;
            }
            if idle_since.elapsed() < SPIN {
                continue;
            }
            self.parked[index].store(true, SeqCst);
            fence(SeqCst);
            if !fresh(self.state.load(SeqCst)) && !self.stop.load(SeqCst) {
                std::thread::park();
            }
            self.parked[index].store(false, SeqCst);
            idle_since = Instant::now();
        }
    }

    /// Counts this thread in, unless the job is closed or has its helpers.
    fn enter(&self, number: u64) -> bool {
        let mut state = self.state.load(Acquire);
        loop {
            if state & OPEN == 0 || state / NEXT != number {
                return false;
            }
            match self.state.compare_exchange_weak(state, state + 1, SeqCst, Acquire) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    fn help(&self) {
        // SAFETY: this thread is inside an open job, which was written before it was opened and
        // is not written again before this thread leaves.
        let Some(Job { task, tasks, helpers_max }) = (unsafe { *self.job.get() }) else {
            return;
        };
        if self.tickets.fetch_add(1, Relaxed) >= helpers_max {
            return;
        }
        // SAFETY: the caller keeps the closure alive until this thread has left.
        let task = unsafe { &*task };
        let outcome = catch_unwind(AssertUnwindSafe(|| self.take_tasks(tasks, task)));
        if let Err(payload) = outcome {
            self.next.store(tasks, Relaxed);
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
    }

    fn leave(&self) {
        let before = self.state.fetch_sub(1, SeqCst);
        if before & INSIDE == 1 && self.caller_waits.load(SeqCst) {
            drop(self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            self.last_left.notify_one();
        }
    }
}

/// A pool and how many of its threads one run may use; what parallel kernels take.
#[derive(Clone, Copy)]
pub struct Team<'a> {
    pool: Option<&'a KernelPool>,
    threads: usize,
}

impl Team<'_> {
    /// Only the calling thread.
    pub fn alone() -> Team<'static> {
        Team { pool: None, threads: 1 }
    }

    /// Threads that a run may use.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// As [`KernelPool::run`], with at most this team's threads.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        match self.pool {
            Some(pool) => pool.run_limited(tasks, self.threads, task),
            None => (0..tasks).for_each(task),
        }
    }

    /// Cuts every slice into chunks of its own length and calls `task(i, chunks i)` for each `i`.
    ///
    /// The last chunks may be shorter.
    ///
    /// # Panics
    /// If a length is 0 or the slices give different numbers of chunks; as [`KernelPool::run`].
    pub fn chunks<T: Send, const N: usize>(
        &self,
        data: [&mut [T]; N],
        lengths: [usize; N],
        task: &(dyn Fn(usize, [&mut [T]; N]) + Sync),
    ) {
        let counts: [usize; N] = std::array::from_fn(|j| data[j].len().div_ceil(lengths[j]));
        assert!(counts.iter().all(|&count| count == counts[0]), "chunk counts {counts:?} differ");
        let parts = data.map(|slice| (Address(slice.as_mut_ptr()), slice.len()));
        self.run(counts[0], &|i| {
            task(
                i,
                std::array::from_fn(|j| {
                    let (address, len) = parts[j];
                    let start = i * lengths[j];
                    // SAFETY: chunks of one slice are disjoint and each index runs once.
                    unsafe { address.slice(start, lengths[j].min(len - start)) }
                }),
            );
        });
    }

    /// Cuts `data` at `bounds` and calls `task(i, data[bounds[i]..bounds[i + 1]])` for each `i`.
    ///
    /// # Panics
    /// If the bounds fall or go beyond the data; as [`KernelPool::run`].
    pub fn chunks_at<T: Send>(
        &self,
        data: &mut [T],
        bounds: &[usize],
        task: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        assert!(bounds.is_sorted() && bounds.last().is_none_or(|&end| end <= data.len()));
        let address = Address(data.as_mut_ptr());
        self.run(bounds.len().saturating_sub(1), &|i| {
            // SAFETY: rising bounds make the chunks disjoint and each index runs once.
            task(i, unsafe { address.slice(bounds[i], bounds[i + 1] - bounds[i]) });
        });
    }
}

struct Address<T>(*mut T);

impl<T> Clone for Address<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Address<T> {}

// SAFETY: a plain address of elements that may move between threads.
unsafe impl<T: Send> Send for Address<T> {}
// SAFETY: as above; whoever makes a slice of it promises disjoint parts.
unsafe impl<T: Send> Sync for Address<T> {}

impl<T> Address<T> {
    /// # Safety
    /// The elements are inside the borrowed slice and no other slice of them is in use.
    unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [T] {
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_runs(pool: &KernelPool, tasks: usize) {
        let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        pool.run(tasks, &|i| {
            runs[i].fetch_add(1, SeqCst);
        });
        assert!(runs.iter().all(|count| count.load(SeqCst) == 1), "{runs:?}");
    }

    #[test]
    fn every_task_runs_exactly_once() {
        for threads in [1, 2, 5] {
            let pool = KernelPool::new(threads);
            for round in 0..2000 {
                count_runs(&pool, round % 17);
            }
        }
    }

    #[test]
    fn parked_workers_wake_up() {
        let pool = KernelPool::new(3);
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(2));
            let (ids, both) = (Mutex::new(Vec::new()), std::sync::Barrier::new(3));
            pool.run(3, &|_| {
                both.wait();
                ids.lock().unwrap().push(std::thread::current().id());
            });
            let mut ids = ids.into_inner().unwrap();
            ids.dedup();
            assert_eq!(ids.len(), 3);
        }
    }

    #[test]
    fn many_callers_share_one_pool() {
        let pool = KernelPool::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|round| count_runs(&pool, round % 9)));
            }
        });
    }

    #[test]
    fn nested_runs_are_inline() {
        let pool = KernelPool::new(3);
        pool.run(4, &|_| {
            let outer = std::thread::current().id();
            pool.run(4, &|_| assert_eq!(std::thread::current().id(), outer));
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = KernelPool::new(3);
        for bad in 0..8 {
            let run = || pool.run(8, &|i| assert_ne!(i, bad, "task {bad}"));
            let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            assert!(payload.downcast_ref::<String>().unwrap().contains("task"));
            count_runs(&pool, 10);
        }
    }

    #[test]
    fn a_team_never_has_more_threads_than_its_limit() {
        let pool = KernelPool::new(4);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for _ in 0..50 {
            let awake = std::sync::Barrier::new(4);
            pool.run(4, &|_| {
                awake.wait();
            });
            pool.team(2).run(16, &|_| {
                most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                std::thread::sleep(Duration::from_micros(20));
                inside.fetch_sub(1, SeqCst);
            });
        }
        assert!(most.load(SeqCst) <= 2, "{most:?}");
    }

    #[test]
    fn chunks_are_disjoint_and_complete() {
        let pool = KernelPool::new(3);
        let (mut a, mut b) = (vec![0u32; 10], vec![0u32; 31]);
        pool.team(3).chunks([&mut a, &mut b], [3, 10], &|i, [a, b]| {
            a.fill(i as u32);
            b.fill(i as u32);
        });
        assert_eq!(a, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]);
        assert_eq!(b[29..], [2, 3]);
        pool.team(3).chunks_at(&mut a, &[1, 1, 4, 9], &|i, part| part.fill(10 + i as u32));
        assert_eq!(a, [0, 11, 11, 11, 12, 12, 12, 12, 12, 3]);
    }
}

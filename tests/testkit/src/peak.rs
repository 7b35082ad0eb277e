//! An allocator that knows how much memory was held at most: what tests of hostile input assert.
#![expect(unsafe_code, reason = "an allocator that counts is the way to count memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counted. Put it behind `#[global_allocator]` of a test or a tool; then
/// [`Peak::during`] answers what something held at most.
#[derive(Debug, Default)]
pub struct Peak {
    held: AtomicUsize,
    most: AtomicUsize,
}

impl Peak {
    /// An allocator that has counted nothing.
    pub const fn new() -> Peak {
        Peak { held: AtomicUsize::new(0), most: AtomicUsize::new(0) }
    }

    /// What `work` answers, and the bytes that the process held at most meanwhile beyond what it held
    /// before. Allocations of other threads count, too.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let before = self.held.load(Ordering::Relaxed);
        self.most.store(before, Ordering::Relaxed);
        let answer = work();
        (answer, self.most.load(Ordering::Relaxed).saturating_sub(before))
    }

    /// Bytes that the process holds now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn more(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(held, Ordering::Relaxed);
    }

    fn less(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it is; the counters are atomics.
unsafe impl GlobalAlloc for Peak {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.more(layout.size());
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.more(layout.size());
        // SAFETY: promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may exist together.
        self.more(size);
        self.less(layout.size());
        // SAFETY: promised by the caller.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.less(layout.size());
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

//! An allocator that counts how often the threads that are looked at ask it for memory.
#![expect(unsafe_code, reason = "an allocator that counts is the way to count allocations")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, counted. Put it behind `#[global_allocator]` of a test, and let the threads
/// whose allocations matter say so with [`Allocations::count_this_thread`].
#[derive(Debug, Default)]
pub struct Allocations {
    counted: AtomicU64,
}

impl Allocations {
    /// An allocator that has counted nothing.
    pub const fn new() -> Allocations {
        Allocations { counted: AtomicU64::new(0) }
    }

    /// From now on what the calling thread allocates counts.
    pub fn count_this_thread() {
        IS_COUNTED.set(true);
    }

    /// Allocations so far, growth of what was there included.
    pub fn so_far(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    fn count(&self) {
        // A thread that ends has nothing to look at any more.
        if IS_COUNTED.try_with(Cell::get).unwrap_or(false) {
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// SAFETY: every call goes to the system's allocator as it is; the counter is an atomic, and the mark of
// a thread is a constant that is never allocated or dropped.
unsafe impl GlobalAlloc for Allocations {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count();
        // SAFETY: promised by the caller.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

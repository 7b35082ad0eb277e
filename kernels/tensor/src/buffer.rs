//! Memory of tensors: 64-byte aligned blocks from a pool, or bytes that somebody else owns.
//!
//! Fresh pages cost more than the copy that fills them (measured in docs/performance.md), so freed
//! blocks are kept by size class up to a bound and handed out again.
#![expect(unsafe_code, reason = "aligned allocation")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Alignment of every pooled block: one cache line, two AVX registers.
const ALIGN: usize = 64;
/// Blocks above this size go back to the operating system at once.
const POOLED_BYTES_MAX: usize = 64 << 20;
/// Bytes that all free blocks together may keep.
const RETAINED_BYTES_MAX: usize = 512 << 20;

/// Read-only bytes with shared ownership; clones and sub-ranges copy nothing.
#[derive(Clone)]
pub struct Buffer {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes are immutable while shared and `owner` is Send + Sync.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Bytes that `owner` keeps alive (a mapped file, a request body); nothing is copied.
    ///
    /// `owner.as_ref()` must return the same slice for as long as it lives, as `Vec`, `Bytes`
    /// and memory maps do.
    pub fn shared(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Buffer {
        let bytes: &[u8] = (*owner).as_ref();
        let ptr = NonNull::from(bytes).cast();
        let len = bytes.len();
        Buffer { owner, ptr, len }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `owner` keeps `len` bytes at `ptr` alive and nobody writes to them.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    /// A part of the bytes, sharing the memory.
    ///
    /// # Panics
    /// If the range is not inside the buffer.
    pub fn slice(&self, range: Range<usize>) -> Buffer {
        let part = NonNull::from(&self.as_slice()[range.clone()]).cast();
        Buffer { owner: self.owner.clone(), ptr: part, len: range.len() }
    }
}

/// A block that is still being written; [`BufferMut::freeze`] makes it shareable.
pub struct BufferMut {
    block: Block,
}

impl BufferMut {
    /// A block of `len` bytes of unspecified (but initialized) content.
    pub fn uninit(len: usize) -> BufferMut {
        BufferMut { block: Block::take(len) }
    }

    /// A block of `len` zero bytes.
    pub fn zeroed(len: usize) -> BufferMut {
        let mut buffer = BufferMut::uninit(len);
        buffer.as_mut_slice().fill(0);
        buffer
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.block.as_ref()
    }

    /// The bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the block is owned, initialized, and `len <= capacity`.
        unsafe { std::slice::from_raw_parts_mut(self.block.ptr.as_ptr(), self.block.len) }
    }

    /// Ends writing.
    pub fn freeze(self) -> Buffer {
        Buffer::shared(Arc::new(self.block))
    }
}

struct Block {
    ptr: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: a block owns its memory.
unsafe impl Send for Block {}
// SAFETY: shared access only reads.
unsafe impl Sync for Block {}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: owned, initialized, `len <= capacity`.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl Block {
    fn take(len: usize) -> Block {
        let (class, capacity) = size_class(len);
        if let Some(class) = class {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(address) = pool.free[class].pop() {
                pool.retained -= capacity;
                let ptr = NonNull::new(address as *mut u8).expect("a pooled block is not null");
                return Block { ptr, len, capacity };
            }
        }
        let layout = layout(capacity);
        // SAFETY: the layout has a size above zero.
        let ptr = unsafe { alloc_zeroed(layout) };
        let Some(ptr) = NonNull::new(ptr) else { handle_alloc_error(layout) };
        Block { ptr, len, capacity }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let (Some(class), capacity) = size_class(self.capacity) {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            if pool.retained + capacity <= RETAINED_BYTES_MAX {
                pool.retained += capacity;
                pool.free[class].push(self.ptr.as_ptr() as usize);
                return;
            }
        }
        // SAFETY: allocated in `take` with this layout.
        unsafe { dealloc(self.ptr.as_ptr(), layout(self.capacity)) }
    }
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, ALIGN).expect("a tensor is smaller than the address space")
}

/// Size classes are powers of two from 64 bytes; larger blocks are not pooled.
fn size_class(len: usize) -> (Option<usize>, usize) {
    if len > POOLED_BYTES_MAX {
        return (None, len);
    }
    let capacity = len.max(ALIGN).next_power_of_two();
    (Some(capacity.trailing_zeros() as usize), capacity)
}

struct Pool {
    free: [Vec<usize>; 32],
    retained: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: [const { Vec::new() }; 32], retained: 0 });

/// Bytes that the pool keeps in free blocks now, at most 512 MiB.
pub fn retained_bytes() -> usize {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).retained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_slices_share_memory() {
        for len in [0, 1, 63, 64, 65, 1 << 20] {
            let mut block = BufferMut::zeroed(len);
            block.as_mut_slice().iter_mut().for_each(|byte| *byte = 7);
            let buffer = block.freeze();
            assert_eq!(buffer.as_slice().as_ptr() as usize % ALIGN, 0);
            assert_eq!(buffer.as_slice().len(), len);
            if len > 2 {
                let part = buffer.slice(1..len);
                assert_eq!(part.as_slice().as_ptr(), buffer.as_slice()[1..].as_ptr());
                drop(buffer);
                assert!(part.as_slice().iter().all(|&byte| byte == 7));
            }
        }
    }

    #[test]
    fn a_zeroed_block_is_zero_even_when_its_memory_was_used() {
        let mut dirty = BufferMut::uninit(4096);
        dirty.as_mut_slice().fill(0xff);
        drop(dirty);
        assert!(BufferMut::zeroed(4096).as_slice().iter().all(|&byte| byte == 0));
    }
}

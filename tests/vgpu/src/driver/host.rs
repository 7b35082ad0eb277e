//! The program's memory: where the driver writes results, and pinned buffers.

use std::ffi::{CStr, c_char};

use super::{Code, Outcome};

/// A pointer that the driver writes one value to.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes `value`.
    ///
    /// # Errors
    /// `INVALID_VALUE` if the pointer is null.
    pub(crate) fn set(self, value: T) -> Outcome {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the API's contract is that a pointer that is not null can be written.
        unsafe { self.0.write(value) };
        Ok(())
    }

    /// Writes `value` unless the pointer is null, which the call allows.
    pub(crate) fn set_if_wanted(self, value: T) {
        let _ = self.set(value);
    }

    /// Whether the pointer is null.
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The pointer.
    pub(crate) fn pointer(self) -> *mut T {
        self.0
    }
}

/// Copies `bytes` bytes of the program's memory.
pub(crate) fn read(from: *const u8, bytes: usize) -> Vec<u8> {
    if bytes == 0 {
        return Vec::new();
    }
    // SAFETY: the API's contract is that `bytes` bytes at `from` can be read; callers have checked
    // that it is not null.
    unsafe { std::slice::from_raw_parts(from, bytes) }.to_vec()
}

/// Writes `from` to the program's memory.
pub(crate) fn write(to: *mut u8, from: &[u8]) {
    // SAFETY: the API's contract is that as many bytes at `to` can be written and overlap nothing
    // of ours; callers have checked that it is not null.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
}

/// A string of the program, or none if it is null or not UTF-8.
pub(crate) fn text<'a>(from: *const c_char) -> Option<&'a str> {
    if from.is_null() {
        return None;
    }
    // SAFETY: the API's contract is that the pointer names a string that ends with a zero and stays
    // for the call.
    unsafe { CStr::from_ptr(from) }.to_str().ok()
}

/// A pinned buffer.
#[derive(Debug)]
pub(crate) struct Pinned {
    pages: *mut libc::c_void,
    bytes: usize,
}

// SAFETY: the buffer is plain memory that this value owns; nothing about it belongs to a thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// `bytes` bytes in pages of their own.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new private mapping at an address that the kernel chooses touches nothing.
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0) };
        (pages != libc::MAP_FAILED).then_some(Self { pages, bytes })
    }

    /// Its address.
    pub(crate) fn address(&self) -> u64 {
        self.pages as u64
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own; the program gave the buffer back.
        unsafe { libc::munmap(self.pages, self.bytes) };
    }
}

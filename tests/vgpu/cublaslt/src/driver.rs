//! The virtual driver, found among the process's global symbols.

use std::ffi::{CStr, c_int, c_void};

/// Memory of the device while a callback runs; the layout is the driver's.
#[repr(C)]
pub(crate) struct Access {
    context: *mut c_void,
    read: extern "C" fn(*mut c_void, u64, *mut u8, usize) -> c_int,
    write: extern "C" fn(*mut c_void, u64, *const u8, usize) -> c_int,
}

impl Access {
    /// Copies `bytes` bytes at `address`.
    ///
    /// # Errors
    /// The driver's result if they are not all inside of one allocation.
    pub(crate) fn read(&self, address: u64, bytes: usize) -> Result<Vec<u8>, c_int> {
        let mut content = vec![0; bytes];
        match (self.read)(self.context, address, content.as_mut_ptr(), bytes) {
            0 => Ok(content),
            code => Err(code),
        }
    }

    /// Writes `content` at `address`.
    ///
    /// # Errors
    /// As [`Access::read`].
    pub(crate) fn write(&self, address: u64, content: &[u8]) -> Result<(), c_int> {
        match (self.write)(self.context, address, content.as_ptr(), content.len()) {
            0 => Ok(()),
            code => Err(code),
        }
    }
}

/// Work in a stream; the layout is the driver's.
#[repr(C)]
pub(crate) struct Callback {
    /// Gives a driver result.
    pub(crate) run: extern "C" fn(*mut c_void, *const Access) -> c_int,
    /// Frees `data`.
    pub(crate) drop: extern "C" fn(*mut c_void),
    /// Passed to both.
    pub(crate) data: *mut c_void,
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: looking a name up among the process's symbols changes nothing.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Queues work in a stream of the current context; none if there is no virtual driver.
pub(crate) fn enqueue(stream: u64, callback: Callback) -> Option<c_int> {
    let found = symbol(c"vgpu_enqueue")?;
    // SAFETY: the name is the virtual driver's alone, and this is the function's type.
    let enqueue: extern "C" fn(u64, Callback) -> c_int = unsafe { std::mem::transmute(found) };
    Some(enqueue(stream, callback))
}

/// Whether a context is current.
pub(crate) fn has_context() -> bool {
    let Some(found) = symbol(c"cuCtxGetCurrent") else { return false };
    // SAFETY: this is the type of the driver's function.
    let current: extern "C" fn(*mut u64) -> c_int = unsafe { std::mem::transmute(found) };
    let mut context = 0;
    current(&raw mut context) == 0 && context != 0
}

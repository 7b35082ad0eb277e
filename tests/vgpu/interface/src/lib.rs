//! The side of cuBLASLt and NCCL of the virtual driver's own interface: work in streams, the memory that
//! it sees, and the driver's functions, which are found among the process's global symbols.

use std::ffi::{CStr, c_int, c_void};

/// Memory of the device while a callback runs; the layout is the driver's.
#[repr(C)]
pub struct Access {
    context: *mut c_void,
    read: extern "C" fn(*mut c_void, u64, *mut u8, usize) -> c_int,
    write: extern "C" fn(*mut c_void, u64, *const u8, usize) -> c_int,
}

impl Access {
    /// Copies `bytes` bytes at `address`.
    ///
    /// # Errors
    /// The driver's result if they are not all inside of one allocation, or were not all written.
    pub fn read(&self, address: u64, bytes: usize) -> Result<Vec<u8>, c_int> {
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
    pub fn write(&self, address: u64, content: &[u8]) -> Result<(), c_int> {
        match (self.write)(self.context, address, content.as_ptr(), content.len()) {
            0 => Ok(()),
            code => Err(code),
        }
    }
}

/// Work in a stream; the layout is the driver's.
#[repr(C)]
pub struct Callback {
    /// Gives a driver result.
    pub run: extern "C" fn(*mut c_void, *const Access) -> c_int,
    /// Frees `data`.
    pub drop: extern "C" fn(*mut c_void),
    /// Passed to both.
    pub data: *mut c_void,
}

/// The function of this name, if the process has one.
pub fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: looking a name up among the process's symbols changes nothing.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

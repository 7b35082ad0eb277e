//! Device memory for libraries beside the driver, while their work runs.

use std::ffi::{c_int, c_void};

use super::{Code, host};
use crate::exec::device_memory::DeviceMemory;

/// What a library gets: functions and what they work on. The layout is part of the interface.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Access {
    context: *mut c_void,
    read: extern "C" fn(*mut c_void, u64, *mut u8, usize) -> c_int,
    write: extern "C" fn(*mut c_void, u64, *const u8, usize) -> c_int,
}

/// The memory behind an [`Access`] and what went wrong in it.
pub(super) struct Guest<'a> {
    memory: &'a mut DeviceMemory,
    problem: Option<String>,
    access: Access,
}

impl<'a> Guest<'a> {
    /// Lends `memory`.
    pub(super) fn new(memory: &'a mut DeviceMemory) -> Box<Self> {
        let access = Access { context: std::ptr::null_mut(), read, write };
        Box::new(Self { memory, problem: None, access })
    }

    /// The functions, which are valid while this value is not moved out of its box.
    pub(super) fn access(self: &mut Box<Self>) -> &Access {
        self.access.context = (&raw mut **self).cast();
        &self.access
    }

    /// The first thing that went wrong.
    pub(super) fn problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    fn fail(&mut self, code: Code, problem: String) -> c_int {
        self.problem.get_or_insert(problem);
        code.0
    }
}

extern "C" fn read(context: *mut c_void, address: u64, to: *mut u8, bytes: usize) -> c_int {
    // SAFETY: the context is the box that `access` was called on; the driver waits for the library
    // and touches it no sooner.
    let guest = unsafe { &mut *context.cast::<Guest<'_>>() };
    let mut content = vec![0; bytes];
    match guest.memory.read(address, &mut content) {
        Ok(()) if guest.memory.is_written(address, bytes) => {
            host::write(to, &content);
            0
        }
        Ok(()) => {
            let problem = format!("a library reads {bytes} bytes at {address:#x}, not all written");
            guest.fail(Code::LAUNCH_FAILED, problem)
        }
        Err(bounds) => guest.fail(Code::ILLEGAL_ADDRESS, format!("a library reads {}", bounds.0)),
    }
}

extern "C" fn write(context: *mut c_void, address: u64, from: *const u8, bytes: usize) -> c_int {
    // SAFETY: as in `read`.
    let guest = unsafe { &mut *context.cast::<Guest<'_>>() };
    match guest.memory.write(address, &host::read(from, bytes)) {
        Ok(()) => 0,
        Err(bounds) => guest.fail(Code::ILLEGAL_ADDRESS, format!("a library writes {}", bounds.0)),
    }
}

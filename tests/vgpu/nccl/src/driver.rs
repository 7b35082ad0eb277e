//! What the library asks of the virtual driver, which is locked while callbacks run, so
//! that nothing of this library may be locked while one of these functions is called.

use std::ffi::{CStr, c_int, c_void};
use std::time::Duration;

pub(crate) use aimass_vgpu_interface::{Access, Callback};

use crate::status::{Failure, Status};

/// Work that holds its stream up; the layout is the driver's.
#[repr(C)]
pub(crate) struct Gate {
    /// 0 if the callback can run, 1 if it waits for work that is queued, 2 if it waits for calls.
    pub(crate) state: extern "C" fn(*mut c_void) -> c_int,
    /// Copies out what it waits for, or why it failed; gives the text's bytes.
    pub(crate) describe: extern "C" fn(*mut c_void, *mut u8, usize) -> usize,
    /// Its data is passed to the other functions, too.
    pub(crate) callback: Callback,
}

fn symbol(name: &CStr) -> Result<*mut c_void, Failure> {
    aimass_vgpu_interface::symbol(name).ok_or_else(|| cuda("there is no virtual driver"))
}

fn cuda(text: &str) -> Failure {
    Failure::new(Status::UnhandledCudaError, text)
}

/// Queues `first` in a stream of `device`, and behind it `then`.
///
/// # Errors
/// A failure of CUDA: no such device, context or stream, or the stream captures.
pub(crate) fn enqueue(
    device: c_int,
    stream: u64,
    first: Callback,
    then: Gate,
) -> Result<(), Failure> {
    let found = symbol(c"vgpu_enqueue_meeting")?;
    // SAFETY: the name is the virtual driver's alone, and this is the function's type.
    let enqueue: extern "C" fn(c_int, u64, Callback, Gate) -> c_int =
        unsafe { std::mem::transmute(found) };
    match enqueue(device, stream, first, then) {
        0 => Ok(()),
        code => Err(cuda(&format!("device {device} refuses stream {stream:#x}: error {code}"))),
    }
}

/// The device of the thread's current context.
///
/// # Errors
/// A failure of CUDA: there is none.
pub(crate) fn current_device() -> Result<c_int, Failure> {
    let found = symbol(c"cuCtxGetDevice")?;
    // SAFETY: this is the type of the driver's function.
    let current: extern "C" fn(*mut c_int) -> c_int = unsafe { std::mem::transmute(found) };
    let mut device = 0;
    match current(&raw mut device) {
        0 => Ok(device),
        code => Err(cuda(&format!("the thread has no current context: error {code}"))),
    }
}

/// Number of devices.
///
/// # Errors
/// A failure of CUDA: the driver is not initialized.
pub(crate) fn devices() -> Result<c_int, Failure> {
    let found = symbol(c"cuDeviceGetCount")?;
    // SAFETY: this is the type of the driver's function.
    let count: extern "C" fn(*mut c_int) -> c_int = unsafe { std::mem::transmute(found) };
    let mut devices = 0;
    match count(&raw mut devices) {
        0 => Ok(devices),
        code => Err(cuda(&format!("the driver does not count devices: error {code}"))),
    }
}

/// The device whose memory holds `address`, if there is one.
///
/// # Errors
/// A failure of CUDA: there is no driver.
pub(crate) fn device_of(address: u64) -> Result<Option<c_int>, Failure> {
    let found = symbol(c"vgpu_device_of")?;
    // SAFETY: the name is the virtual driver's alone, and this is the function's type.
    let device_of: extern "C" fn(u64) -> c_int = unsafe { std::mem::transmute(found) };
    Ok(Some(device_of(address)).filter(|device| *device >= 0))
}

/// How long calls wait for other threads.
///
/// # Errors
/// A failure of CUDA: there is no driver.
pub(crate) fn wait() -> Result<Duration, Failure> {
    let found = symbol(c"vgpu_wait_ms")?;
    // SAFETY: the name is the virtual driver's alone, and this is the function's type.
    let wait: extern "C" fn() -> u64 = unsafe { std::mem::transmute(found) };
    Ok(Duration::from_millis(wait()))
}

//! What the library asks of the virtual driver.

use std::ffi::c_int;

use aimass_vgpu_interface::symbol;
pub(crate) use aimass_vgpu_interface::{Access, Callback};

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

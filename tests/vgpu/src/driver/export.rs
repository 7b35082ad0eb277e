//! Error texts, the export table, and the functions that tests call.

use std::ffi::{c_char, c_int, c_void};

use super::execution::{Callback, OwnedCallback, Work};
use super::gate::{Gate, OwnedGate};
use super::{Code, Handle, Out, Outcome, call, configure, driver_api, host, text, with_driver};
use crate::code::describe;
use crate::settings::Settings;

fn set_text(out: Out<*const c_char>, found: Option<*const c_char>) -> Outcome {
    out.set(found.unwrap_or(std::ptr::null()))?;
    found.map(|_| ()).ok_or(Code::INVALID_VALUE)
}

driver_api! {
    fn cuGetErrorName(result: c_int, name: Out<*const c_char>) needs Nothing |_, _| {
        set_text(name, describe(result).map(|(name, _)| name.as_ptr()))
    }

    fn cuGetErrorString(result: c_int, message: Out<*const c_char>) needs Nothing |_, _| {
        set_text(message, describe(result).map(|(_, text)| text.as_ptr()))
    }

    // NVRTC asks for tables when it finds a driver and crashes if the symbol is absent.
    fn cuGetExportTable(table: Out<*const c_void>, _id: *const c_void) needs Nothing |_, _| {
        table.set_if_wanted(std::ptr::null());
        Err(Code::NOT_SUPPORTED)
    }
}

/// Replaces the driver by a fresh one; the text is that of [`Settings::parse`]. Gives 0, or 1 if
/// the text is not understood, with the problem among the findings.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_configure(settings: *const c_char) -> c_int {
    match Settings::parse(text(settings).unwrap_or("")) {
        Ok(settings) => {
            configure(settings);
            0
        }
        Err(problem) => {
            with_driver(|driver| driver.findings.push(problem));
            1
        }
    }
}

/// Copies a text and its final zero to `to`, as much as `bytes` hold; gives the text's bytes.
fn copy_text(found: &str, to: *mut u8, bytes: usize) -> usize {
    if !to.is_null() && bytes > 0 {
        let mut copied = found.as_bytes()[..found.len().min(bytes - 1)].to_vec();
        copied.push(0);
        host::write(to, &copied);
    }
    found.len()
}

/// What was found since the last configuration, one finding a line.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_findings(to: *mut u8, bytes: usize) -> usize {
    copy_text(&with_driver(|driver| driver.findings.join("\n")), to, bytes)
}

/// Counters of every kernel, one a line: name, launches, warp instructions, lane instructions,
/// flops, sectors and bank conflicts.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_counters(to: *mut u8, bytes: usize) -> usize {
    let lines = with_driver(|driver| {
        let lines = driver.counters.iter().map(|(name, c)| {
            format!(
                "{name} {} {} {} {} {} {}\n",
                c.launches,
                c.warp_instructions,
                c.instructions,
                c.flops,
                c.sectors,
                c.bank_conflicts
            )
        });
        lines.collect::<String>()
    });
    copy_text(&lines, to, bytes)
}

/// Driver calls since the last configuration.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_calls() -> u64 {
    with_driver(|driver| driver.calls)
}

/// Names of the driver calls since the last configuration, one a line, oldest first.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_log(to: *mut u8, bytes: usize) -> usize {
    copy_text(&with_driver(|driver| driver.log.join("\n")), to, bytes)
}

/// Marks device memory as never written: an arena gave its bytes to a new owner.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_forget(address: u64, bytes: u64) -> c_int {
    with_driver(|driver| {
        let mut devices = driver.devices.iter_mut();
        let done = devices.any(|device| device.memory.forget(address, bytes).is_ok());
        if done { 0 } else { Code::INVALID_VALUE.0 }
    })
}

/// Queues a callback in a stream of the current context, for libraries beside the driver. The
/// callback runs while the driver is locked and may use `vgpu_read` and `vgpu_write` alone.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_enqueue(stream: Handle, callback: Callback) -> c_int {
    let owned = std::sync::Arc::new(OwnedCallback(callback));
    call("vgpu_enqueue", super::Need::Context, |driver, device| {
        let key = driver.work_stream(device, stream)?;
        driver.enqueue(key, Work::Callback(owned))
    })
}

/// Queues `first` in a stream of `device`, and behind it `then`, which holds the stream up until it
/// opens: what several streams do together. Callbacks run while the driver is locked, as those of
/// `vgpu_enqueue`. Streams that capture refuse it.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_enqueue_meeting(
    device: c_int,
    stream: Handle,
    first: Callback,
    then: Gate,
) -> c_int {
    let (first, then) = (OwnedCallback(first).into(), OwnedGate::new(then).into());
    call("vgpu_enqueue_meeting", super::Need::Initialized, |driver, _| {
        let device = driver.device(device)?;
        if driver.devices[device].context.is_none() {
            return Err(Code::INVALID_CONTEXT);
        }
        if let Some(sticky) = driver.devices[device].sticky {
            return Err(sticky);
        }
        let key = driver.work_stream(device, stream)?;
        if driver.streams[&key].capture.is_some() {
            driver.invalidate_capture_of(key);
            return Err(Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        driver.enqueue(key, Work::Callback(first))?;
        driver.enqueue(key, Work::Gated(then))
    })
}

/// Index of the device whose memory holds `address`; -1 if it is none's.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_device_of(address: u64) -> c_int {
    with_driver(|driver| {
        let mut devices = driver.devices.iter();
        let found = devices.position(|device| device.memory.find(address, 1).is_ok());
        found.map_or(-1, |index| index as c_int)
    })
}

/// Milliseconds that a call waits for other threads.
// SAFETY: no other item of this library has the name.
#[unsafe(no_mangle)]
extern "C" fn vgpu_wait_ms() -> u64 {
    with_driver(|driver| driver.settings.wait_ms)
}

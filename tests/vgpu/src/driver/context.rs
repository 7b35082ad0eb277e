//! Primary contexts and which one is current.

use std::ffi::{c_int, c_uint};

use super::{CONTEXTS, Code, Driver, Handle, Out, Outcome, current_device, driver_api, new_handle};

/// Flags of `cuDevicePrimaryCtxSetFlags` that exist: scheduling, map host, keep local memory, sync.
const FLAGS: c_uint = 0x1f | 0x80;

impl Driver {
    /// Ends the primary context: its objects and memory are gone.
    fn destroy_context(&mut self, device: usize) -> Outcome {
        let context = self.devices[device].context;
        self.streams.retain(|_, stream| stream.device != device);
        self.events.retain(|_, event| event.device != device);
        self.modules.retain(|_, module| module.device != device);
        self.functions.retain(|_, function| function.device != device);
        self.captures.retain(|_, capture| capture.device != device);
        self.executables.retain(|_, executable| executable.device != device);
        let flags = self.devices[device].flags;
        self.devices[device] = self.fresh_device().ok_or(Code::OUT_OF_MEMORY)?;
        self.devices[device].flags = flags;
        CONTEXTS.with_borrow_mut(|contexts| contexts.retain(|one| Some(*one) != context));
        Ok(())
    }

    fn is_context(&self, context: Handle) -> bool {
        self.devices.iter().any(|device| device.context == Some(context))
    }
}

driver_api! {
    fn cuDevicePrimaryCtxRetain(context: Out<Handle>, device: c_int) needs Initialized |d, _| {
        let device = d.device(device)?;
        if context.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        if d.devices[device].context.is_none() {
            d.devices[device].context = Some(new_handle());
            d.create_default_streams(device);
        }
        d.devices[device].retained += 1;
        context.set(d.devices[device].context.unwrap_or(0))
    }

    fn cuDevicePrimaryCtxRelease_v2(device: c_int) needs Initialized |d, _| {
        let device = d.device(device)?;
        if d.devices[device].retained == 0 {
            return Err(Code::INVALID_CONTEXT);
        }
        d.devices[device].retained -= 1;
        if d.devices[device].retained > 0 {
            return Ok(());
        }
        d.finish_device(device);
        d.destroy_context(device)
    }

    fn cuDevicePrimaryCtxReset_v2(device: c_int) needs Initialized |d, _| {
        let device = d.device(device)?;
        d.destroy_context(device)
    }

    fn cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: c_uint) needs Initialized |d, _| {
        let device = d.device(device)?;
        if flags & !FLAGS != 0 {
            return Err(Code::INVALID_VALUE);
        }
        d.devices[device].flags = flags;
        Ok(())
    }

    fn cuDevicePrimaryCtxGetState(device: c_int, flags: Out<c_uint>, active: Out<c_int>) needs Initialized |d, _| {
        let device = &d.devices[d.device(device)?];
        flags.set(device.flags)?;
        active.set(c_int::from(device.context.is_some()))
    }

    fn cuCtxGetCurrent(context: Out<Handle>) needs Initialized |d, _| {
        let current = current_device(d).and_then(|device| d.devices[device].context);
        context.set(current.unwrap_or(0))
    }

    fn cuCtxSetCurrent(context: Handle) needs Initialized |d, _| {
        if context != 0 && !d.is_context(context) {
            return Err(Code::INVALID_CONTEXT);
        }
        CONTEXTS.with_borrow_mut(|contexts| {
            contexts.pop();
            if context != 0 {
                contexts.push(context);
            }
        });
        Ok(())
    }

    fn cuCtxPushCurrent_v2(context: Handle) needs Initialized |d, _| {
        if !d.is_context(context) {
            return Err(Code::INVALID_CONTEXT);
        }
        CONTEXTS.with_borrow_mut(|contexts| contexts.push(context));
        Ok(())
    }

    fn cuCtxPopCurrent_v2(context: Out<Handle>) needs Initialized |_, _| {
        let popped = CONTEXTS.with_borrow_mut(Vec::pop);
        context.set_if_wanted(popped.ok_or(Code::INVALID_CONTEXT)?);
        Ok(())
    }

    fn cuCtxGetDevice(device: Out<c_int>) needs Context |_, current| {
        device.set(current as c_int)
    }

    fn cuCtxSynchronize() needs Context |d, device| {
        d.no_capture_of_device(device)?;
        d.synchronize_device(device)
    }

    fn cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) needs Context |_, _| {
        least.set_if_wanted(0);
        greatest.set_if_wanted(-5);
        Ok(())
    }
}

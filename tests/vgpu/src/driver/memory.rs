//! Memory: allocation, copies, fills, pinned buffers, pools.

use std::ffi::{c_int, c_uint, c_void};

use super::execution::{HostSource, Work};
use super::host::{self, Pinned};
use super::{Code, Driver, Handle, Out, Outcome, driver_api};

/// `CU_MEMHOSTALLOC_PORTABLE`, `_DEVICEMAP` and `_WRITECOMBINED`.
const HOST_FLAGS: c_uint = 7;

/// `CU_MEMPOOL_ATTR_RELEASE_THRESHOLD`; the attributes below it are reuse policies.
const RELEASE_THRESHOLD: c_int = 4;

impl Driver {
    fn allocate(&mut self, device: usize, out: Out<u64>, bytes: usize) -> Outcome {
        if bytes == 0 || out.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let address = self.devices[device].memory.allocate(bytes as u64);
        out.set(address.ok_or(Code::OUT_OF_MEMORY)?)
    }

    fn in_bounds(&self, device: usize, address: u64, bytes: usize) -> Outcome {
        if bytes == 0 {
            return Ok(());
        }
        let found = self.devices[device].memory.find(address, bytes as u64);
        found.map(|_| ()).map_err(|_| Code::INVALID_VALUE)
    }

    fn is_pinned(&self, pointer: *const c_void, bytes: usize) -> bool {
        let address = pointer as u64;
        let before = self.pinned.range(..=address).next_back();
        before.is_some_and(|(base, buffer)| address + bytes as u64 <= base + buffer.bytes())
    }

    fn copy_in(
        &mut self,
        (device, stream): (usize, Handle),
        to: u64,
        from: *const c_void,
        bytes: usize,
    ) -> Outcome {
        let key = self.work_stream(device, stream)?;
        self.in_bounds(device, to, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        if from.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let live = self.is_pinned(from, bytes) || self.streams[&key].capture.is_some();
        let from = if live {
            HostSource::Live(from as u64)
        } else {
            HostSource::Snapshot(host::read(from.cast(), bytes).into())
        };
        self.enqueue(key, Work::CopyIn { to, from, bytes: bytes as u64 })
    }

    fn copy_out(
        &mut self,
        (device, stream): (usize, Handle),
        to: *mut c_void,
        from: u64,
        bytes: usize,
    ) -> Outcome {
        let key = self.work_stream(device, stream)?;
        self.in_bounds(device, from, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        if to.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        self.enqueue(key, Work::CopyOut { to: to as u64, from, bytes: bytes as u64 })?;
        // A copy to pageable memory returns when it is done; one to pinned memory at once.
        if self.is_pinned(to, bytes) || self.streams[&key].capture.is_some() {
            return Ok(());
        }
        self.synchronize_stream(key)
    }

    fn copy_device(
        &mut self,
        (device, stream): (usize, Handle),
        to: u64,
        from: u64,
        bytes: usize,
    ) -> Outcome {
        let key = self.work_stream(device, stream)?;
        self.in_bounds(device, to, bytes)?;
        self.in_bounds(device, from, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        self.enqueue(key, Work::CopyDevice { to, from, bytes: bytes as u64 })
    }

    fn fill(
        &mut self,
        (device, stream): (usize, Handle),
        to: u64,
        (pattern, width): ([u8; 4], usize),
        count: usize,
    ) -> Outcome {
        let key = self.work_stream(device, stream)?;
        if !to.is_multiple_of(width as u64) {
            return Err(Code::INVALID_VALUE);
        }
        self.in_bounds(device, to, count * width)?;
        if count == 0 {
            return Ok(());
        }
        let (width, count) = (width as u64, count as u64);
        self.enqueue(key, Work::Fill { to, pattern, width, count })
    }

    /// A call of the synchronous family: done when it returns.
    fn finish_legacy(&mut self, device: usize) -> Outcome {
        let key = self.stream(device, 0)?;
        self.synchronize_stream(key)
    }

    /// The blocking family runs in the legacy stream and must not meet a capture.
    fn blocking(&mut self, device: usize) -> Outcome {
        self.no_unsafe_capture(device)?;
        self.no_implicit_capture(device)
    }

    fn allocate_host(&mut self, out: Out<*mut c_void>, bytes: usize) -> Outcome {
        if bytes == 0 || out.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let buffer = Pinned::new(bytes).ok_or(Code::OUT_OF_MEMORY)?;
        let address = buffer.address();
        self.pinned.insert(address, buffer);
        out.set(address as *mut c_void)
    }

    fn pool_device(&self, pool: Handle) -> Result<usize, Code> {
        let device = pool.checked_sub(POOLS).ok_or(Code::INVALID_VALUE)?;
        self.device(c_int::try_from(device).map_err(|_| Code::INVALID_VALUE)?)
            .map_err(|_| Code::INVALID_VALUE)
    }

    fn default_pool(&self, out: Out<Handle>, device: c_int) -> Outcome {
        let device = self.device(device)?;
        if self.settings.pools { out.set(POOLS + device as u64) } else { Err(Code::NOT_SUPPORTED) }
    }
}

/// Handles of the devices' default pools start here.
const POOLS: Handle = 0x7b00_0000_0000;

driver_api! {
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) needs Context |d, device| {
        let info = d.devices[device].memory.info();
        free.set_if_wanted(info.0 as usize);
        total.set_if_wanted(info.1 as usize);
        Ok(())
    }

    fn cuMemAlloc_v2(out: Out<u64>, bytes: usize) needs Context |d, device| {
        d.no_unsafe_capture(device)?;
        d.allocate(device, out, bytes)
    }

    fn cuMemFree_v2(address: u64) needs Context |d, device| {
        d.no_unsafe_capture(device)?;
        if !d.devices[device].memory.starts_at(address) {
            return Err(Code::INVALID_VALUE);
        }
        d.synchronize_device(device)?;
        if d.devices[device].memory.free(address) { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    fn cuMemAllocAsync(out: Out<u64>, bytes: usize, stream: Handle) needs Context |d, device| {
        if !d.settings.pools {
            return Err(Code::NOT_SUPPORTED);
        }
        let key = d.work_stream(device, stream)?;
        if d.streams[&key].capture.is_some() {
            return Err(Code::NOT_SUPPORTED);
        }
        d.allocate(device, out, bytes)
    }

    fn cuMemFreeAsync(address: u64, stream: Handle) needs Context |d, device| {
        if !d.settings.pools {
            return Err(Code::NOT_SUPPORTED);
        }
        let key = d.work_stream(device, stream)?;
        let waits = d.streams.values().flat_map(|stream| &stream.queue);
        let mut frees = waits.filter_map(|(_, work)| match work {
            Work::Free { address } => Some(*address),
            _ => None,
        });
        if frees.any(|other| other == address) || !d.devices[device].memory.starts_at(address) {
            return Err(Code::INVALID_VALUE);
        }
        if d.streams[&key].capture.is_some() {
            return Err(Code::NOT_SUPPORTED);
        }
        d.enqueue(key, Work::Free { address })
    }

    fn cuMemHostAlloc(out: Out<*mut c_void>, bytes: usize, flags: c_uint) needs Context |d, device| {
        d.no_unsafe_capture(device)?;
        if flags & !HOST_FLAGS != 0 {
            return Err(Code::INVALID_VALUE);
        }
        d.allocate_host(out, bytes)
    }

    fn cuMemAllocHost_v2(out: Out<*mut c_void>, bytes: usize) needs Context |d, device| {
        d.no_unsafe_capture(device)?;
        d.allocate_host(out, bytes)
    }

    fn cuMemFreeHost(pointer: u64) needs Context |d, device| {
        d.no_unsafe_capture(device)?;
        if !d.pinned.contains_key(&pointer) {
            return Err(Code::INVALID_VALUE);
        }
        d.synchronize_device(device)?;
        d.pinned.remove(&pointer);
        Ok(())
    }

    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) needs Context |d, device| {
        d.blocking(device)?;
        d.copy_in((device, 0), to, from, bytes)?;
        d.finish_legacy(device)
    }

    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) needs Context |d, device| {
        d.blocking(device)?;
        d.copy_out((device, 0), to, from, bytes)?;
        d.finish_legacy(device)
    }

    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) needs Context |d, device| {
        d.blocking(device)?;
        d.copy_device((device, 0), to, from, bytes)
    }

    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) needs Context |d, device| {
        d.copy_in((device, stream), to, from, bytes)
    }

    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle) needs Context |d, device| {
        d.copy_out((device, stream), to, from, bytes)
    }

    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) needs Context |d, device| {
        d.copy_device((device, stream), to, from, bytes)
    }

    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) needs Context |d, device| {
        d.blocking(device)?;
        d.fill((device, 0), to, ([value; 4], 1), count)
    }

    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) needs Context |d, device| {
        d.fill((device, stream), to, ([value; 4], 1), count)
    }

    fn cuMemsetD32_v2(to: u64, value: c_uint, count: usize) needs Context |d, device| {
        d.blocking(device)?;
        d.fill((device, 0), to, (value.to_le_bytes(), 4), count)
    }

    fn cuMemsetD32Async(to: u64, value: c_uint, count: usize, stream: Handle) needs Context |d, device| {
        d.fill((device, stream), to, (value.to_le_bytes(), 4), count)
    }

    fn cuDeviceGetDefaultMemPool(out: Out<Handle>, device: c_int) needs Initialized |d, _| {
        d.default_pool(out, device)
    }

    fn cuDeviceGetMemPool(out: Out<Handle>, device: c_int) needs Initialized |d, _| {
        d.default_pool(out, device)
    }

    fn cuMemPoolSetAttribute(pool: Handle, attribute: c_int, value: *const u64) needs Initialized |d, _| {
        let device = d.pool_device(pool)?;
        if value.is_null() || !(1..=RELEASE_THRESHOLD).contains(&attribute) {
            return Err(Code::INVALID_VALUE);
        }
        if attribute == RELEASE_THRESHOLD {
            let bytes = host::read(value.cast(), 8);
            d.devices[device].threshold = bytes.try_into().map_or(0, u64::from_le_bytes);
        }
        Ok(())
    }

    fn cuMemPoolGetAttribute(pool: Handle, attribute: c_int, value: Out<u64>) needs Initialized |d, _| {
        let device = d.pool_device(pool)?;
        let (free, total) = d.devices[device].memory.info();
        match attribute {
            RELEASE_THRESHOLD => value.set(d.devices[device].threshold),
            5..=8 => value.set(total - free),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    fn cuMemPoolTrimTo(pool: Handle, _keep: usize) needs Initialized |d, _| {
        d.pool_device(pool).map(|_| ())
    }
}

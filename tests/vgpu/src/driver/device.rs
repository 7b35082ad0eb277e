//! Devices and their attributes.

use std::ffi::{c_char, c_int, c_uint};

use super::{Code, Driver, Handle, Out, Outcome, driver_api, host};
use crate::exec::device_memory::DeviceMemory;

/// One device with its primary context.
pub(super) struct Device {
    pub(super) memory: DeviceMemory,
    /// The primary context while it is retained.
    pub(super) context: Option<Handle>,
    pub(super) retained: u32,
    pub(super) flags: c_uint,
    /// The error that the context will give until it is gone.
    pub(super) sticky: Option<Code>,
    pub(super) threshold: u64,
}

/// Limits of an architecture (CUDA C++ Programming Guide, "Compute Capabilities").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Threads resident on a multiprocessor.
    pub(crate) threads: u32,
    /// Blocks resident on a multiprocessor.
    pub(crate) blocks: u32,
    /// Bytes of shared memory of a multiprocessor.
    pub(crate) shared: u32,
    /// Bytes of shared memory of one block, where a kernel opts in.
    pub(crate) opt_in: u32,
    /// Bytes of shared memory that each block pays for the system.
    pub(crate) reserved: u32,
    /// Multiprocessors of a typical device.
    pub(crate) multiprocessors: u32,
}

/// Limits of compute capability `sm / 10`.
pub(crate) fn limits(sm: u32) -> Limits {
    let (threads, blocks, shared_kib, reserved, multiprocessors) = match sm {
        0..=79 => (1024, 16, 64, 0, 72),
        80 => (2048, 32, 164, 1024, 108),
        81..=86 => (1536, 16, 100, 1024, 84),
        87..=89 => (1536, 24, 100, 1024, 128),
        90..=109 => (2048, 32, 228, 1024, 132),
        _ => (1536, 24, 100, 1024, 170),
    };
    let shared = shared_kib << 10;
    Limits { threads, blocks, shared, opt_in: shared - reserved, reserved, multiprocessors }
}

/// Bytes of shared memory of one block without opting in.
pub(crate) const SHARED_PLAIN: u32 = 48 << 10;

fn attribute(driver: &Driver, number: c_int) -> Option<c_int> {
    let limits = limits(driver.settings.sm);
    Some(match number {
        1..=3 => 1024,
        4 => 64,
        5 => i32::MAX,
        6 | 7 => 65535,
        8 => SHARED_PLAIN as c_int,
        9 => 65536,
        10 => 32,
        11 => i32::MAX,
        12 | 82 => 65536,
        13 => 1_410_000,
        14 => 512,
        15 | 19 | 31 | 41 | 78 | 83 => 1,
        16 => limits.multiprocessors as c_int,
        36 => 1_215_000,
        37 => 5120,
        38 => 40 << 20,
        39 => limits.threads as c_int,
        40 => 2,
        75 => (driver.settings.sm / 10) as c_int,
        76 => (driver.settings.sm % 10) as c_int,
        81 => limits.shared as c_int,
        97 => limits.opt_in as c_int,
        106 => limits.blocks as c_int,
        111 => limits.reserved as c_int,
        115 => c_int::from(driver.settings.pools),
        0 => return None,
        17..=150 => 0,
        _ => return None,
    })
}

impl Driver {
    /// Index of the device with this ordinal.
    pub(super) fn device(&self, ordinal: c_int) -> Result<usize, Code> {
        let index = usize::try_from(ordinal).map_err(|_| Code::INVALID_DEVICE)?;
        if index < self.devices.len() { Ok(index) } else { Err(Code::INVALID_DEVICE) }
    }

    fn initialize(&mut self) -> Outcome {
        if self.settings.devices == 0 {
            return Err(Code::NO_DEVICE);
        }
        if self.initialized {
            return Ok(());
        }
        for _ in 0..self.settings.devices {
            let device = self.fresh_device().ok_or(Code::OUT_OF_MEMORY)?;
            self.devices.push(device);
        }
        self.initialized = true;
        Ok(())
    }

    /// A device with empty memory and no context.
    pub(super) fn fresh_device(&self) -> Option<Device> {
        let checked = self.settings.checks >= crate::exec::Checks::Memory;
        let memory = DeviceMemory::new(self.settings.mem_mb << 20, checked)?;
        Some(Device { memory, context: None, retained: 0, flags: 0, sticky: None, threshold: 0 })
    }
}

fn uuid(ordinal: c_int) -> [u8; 16] {
    let mut uuid = *b"AI Mass vGPU    ";
    uuid[15] = ordinal as u8;
    uuid
}

driver_api! {
    fn cuInit(flags: c_uint) needs Nothing |d, _| {
        if flags == 0 { d.initialize() } else { Err(Code::INVALID_VALUE) }
    }

    fn cuDriverGetVersion(version: Out<c_int>) needs Nothing |d, _| {
        version.set(d.settings.driver)
    }

    fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) needs Initialized |d, _| {
        d.device(ordinal)?;
        device.set(ordinal)
    }

    fn cuDeviceGetCount(count: Out<c_int>) needs Initialized |d, _| {
        count.set(d.devices.len() as c_int)
    }

    fn cuDeviceGetName(name: Out<c_char>, length: c_int, device: c_int) needs Initialized |d, _| {
        d.device(device)?;
        if name.is_null() || length <= 0 {
            return Err(Code::INVALID_VALUE);
        }
        let sm = d.settings.sm;
        let mut text = format!("AI Mass virtual GPU {}.{}", sm / 10, sm % 10).into_bytes();
        text.truncate(length as usize - 1);
        text.push(0);
        host::write(name.pointer().cast(), &text);
        Ok(())
    }

    fn cuDeviceGetUuid(uuid_out: Out<[u8; 16]>, device: c_int) needs Initialized |d, _| {
        d.device(device)?;
        uuid_out.set(uuid(device))
    }

    fn cuDeviceGetUuid_v2(uuid_out: Out<[u8; 16]>, device: c_int) needs Initialized |d, _| {
        d.device(device)?;
        uuid_out.set(uuid(device))
    }

    fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) needs Initialized |d, _| {
        let device = d.device(device)?;
        bytes.set(d.devices[device].memory.info().1 as usize)
    }

    fn cuDeviceGetAttribute(value: Out<c_int>, number: c_int, device: c_int) needs Initialized |d, _| {
        d.device(device)?;
        value.set(attribute(d, number).ok_or(Code::INVALID_VALUE)?)
    }
}

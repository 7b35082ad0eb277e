//! Whether there is a driver that can be used, found out without a panic.
//!
//! cudarc resolves each function of the driver when it is first called, and panics if the library
//! or the function is missing. So everything that this crate calls is looked up here first.

#![expect(unsafe_code, reason = "the functions of the driver")]

use crate::error::DeviceError;
use cudarc::driver::{result, sys};

/// Functions of libcuda that this crate calls, by cudarc's names.
pub(crate) const SYMBOLS: &[&str] = &[
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetUuid_v2",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventRecord",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
];

/// Oldest version of CUDA whose drivers run the kernels.
const CUDA_MIN: i32 = 12_000;

/// A driver that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Driver {
    /// Newest version of CUDA that it supports: 1000 times the major and 10 times the minor number.
    pub cuda: u32,
}

impl Driver {
    /// The driver of this machine, initialized.
    ///
    /// # Errors
    /// [`DeviceError`]: no library, a missing function, too old, or its own refusal.
    pub fn open() -> Result<Driver, DeviceError> {
        find()
    }

    /// The version as people write it, such as 12.9.
    pub fn version(&self) -> String {
        format!("{}.{}", self.cuda / 1000, self.cuda % 1000 / 10)
    }
}

fn find() -> Result<Driver, DeviceError> {
    // SAFETY: loading a library runs its initializers; libcuda's are meant for this.
    if !unsafe { sys::is_culib_present() } {
        return Err(DeviceError::NoLibrary);
    }
    // SAFETY: the library is there, so this does not panic.
    let library = unsafe { sys::culib() };
    let absent = |symbol: &&&'static str| {
        // SAFETY: the address is only compared with nothing.
        unsafe { library.get::<*const ()>(symbol.as_bytes()) }.is_err()
    };
    if let Some(symbol) = SYMBOLS.iter().find(absent) {
        return Err(DeviceError::NoSymbol { symbol });
    }
    match result::init() {
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => {
            return Err(DeviceError::NoDevice);
        }
        outcome => outcome.map_err(|error| DeviceError::of("cuInit", error))?,
    }
    let mut cuda = 0;
    // SAFETY: the pointer is to a live integer.
    unsafe { sys::cuDriverGetVersion(&raw mut cuda) }
        .result()
        .map_err(|error| DeviceError::of("cuDriverGetVersion", error))?;
    let driver = Driver { cuda: u32::try_from(cuda).unwrap_or(0) };
    match cuda >= CUDA_MIN {
        true => Ok(driver),
        false => Err(DeviceError::OldDriver { found: driver.version() }),
    }
}

/// How many devices there are.
///
/// # Errors
/// As [`Driver::open`]; [`DeviceError::NoDevice`] instead of 0.
pub fn devices() -> Result<usize, DeviceError> {
    Driver::open()?;
    let count =
        result::device::get_count().map_err(|error| DeviceError::of("cuDeviceGetCount", error))?;
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        Ok(_) | Err(_) => Err(DeviceError::NoDevice),
    }
}

//! What can go wrong with a device.

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;
use std::sync::Arc;

/// Why a device cannot be used, or what it refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No driver is installed.
    #[error(
        "no NVIDIA driver: libcuda.so.1 was not found (install the driver, or set LD_LIBRARY_PATH)"
    )]
    NoLibrary,
    /// The driver lacks a function.
    #[error("the NVIDIA driver has no function {symbol}: version 525 or newer is needed")]
    NoSymbol {
        /// Its name in libcuda.
        symbol: &'static str,
    },
    /// The driver is older than the kernels.
    #[error("the NVIDIA driver supports CUDA {found}; CUDA 12.0 (driver 525) or newer is needed")]
    OldDriver {
        /// Newest version of CUDA that it supports, such as 11.8.
        found: String,
    },
    /// The driver works and finds no GPU.
    #[error("the NVIDIA driver finds no GPU (see nvidia-smi and CUDA_VISIBLE_DEVICES)")]
    NoDevice,
    /// There is no device of that number.
    #[error("there is no device cuda:{ordinal}: this machine has {count}")]
    NoSuchDevice {
        /// The number that was asked for.
        ordinal: usize,
        /// Devices that there are.
        count: usize,
    },
    /// The GPU is older than any of the kernels.
    #[error("{name} has compute capability {major}.{minor}; 7.5 (Turing) or newer is needed")]
    OldDevice {
        /// Its name.
        name: String,
        /// Of its compute capability.
        major: u32,
        /// Of its compute capability.
        minor: u32,
    },
    /// A driver call was refused; the device still works.
    #[error("{call}: {name} ({code}): {text}")]
    Call {
        /// Name of the function.
        call: &'static str,
        /// Its answer.
        code: u32,
        /// Name of the answer.
        name: String,
        /// What the driver says about it.
        text: String,
    },
    /// There is not enough memory on the device.
    #[error("the device has no room for {wanted} bytes: {free} of {total} bytes are free")]
    OutOfMemory {
        /// Bytes that were asked for.
        wanted: u64,
        /// Bytes that were free.
        free: u64,
        /// Bytes of the device.
        total: u64,
    },
    /// Our own limit on memory was reached.
    #[error(
        "{wanted} bytes more would pass the limit of {limit} bytes of device memory ({used} used)"
    )]
    MemoryLimit {
        /// Bytes that were asked for.
        wanted: u64,
        /// Bytes in use.
        used: u64,
        /// [`crate::DeviceOptions::memory_bytes_max`].
        limit: u64,
    },
    /// The device failed in a way that only a restart of the process mends.
    #[error("the device is lost since {cause}")]
    Lost {
        /// The failure.
        cause: Arc<str>,
    },
    /// A kernel is not there in the form that was asked for, or an operand does not fit.
    #[error("defect: {0}")]
    Defect(&'static str),
}

/// Why a device multiplies matrices with our own kernels alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoCublasLt {
    /// [`crate::DeviceOptions::deterministic`] was asked for.
    #[error("deterministic results are asked for, which cuBLASLt does not promise")]
    Deterministic,
    /// The library is not installed.
    #[error(
        "libcublasLt.so was not found (install cuBLAS of CUDA 11 to 13, or set LD_LIBRARY_PATH)"
    )]
    NotFound,
    /// The library lacks a function.
    #[error("libcublasLt.so has no function {symbol}: cuBLAS of CUDA 11 or newer is needed")]
    NoSymbol {
        /// Its name.
        symbol: &'static str,
    },
    /// The library does not work on this device.
    #[error("cublasLtCreate: {status}")]
    Refused {
        /// Its answer, such as `CUBLAS_STATUS_NOT_INITIALIZED`.
        status: String,
    },
}

impl DeviceError {
    pub(crate) fn of(call: &'static str, error: DriverError) -> DeviceError {
        let (name, text) = (error.error_name(), error.error_string());
        let text_of = |text: Result<&std::ffi::CStr, _>| {
            text.map_or_else(|_| "unknown".into(), |text| text.to_string_lossy().into_owned())
        };
        DeviceError::Call { call, code: error.0 as u32, name: text_of(name), text: text_of(text) }
    }

    /// Whether another attempt, with less memory in use, may succeed.
    pub fn is_memory(&self) -> bool {
        const OUT_OF_MEMORY: u32 = CUresult::CUDA_ERROR_OUT_OF_MEMORY as u32;
        matches!(
            self,
            DeviceError::OutOfMemory { .. }
                | DeviceError::MemoryLimit { .. }
                | DeviceError::Call { code: OUT_OF_MEMORY, .. }
        )
    }
}

/// Whether every later call of the process on that device fails too.
///
/// Source: CUDA driver API, `CUresult`: "leaves the process in an inconsistent state".
pub(crate) fn is_sticky(error: CUresult) -> bool {
    matches!(
        error,
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
            | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
            | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUresult::CUDA_ERROR_INVALID_PC
            | CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_ASSERT
            | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
            | CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | CUresult::CUDA_ERROR_DEINITIALIZED
            | CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE
            | CUresult::CUDA_ERROR_EXTERNAL_DEVICE
            | CUresult::CUDA_ERROR_UNKNOWN
    )
}

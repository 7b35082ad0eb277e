//! A device as plans use it: opened, tried, with the working memory that all plans share.

use aimass_cuda::{Device, DeviceError, DeviceInfo, DeviceOptions, Memory, NoCublasLt};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a GPU is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Memory, staging, determinism.
    pub device: DeviceOptions,
}

/// How a GPU does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// What it is.
    pub info: DeviceInfo,
    /// Why nothing runs there any more; none while it works.
    pub lost: Option<String>,
    /// Bytes of memory in use.
    pub memory_bytes: u64,
    /// Most bytes of memory to use.
    pub memory_bytes_max: u64,
    /// Runs of plans that finished there.
    pub runs: u64,
    /// Runs that were done on the CPU because something went wrong there.
    pub fallbacks: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// How many GPUs there are.
///
/// # Errors
/// [`DeviceError`]: no driver, one that is too old, or no GPU.
pub fn gpu_count() -> Result<usize, DeviceError> {
    aimass_cuda::devices()
}

/// A GPU that plans run on.
pub struct Gpu {
    device: Arc<Device>,
    /// Working memory of the run that has its turn; kept, and grown as needed.
    working: Mutex<Option<Arc<Memory>>>,
    runs: AtomicU64,
    fallbacks: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// The turn of one run: its working memory is nobody else's meanwhile.
pub(super) struct Turn<'g> {
    gpu: &'g Gpu,
    working: MutexGuard<'g, Option<Arc<Memory>>>,
}

/// Working memory grows to a multiple of this.
const GROWTH: usize = 1 << 20;

impl Gpu {
    /// Opens device `ordinal`.
    ///
    /// # Errors
    /// [`DeviceError`]: no driver, no such device, too old, or what the driver refused.
    pub fn open(ordinal: usize, options: &GpuOptions) -> Result<Arc<Gpu>, DeviceError> {
        let device = Device::open(ordinal, &options.device)?;
        Ok(Arc::new(Gpu {
            device,
            working: Mutex::new(None),
            runs: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
            last_error: Mutex::new(None),
        }))
    }

    /// What it is.
    pub fn info(&self) -> &DeviceInfo {
        self.device.info()
    }

    /// Whether cuBLASLt does large products there; opens it.
    ///
    /// # Errors
    /// [`NoCublasLt`]: why our own kernels do them all.
    pub fn cublaslt(&self) -> Result<(), NoCublasLt> {
        self.device.cublaslt()
    }

    /// How it does.
    pub fn state(&self) -> DeviceState {
        let (memory_bytes, memory_bytes_max) = self.device.memory();
        let last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        DeviceState {
            info: self.info().clone(),
            lost: self.device.health().err().map(|error| error.to_string()),
            memory_bytes,
            memory_bytes_max,
            runs: self.runs.load(Ordering::Relaxed),
            fallbacks: self.fallbacks.load(Ordering::Relaxed),
            last_error,
        }
    }

    pub(super) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Whether plans may run here.
    pub(super) fn works(&self) -> bool {
        self.device.health().is_ok()
    }

    /// Waits until no other run uses the working memory.
    pub(super) fn turn(&self) -> Turn<'_> {
        let working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        Turn { gpu: self, working }
    }

    pub(super) fn ran(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    /// A run goes to the CPU.
    pub(super) fn fell_back(&self, error: &DeviceError) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(error.to_string());
    }
}

impl Turn<'_> {
    /// At least `bytes` of working memory, with any content.
    ///
    /// # Errors
    /// Those of [`Memory::new`].
    pub(super) fn memory(&mut self, bytes: usize) -> Result<Arc<Memory>, DeviceError> {
        if let Some(memory) = self.working.as_ref().filter(|memory| memory.bytes() >= bytes) {
            return Ok(memory.clone());
        }
        // The old one goes first, so that both never exist together.
        *self.working = None;
        let bytes = bytes.next_multiple_of(GROWTH);
        let memory = Arc::new(Memory::new(&self.gpu.device, bytes)?);
        *self.working = Some(memory.clone());
        Ok(memory)
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.device)
    }
}

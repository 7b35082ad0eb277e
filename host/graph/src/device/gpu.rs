//! A device as plans use it: opened, tried, with the working memory that all plans share.

use aimass_cuda::{
    Compiler, CompilerError, Device, DeviceError, DeviceInfo, DeviceOptions, Memory, NoCublasLt,
};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a GPU is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuOptions {
    /// Memory, staging, determinism.
    pub device: DeviceOptions,
    /// Most kernels that are made at run time for one plan, each for elementwise ops that follow each other;
    /// further ops are launched one by one, with 0 all of them. 64.
    pub fused_kernels_max: usize,
    /// Parts that a batch may run in which does not fit the memory whole; the CPU takes one that would
    /// need more. 256.
    pub parts_max: usize,
    /// Runs for which an amount of working memory that was refused is not asked for again; 256.
    pub refusal_runs: u64,
}

impl Default for GpuOptions {
    fn default() -> GpuOptions {
        GpuOptions {
            device: DeviceOptions::default(),
            fused_kernels_max: 64,
            parts_max: 256,
            refusal_runs: 256,
        }
    }
}

/// Kernels that are made at run time for elementwise ops that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FusionState {
    /// Version of the compiler (NVRTC), or why no such kernel is made.
    pub compiler: Result<String, String>,
    /// Launches of plans that stand for several ops, since the device was opened.
    pub launches: u64,
    /// Ops that they stand for.
    pub ops: u64,
    /// Times that a kernel could not be made, so that its ops are launched one by one.
    pub refused: u64,
    /// Why, the last time.
    pub last_error: Option<String>,
}

impl fmt::Display for FusionState {
    /// `NVRTC 12.9`, or `none: ` and the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.compiler {
            Ok(version) => write!(f, "NVRTC {version}"),
            Err(reason) => write!(f, "none: {reason}"),
        }
    }
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
    /// Runs of plans that finished there, each part of a batch counted.
    pub runs: u64,
    /// Batches that ran there in parts, because the memory did not suffice for the whole.
    pub split: u64,
    /// Runs that were done on the CPU because something went wrong there.
    pub fallbacks: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// What is made of elementwise ops.
    pub fusion: FusionState,
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
    options: GpuOptions,
    working: Mutex<Working>,
    runs: AtomicU64,
    split: AtomicU64,
    fallbacks: AtomicU64,
    last_error: Mutex<Option<String>>,
    fusion: Mutex<FusionState>,
}

/// The turn of one run: its working memory is nobody else's meanwhile.
pub(super) struct Turn<'g> {
    gpu: &'g Gpu,
    working: MutexGuard<'g, Working>,
}

/// Working memory of the run that has its turn.
#[derive(Default)]
struct Working {
    /// Kept, and grown as needed.
    memory: Option<Arc<Memory>>,
    refused: Option<Refused>,
}

/// The least that was lately too much.
struct Refused {
    bytes: usize,
    error: DeviceError,
    /// Runs until it is forgotten.
    runs_left: u64,
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
        let compiler = match options.fused_kernels_max {
            0 => Err("switched off by the configuration".into()),
            // The driver is there by now, for which the compiler looks when it is loaded.
            _ => Compiler::get().map(Compiler::version).map_err(|error| error.to_string()),
        };
        let fusion = FusionState { compiler, launches: 0, ops: 0, refused: 0, last_error: None };
        Ok(Arc::new(Gpu {
            fusion: Mutex::new(fusion),
            device,
            options: options.clone(),
            working: Mutex::default(),
            runs: AtomicU64::new(0),
            split: AtomicU64::new(0),
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
            split: self.split.load(Ordering::Relaxed),
            fallbacks: self.fallbacks.load(Ordering::Relaxed),
            last_error,
            fusion: self.fusion().clone(),
        }
    }

    fn fusion(&self) -> MutexGuard<'_, FusionState> {
        self.fusion.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether kernels can be made at run time.
    pub(super) fn fuses(&self) -> bool {
        self.fusion().compiler.is_ok()
    }

    /// A plan got one launch for this many ops.
    pub(super) fn fused(&self, ops: usize) {
        let mut fusion = self.fusion();
        fusion.launches += 1;
        fusion.ops += ops as u64;
    }

    /// Ops stay apart.
    pub(super) fn fusion_refused(&self, error: &CompilerError) {
        let mut fusion = self.fusion();
        fusion.refused += 1;
        fusion.last_error = Some(error.to_string());
    }

    pub(super) fn options(&self) -> &GpuOptions {
        &self.options
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

    /// All parts of a batch ran.
    pub(super) fn ran_in_parts(&self) {
        self.split.fetch_add(1, Ordering::Relaxed);
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
    /// Those of [`Memory::new`]; the same again, without another attempt, while so much was lately
    /// refused.
    pub(super) fn memory(&mut self, bytes: usize) -> Result<Arc<Memory>, DeviceError> {
        let bytes = bytes.next_multiple_of(GROWTH);
        if let Some(refused) = &mut self.working.refused {
            match refused.runs_left.checked_sub(1) {
                Some(left) => refused.runs_left = left,
                None => self.working.refused = None,
            }
        }
        if let Some(refused) = self.working.refused.as_ref().filter(|old| bytes >= old.bytes) {
            return Err(refused.error.clone());
        }
        if let Some(memory) = self.working.memory.as_ref().filter(|old| old.bytes() >= bytes) {
            return Ok(memory.clone());
        }
        // The old one goes first, so that both never exist together.
        self.working.memory = None;
        let memory = Memory::new(&self.gpu.device, bytes).map(Arc::new);
        let memory = memory.inspect_err(|error| {
            if error.is_memory() {
                self.refuse(bytes, error);
            }
        })?;
        self.working.memory = Some(memory.clone());
        Ok(memory)
    }

    /// Remembers that a run with so much working memory was refused more, and gives that back.
    pub(super) fn refuse(&mut self, bytes: usize, error: &DeviceError) {
        self.working.memory = None;
        let bytes = bytes.next_multiple_of(GROWTH);
        let least = self.working.refused.as_ref().map_or(bytes, |old| old.bytes.min(bytes));
        let runs_left = self.gpu.options.refusal_runs;
        self.working.refused = Some(Refused { bytes: least, error: error.clone(), runs_left });
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.device)
    }
}

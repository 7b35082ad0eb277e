//! An open device: context, kernels, health.

#![expect(unsafe_code, reason = "handles of the driver")]

use crate::cublaslt::Blas;
use crate::entries::NAMES;
use crate::error::{DeviceError, NoCublasLt, is_sticky};
use crate::fused::Loaded;
use crate::image::{self, Code};
use crate::launch::{BLOCKS_MAX, Entry};
use crate::memory::Memory;
use crate::probe::{self, Driver};
use crate::queue::{Lane, Queue};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::ffi::CString;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How a device is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Most bytes of memory to take; 0 means 90 % of what was free when the device was opened.
    pub memory_bytes_max: u64,
    /// Pinned host memory through which inputs and outputs pass; 32 MiB.
    pub staging_bytes: usize,
    /// Device memory for partial sums, which products of few rows are made of; 32 MiB.
    pub workspace_bytes: usize,
    /// Most blocks of kernels whose threads or blocks take their elements in turn; 65,536, which is the
    /// most. Fewer show in tests what the second turn does.
    pub blocks_max: u32,
    /// Whether a row of a product always gets the same bits, whatever other rows there are, whatever ran
    /// before and whatever device of the same kind: our own kernels alone, no cuBLASLt, sums in one
    /// piece. Slower. No.
    pub deterministic: bool,
    /// Whether products of f32 may round their operands to TF32 (10 bits of mantissa) on tensor
    /// cores. No.
    pub tf32: bool,
}

impl Default for DeviceOptions {
    fn default() -> DeviceOptions {
        DeviceOptions {
            memory_bytes_max: 0,
            staging_bytes: 32 << 20,
            workspace_bytes: 32 << 20,
            blocks_max: BLOCKS_MAX,
            deterministic: false,
            tf32: false,
        }
    }
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number for this process.
    pub ordinal: usize,
    /// As the driver names it.
    pub name: String,
    /// Identity of the board, 32 hexadecimal digits.
    pub uuid: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Newest version of CUDA that the driver supports.
    pub cuda: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Most shared memory of a block, once a kernel asks for it.
    pub shared_bytes_max: u32,
    /// What was loaded: `sm_90`, or `compute_75` compiled by the driver.
    pub image: String,
}

/// An open device. Every method may be called from any thread.
pub struct Device {
    info: DeviceInfo,
    options: DeviceOptions,
    context: sys::CUcontext,
    module: sys::CUmodule,
    functions: Vec<sys::CUfunction>,
    limit: u64,
    pub(crate) used: AtomicU64,
    lost: OnceLock<Arc<str>>,
    blas: OnceLock<Result<Blas, NoCublasLt>>,
    /// Kernels that were made at run time.
    pub(crate) fused: Mutex<Loaded>,
    compute: Mutex<Lane>,
    copies: Mutex<Lane>,
}

// SAFETY: handles of the driver may be used from every thread on which their context is current, which
// `with_context` sees to; what is not safe at once on a stream is behind a lock.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} {}", self.info.ordinal, self.info.name)
    }
}

impl Device {
    /// Opens device `ordinal`: makes its context, loads the kernels and allocates staging memory.
    ///
    /// # Errors
    /// [`DeviceError`]: no driver, no such device, too old, or what the driver refused.
    pub fn open(ordinal: usize, options: &DeviceOptions) -> Result<Arc<Device>, DeviceError> {
        let driver = Driver::open()?;
        let count = probe::devices()?;
        let absent = DeviceError::NoSuchDevice { ordinal, count };
        let number = i32::try_from(ordinal).ok().filter(|_| ordinal < count).ok_or(absent)?;
        let handle = refused("cuDeviceGet", result::device::get(number))?;
        let mut info = describe(ordinal, handle, driver)?;
        let (major, minor) = info.capability;
        let Some(code) = image::code(major, minor) else {
            return Err(DeviceError::OldDevice { name: info.name, major, minor });
        };
        // SAFETY: the handle is of a device of this process; the context is released when it is dropped.
        let context =
            refused("cuDevicePrimaryCtxRetain", unsafe { result::primary_ctx::retain(handle) })?;
        let opened = Context { context, handle };
        // SAFETY: the context is live.
        refused("cuCtxSetCurrent", unsafe { result::ctx::set_current(context) })?;
        info.image = match code {
            Code::Machine { major, minor, .. } => format!("sm_{major}{minor}"),
            Code::Portable => "compute_75".into(),
        };
        let image = code.unpacked()?;
        // SAFETY: the image is whole, and text ends with a zero byte.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        let module = refused("cuModuleLoadData", module)?;
        let module = Module { module };
        let functions = functions(module.module)?;
        let limit = match options.memory_bytes_max {
            0 => refused("cuMemGetInfo", result::mem_get_info())?.0 as u64 / 10 * 9,
            bytes => bytes,
        };
        let compute = Lane::new(options.staging_bytes, options.workspace_bytes)?;
        let copies = Lane::new(options.staging_bytes, 0)?;
        let device = Device {
            info,
            options: options.clone(),
            context,
            module: module.module,
            functions,
            limit,
            used: AtomicU64::new(0),
            lost: OnceLock::new(),
            blas: OnceLock::new(),
            fused: Mutex::default(),
            compute: Mutex::new(compute),
            copies: Mutex::new(copies),
        };
        std::mem::forget((opened, module));
        Ok(Arc::new(device))
    }

    /// What the device is.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// How it was opened.
    pub fn options(&self) -> &DeviceOptions {
        &self.options
    }

    /// Bytes of memory in use, and how many may be.
    pub fn memory(&self) -> (u64, u64) {
        (self.used.load(Ordering::Relaxed), self.limit)
    }

    /// Whether the device works.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] with what happened.
    pub fn health(&self) -> Result<(), DeviceError> {
        match self.lost.get() {
            None => Ok(()),
            Some(cause) => Err(DeviceError::Lost { cause: cause.clone() }),
        }
    }

    /// The compute stream, for the calling thread alone; waits for its turn.
    ///
    /// # Errors
    /// [`DeviceError::Lost`].
    pub fn queue(self: &Arc<Self>) -> Result<Queue<'_>, DeviceError> {
        self.health()?;
        let lane = self.compute.lock().unwrap_or_else(PoisonError::into_inner);
        Queue::new(self, lane)
    }

    /// New memory with this content, brought there beside what runs on the compute stream.
    ///
    /// # Errors
    /// As [`Memory::new`], and [`DeviceError::Lost`].
    pub fn upload(self: &Arc<Self>, content: &[u8]) -> Result<Memory, DeviceError> {
        self.health()?;
        let memory = Memory::new(self, content.len())?;
        let lane = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut queue = Queue::new(self, lane)?;
        queue.upload(memory.slice(), content)?;
        queue.synchronize()?;
        drop(queue);
        Ok(memory)
    }

    /// Whether cuBLASLt does large products here; opens it.
    ///
    /// # Errors
    /// [`NoCublasLt`]: why our own kernels do them all.
    pub fn cublaslt(&self) -> Result<(), NoCublasLt> {
        if self.options.deterministic {
            return Err(NoCublasLt::Deterministic);
        }
        // A context that is gone is found by the library.
        let _ = self.with_context(|| Ok(()));
        self.blas.get_or_init(Blas::open).as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// cuBLASLt; none if it is not there or the device is deterministic. The first call that may open
    /// it does, with the device's context current.
    pub(crate) fn blas(&self, may_open: bool) -> Option<&Blas> {
        match (self.options.deterministic, may_open) {
            (true, _) => None,
            (false, true) => self.blas.get_or_init(Blas::open).as_ref().ok(),
            (false, false) => self.blas.get()?.as_ref().ok(),
        }
    }

    /// Whether products may be done by cuBLASLt, as far as is known.
    pub(crate) fn may_have_blas(&self) -> bool {
        !self.options.deterministic && self.blas.get().is_none_or(Result::is_ok)
    }

    pub(crate) fn function(&self, entry: Entry) -> Option<sys::CUfunction> {
        self.functions.get(entry.0).copied()
    }

    /// Counts `bytes` as used.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<(), DeviceError> {
        let wanted = bytes as u64;
        let grown = |used: u64| used.checked_add(wanted).filter(|&all| all <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => Ok(()),
            Err(used) => Err(DeviceError::MemoryLimit { wanted, used, limit: self.limit }),
        }
    }

    /// Runs `call` with the device's context current on this thread.
    pub(crate) fn with_context<T>(
        &self,
        call: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        // SAFETY: the context lives as long as the device.
        unsafe { result::ctx::set_current(self.context) }?;
        call()
    }

    /// The outcome of a driver call; after one of those that never go away the device is lost.
    pub(crate) fn checked<T>(
        &self,
        call: &'static str,
        outcome: Result<T, DriverError>,
    ) -> Result<T, DeviceError> {
        let error = match outcome {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let described = DeviceError::of(call, error);
        if is_sticky(error.0) {
            let cause = self.lost.get_or_init(|| described.to_string().into()).clone();
            return Err(DeviceError::Lost { cause });
        }
        Err(described)
    }

    /// The error with what the device has, if it is about memory.
    pub(crate) fn as_memory_error(&self, error: DeviceError, wanted: usize) -> DeviceError {
        let out_of_memory = sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY as u32;
        match error {
            DeviceError::Call { code, .. } if code == out_of_memory => {
                let (free, total) = self.with_context(result::mem_get_info).unwrap_or((0, 0));
                let (wanted, free, total) = (wanted as u64, free as u64, total as u64);
                DeviceError::OutOfMemory { wanted, free, total }
            }
            other => other,
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: as for `with_context`; what fails here has nobody left to tell, and a device that was
        // lost refuses everything.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            if let Some(Ok(blas)) = self.blas.take() {
                blas.close();
            }
            for lane in [&mut self.compute, &mut self.copies] {
                lane.get_mut().unwrap_or_else(PoisonError::into_inner).free();
            }
            let _ = result::module::unload(self.module);
            if let Ok(handle) = result::device::get(self.info.ordinal as i32) {
                let _ = result::primary_ctx::release(handle);
            }
        }
    }
}

/// A context that is released unless a device takes it over.
struct Context {
    context: sys::CUcontext,
    handle: sys::CUdevice,
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was retained once, by whoever holds this.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            let _ = result::primary_ctx::release(self.handle);
        }
    }
}

/// A module that is unloaded unless a device takes it over.
struct Module {
    module: sys::CUmodule,
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: it was loaded once, by whoever holds this.
        let _ = unsafe { result::module::unload(self.module) };
    }
}

fn refused<T>(call: &'static str, outcome: Result<T, DriverError>) -> Result<T, DeviceError> {
    outcome.map_err(|error| DeviceError::of(call, error))
}

fn functions(module: sys::CUmodule) -> Result<Vec<sys::CUfunction>, DeviceError> {
    let find = |name: &&str| {
        let name = CString::new(*name).map_err(|_| DeviceError::Defect("a kernel's name"))?;
        // SAFETY: the module is loaded.
        refused("cuModuleGetFunction", unsafe { result::module::get_function(module, name) })
    };
    NAMES.iter().map(find).collect()
}

fn describe(
    ordinal: usize,
    handle: sys::CUdevice,
    driver: Driver,
) -> Result<DeviceInfo, DeviceError> {
    use sys::CUdevice_attribute as Attribute;
    let attribute = |attribute: Attribute| {
        // SAFETY: the handle is of a device of this process.
        let value = unsafe { result::device::get_attribute(handle, attribute) };
        refused("cuDeviceGetAttribute", value).map(|value| u32::try_from(value).unwrap_or(0))
    };
    let uuid = refused("cuDeviceGetUuid", result::device::get_uuid(handle))?;
    // SAFETY: as above.
    let memory = refused("cuDeviceTotalMem", unsafe { result::device::total_mem(handle) })?;
    Ok(DeviceInfo {
        ordinal,
        name: refused("cuDeviceGetName", result::device::get_name(handle))?,
        uuid: uuid.bytes.iter().map(|byte| format!("{:02x}", *byte as u8)).collect(),
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        cuda: driver.version(),
        memory_bytes: memory as u64,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_bytes_max: attribute(
            Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        )?,
        image: String::new(),
    })
}

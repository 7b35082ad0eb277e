//! Opens the driver library in a test process.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::exec::Counters;
use crate::settings::Settings;

/// Name of the driver library that cargo builds.
const LIBRARY: &str = "libaimass_vgpu.so";
/// Name of the cuBLASLt library that cargo builds.
const CUBLASLT: &str = "libaimass_vgpu_cublaslt.so";

/// Name of the NCCL library that cargo builds.
const NCCL: &str = "libaimass_vgpu_nccl.so";

/// Why the virtual GPU cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// No built library beside the running binary.
    NotBuilt {
        /// The library.
        library: &'static str,
        /// Folders that were searched.
        searched: Vec<PathBuf>,
    },
    /// The loader refused the library.
    Open {
        /// The library.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// NVIDIA's compiler is not there.
    NotFetched {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The settings are not understood.
    Settings {
        /// What was expected.
        reason: String,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt { library, searched } => write!(
                f,
                "{library} is in none of {searched:?}: depend on its crate, or build it with \
                 `cargo build -p aimass-vgpu -p aimass-vgpu-cublaslt -p aimass-vgpu-nccl`"
            ),
            Self::Open { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::NotFetched { path } => write!(
                f,
                "{} is not there: run `cargo xtask fetch`, or set AIMASS_NVRTC to a libnvrtc.so",
                path.display()
            ),
            Self::Settings { reason } => write!(f, "settings: {reason}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// The library of this process. Its driver is one, so that tests which use it take turns.
#[derive(Clone, Copy, Debug)]
struct Library {
    configure: extern "C" fn(*const c_char) -> c_int,
    findings: extern "C" fn(*mut u8, usize) -> usize,
    counters: extern "C" fn(*mut u8, usize) -> usize,
    log: extern "C" fn(*mut u8, usize) -> usize,
    calls: extern "C" fn() -> u64,
    forget: extern "C" fn(u64, u64) -> c_int,
}

static LIBRARY_OF_PROCESS: OnceLock<Library> = OnceLock::new();
static TURN: Mutex<()> = Mutex::new(());

/// The virtual GPU while a test uses it; another test's [`load`] waits until it is dropped.
#[derive(Debug)]
pub struct Vgpu {
    exports: Library,
    _turn: MutexGuard<'static, ()>,
}

/// Opens the library, the first time, and gives it a fresh driver with these settings.
///
/// After it a program of this process that opens `libcuda.so.1` by name gets the virtual driver.
/// `missing` symbols are those of the first call in the process.
///
/// # Errors
/// [`LoadError`] if the library is not built, cannot be opened or refuses the settings.
pub fn load(settings: &Settings) -> Result<Vgpu, LoadError> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let library = match LIBRARY_OF_PROCESS.get() {
        Some(library) => *library,
        None => {
            let opened = open(&find(LIBRARY)?, &settings.missing)?;
            *LIBRARY_OF_PROCESS.get_or_init(|| opened)
        }
    };
    let vgpu = Vgpu { exports: library, _turn: turn };
    vgpu.configure(settings)?;
    Ok(vgpu)
}

impl Vgpu {
    /// Replaces the driver by a fresh one; every handle of the old one is invalid.
    ///
    /// # Errors
    /// [`LoadError::Settings`] with what was expected.
    pub fn configure(&self, settings: &Settings) -> Result<(), LoadError> {
        let bad = |reason| LoadError::Settings { reason };
        let text = CString::new(settings.to_text())
            .map_err(|_| bad("a value holds a zero byte".to_owned()))?;
        match (self.exports.configure)(text.as_ptr()) {
            0 => Ok(()),
            _ => Err(bad(self.findings().pop().unwrap_or_default())),
        }
    }

    /// What was found since the last configuration, oldest first.
    pub fn findings(&self) -> Vec<String> {
        copied(self.exports.findings).lines().map(str::to_owned).collect()
    }

    /// Driver calls since the last configuration.
    pub fn calls(&self) -> u64 {
        (self.exports.calls)()
    }

    /// Names of those calls, oldest first.
    pub fn log(&self) -> Vec<String> {
        copied(self.exports.log).lines().map(str::to_owned).collect()
    }

    /// Counters of every kernel that ran, by name.
    pub fn counters(&self) -> Vec<(String, Counters)> {
        copied(self.exports.counters).lines().filter_map(counters).collect()
    }

    /// Marks device memory as never written, when an arena gives its bytes to a new owner. Whether
    /// the range is one of an allocation.
    pub fn forget(&self, address: u64, bytes: u64) -> bool {
        (self.exports.forget)(address, bytes) == 0
    }
}

fn counters(line: &str) -> Option<(String, Counters)> {
    let mut words = line.split(' ');
    let name = words.next()?.to_owned();
    let mut number = || words.next()?.parse().ok();
    let counters = Counters {
        launches: number()?,
        warp_instructions: number()?,
        instructions: number()?,
        flops: number()?,
        sectors: number()?,
        bank_conflicts: number()?,
    };
    Some((name, counters))
}

fn copied(read: extern "C" fn(*mut u8, usize) -> usize) -> String {
    let mut buffer = vec![0; read(std::ptr::null_mut(), 0) + 1];
    read(buffer.as_mut_ptr(), buffer.len());
    buffer.pop();
    String::from_utf8_lossy(&buffer).into_owned()
}

/// The built library: beside the running binary or above it, where cargo puts it.
fn find(library: &'static str) -> Result<PathBuf, LoadError> {
    let binary = std::env::current_exe().unwrap_or_default();
    let mut searched = Vec::new();
    for folder in binary.ancestors().skip(1).take(3) {
        for folder in [folder.join("deps"), folder.to_path_buf()] {
            let path = folder.join(library);
            if path.is_file() {
                return Ok(path);
            }
            searched.push(folder);
        }
    }
    Err(LoadError::NotBuilt { library, searched })
}

/// A copy of the library in which the names of `missing` symbols are spoiled.
fn without(path: &Path, missing: &[String]) -> std::io::Result<PathBuf> {
    let mut image = std::fs::read(path)?;
    for name in missing {
        let wanted = format!("\0{name}\0").into_bytes();
        let mut from = 0;
        while let Some(at) = image[from..].windows(wanted.len()).position(|part| part == wanted) {
            image[from + at + 1] = b'_';
            from += at + wanted.len();
        }
    }
    let copy = std::env::temp_dir().join(format!("{LIBRARY}.{}", std::process::id()));
    std::fs::write(&copy, image)?;
    Ok(copy)
}

fn open(path: &Path, missing: &[String]) -> Result<Library, LoadError> {
    let failed = |reason: String| LoadError::Open { path: path.to_owned(), reason };
    let copy = match missing {
        [] => None,
        _ => Some(without(path, missing).map_err(|error| failed(error.to_string()))?),
    };
    let handle = open_global(copy.as_deref().unwrap_or(path));
    if let Some(copy) = copy {
        let _ = std::fs::remove_file(copy);
    }
    symbols(handle.map_err(&failed)?)
        .ok_or_else(|| failed("it lacks a `vgpu_` function".to_owned()))
}

/// Opens a library whose symbols all others see. It is never closed.
fn open_global(path: &Path) -> Result<*mut c_void, String> {
    let name = path.to_str().and_then(|name| CString::new(name).ok());
    let name = name.ok_or("the path is no text")?;
    // SAFETY: the libraries are this repository's own; their initializers do nothing.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() { Err(loader_message()) } else { Ok(handle) }
}

/// Opens the virtual cuBLASLt, so that a program that opens it by name gets it. The test depends on
/// `aimass-vgpu-cublaslt`, and has called [`load`].
///
/// # Errors
/// [`LoadError`] if the library is not built or cannot be opened.
pub fn load_cublaslt() -> Result<(), LoadError> {
    let path = find(CUBLASLT)?;
    let opened = open_global(&path);
    opened.map(|_| ()).map_err(|reason| LoadError::Open { path, reason })
}

/// Opens the virtual NCCL, so that a program that opens it by name gets it. The test depends on
/// `aimass-vgpu-nccl`, and has called [`load`].
///
/// # Errors
/// [`LoadError`] if the library is not built or cannot be opened.
pub fn load_nccl() -> Result<(), LoadError> {
    let path = find(NCCL)?;
    let opened = open_global(&path);
    opened.map(|_| ()).map_err(|reason| LoadError::Open { path, reason })
}

/// Opens NVIDIA's compiler, so that a program that opens it by name gets it: `AIMASS_NVRTC`, or what
/// `cargo xtask fetch` installed. It looks for a driver, so that the test has called [`load`].
///
/// # Errors
/// [`LoadError`] if it is not there or cannot be opened.
pub fn load_nvrtc() -> Result<(), LoadError> {
    let path = nvrtc();
    if !path.is_file() {
        return Err(LoadError::NotFetched { path });
    }
    let opened = open_global(&path);
    opened.map(|_| ()).map_err(|reason| LoadError::Open { path, reason })
}

/// Where NVIDIA's compiler is, if it was fetched.
pub fn nvrtc() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty());
    let cache = || match (folder("AIMASS_CACHE"), folder("XDG_CACHE_HOME")) {
        (Some(own), _) => PathBuf::from(own),
        (None, Some(caches)) => PathBuf::from(caches).join("aimass"),
        (None, None) => PathBuf::from(folder("HOME").unwrap_or_default()).join(".cache/aimass"),
    };
    let installed = || cache().join("nvrtc/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
    folder("AIMASS_NVRTC").map_or_else(installed, PathBuf::from)
}

fn loader_message() -> String {
    // SAFETY: `dlerror` gives null or a string that stays until the next call in this thread.
    let message = unsafe { libc::dlerror() };
    crate::driver::text(message).unwrap_or("unknown").to_owned()
}

fn symbols(handle: *mut c_void) -> Option<Library> {
    let symbol = |name: &std::ffi::CStr| {
        // SAFETY: the handle is that of an open library and the name ends with a zero.
        let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    };
    // SAFETY: each name is that of a function of this crate's library with this very type.
    unsafe {
        Some(Library {
            configure: std::mem::transmute::<*mut c_void, extern "C" fn(*const c_char) -> c_int>(
                symbol(c"vgpu_configure")?,
            ),
            findings: reader(symbol(c"vgpu_findings")?),
            counters: reader(symbol(c"vgpu_counters")?),
            log: reader(symbol(c"vgpu_log")?),
            calls: std::mem::transmute::<*mut c_void, extern "C" fn() -> u64>(symbol(
                c"vgpu_calls",
            )?),
            forget: std::mem::transmute::<*mut c_void, extern "C" fn(u64, u64) -> c_int>(symbol(
                c"vgpu_forget",
            )?),
        })
    }
}

/// The function at `symbol`, which copies a text.
///
/// # Safety
/// The symbol is a function of this type.
unsafe fn reader(symbol: *mut c_void) -> extern "C" fn(*mut u8, usize) -> usize {
    // SAFETY: the caller says so.
    unsafe { std::mem::transmute::<*mut c_void, extern "C" fn(*mut u8, usize) -> usize>(symbol) }
}

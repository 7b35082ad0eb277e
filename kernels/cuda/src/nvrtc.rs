//! NVIDIA's compiler for kernels that are written at run time, where it is installed.
//!
//! It is found by the loader, like the driver, and everything that is called is looked up before it is
//! used: a library that is absent, too old or incomplete is a [`CompilerError`], never a panic.

#![expect(unsafe_code, reason = "the functions of NVRTC")]

use crate::error::DeviceError;
use cudarc::nvrtc::sys;
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Oldest version that knows every architecture which the machine code of this crate is made for up
/// to 9.0, and the parameters that kernels are compiled with.
const VERSION_MIN: (u32, u32) = (11, 8);
/// Most programs whose machine code is remembered; the one compiled first is forgotten first.
const IMAGES_MAX: usize = 256;
/// Most bytes of a compiler's message that an error tells.
const LOG_BYTES_MAX: usize = 1000;

/// Why a kernel cannot be made at run time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompilerError {
    /// The library is not installed.
    #[error("NVRTC was not found (install libnvrtc.so of CUDA 11.8 to 13, or set LD_LIBRARY_PATH)")]
    NoLibrary,
    /// The library lacks a function.
    #[error("NVRTC has no function {symbol}: version 11.8 or newer is needed")]
    NoSymbol {
        /// Its name.
        symbol: &'static str,
    },
    /// The library is too old.
    #[error("NVRTC {found} is too old: version 11.8 or newer is needed")]
    OldVersion {
        /// Its version, such as 11.2.
        found: String,
    },
    /// The library compiles for no architecture that the device runs.
    #[error("NVRTC {version} compiles for nothing that compute capability {major}.{minor} runs")]
    NoArchitecture {
        /// Its version.
        version: String,
        /// Of the device's compute capability.
        major: u32,
        /// Of the device's compute capability.
        minor: u32,
    },
    /// A call was refused.
    #[error("{call}: {text} ({code}){}{log}", if log.is_empty() { "" } else { ": " })]
    Call {
        /// Name of the function.
        call: &'static str,
        /// Its answer.
        code: i32,
        /// What the library says about the answer.
        text: String,
        /// The beginning of the compiler's messages, if it came to compiling.
        log: String,
    },
    /// More kernels than a device keeps.
    #[error("{limit} kernels made at run time are loaded already, the most of a device")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The driver refused what was compiled.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

type Handle = *mut c_void;
type Size = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
type Content = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;

/// The functions that are called, and what the library is.
struct Library {
    version: (u32, u32),
    /// Ten times the major and the minor number of compute capabilities, ascending.
    architectures: Vec<u32>,
    create: unsafe extern "C" fn(
        *mut Handle,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    destroy: unsafe extern "C" fn(*mut Handle) -> c_int,
    compile: unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> c_int,
    log: (Size, Content),
    cubin: (Size, Content),
    ptx: (Size, Content),
    describe: unsafe extern "C" fn(c_int) -> *const c_char,
}

/// What was compiled: machine code, and the text that it was made from.
pub(crate) struct Image {
    /// ELF; empty if the compiler does not know the device's generation.
    pub(crate) cubin: Vec<u8>,
    /// PTX that ends with a zero byte.
    pub(crate) ptx: Vec<u8>,
}

/// What was made of the last sources, each for a target.
#[derive(Default)]
struct Images(VecDeque<(String, String, Arc<Image>)>);

impl Images {
    fn find(&self, target: &str, source: &str) -> Option<Arc<Image>> {
        let known = self.0.iter().find(|(own, text, _)| own == target && text == source);
        known.map(|(.., image)| image.clone())
    }

    fn keep(&mut self, target: String, source: &str, image: Arc<Image>) {
        if self.0.len() == IMAGES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((target, source.to_owned(), image));
    }
}

/// The compiler of this process.
pub struct Compiler {
    nvrtc: Library,
    images: Mutex<Images>,
}

impl Compiler {
    /// The compiler, looked for once a process.
    ///
    /// # Errors
    /// [`CompilerError`]: no library, one that lacks a function, or one that is too old.
    pub fn get() -> Result<&'static Compiler, CompilerError> {
        static COMPILER: OnceLock<Result<Compiler, CompilerError>> = OnceLock::new();
        let opened = COMPILER.get_or_init(|| {
            Library::open().map(|library| Compiler { nvrtc: library, images: Mutex::default() })
        });
        opened.as_ref().map_err(Clone::clone)
    }

    /// Its version, such as 12.9.
    pub fn version(&self) -> String {
        shown(self.nvrtc.version)
    }

    /// Compiles `source`, which may include `headers` by name, for a compute capability, unless it was
    /// compiled before.
    ///
    /// # Errors
    /// [`CompilerError::NoArchitecture`], or [`CompilerError::Call`] with the compiler's messages.
    pub(crate) fn compile(
        &self,
        source: &str,
        headers: &[(&str, &str)],
        capability: (u32, u32),
    ) -> Result<Arc<Image>, CompilerError> {
        let (major, minor) = capability;
        let Some(target) = target(&self.nvrtc.architectures, capability) else {
            return Err(CompilerError::NoArchitecture { version: self.version(), major, minor });
        };
        // One program at a time: several compilations at once are not faster, and NVRTC of 11 minds.
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = images.find(&target, source) {
            return Ok(known);
        }
        let image = Arc::new(self.nvrtc.compiled(source, headers, &target)?);
        images.keep(target, source, image.clone());
        Ok(image)
    }
}

/// What to compile for: machine code of the newest architecture that the device runs, or of an older
/// generation text, which the driver compiles.
fn target(architectures: &[u32], (major, minor): (u32, u32)) -> Option<String> {
    let best = *architectures.iter().filter(|&&own| own <= major * 10 + minor).max()?;
    let kind = if best / 10 == major { "sm" } else { "compute" };
    Some(format!("{kind}_{best}"))
}

fn shown((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// Whether a library of this version will do.
fn checked(version: (u32, u32)) -> Result<(), CompilerError> {
    match version >= VERSION_MIN {
        true => Ok(()),
        false => Err(CompilerError::OldVersion { found: shown(version) }),
    }
}

/// Finds functions by name.
struct Finder {
    find: fn(&str) -> Option<*const ()>,
}

impl Finder {
    fn address(&self, symbol: &'static str) -> Result<*const (), CompilerError> {
        (self.find)(symbol).ok_or(CompilerError::NoSymbol { symbol })
    }

    /// The function of this name.
    ///
    /// # Safety
    /// `F` is its type, a pointer to a function.
    unsafe fn function<F: Copy>(&self, symbol: &'static str) -> Result<F, CompilerError> {
        const { assert!(size_of::<F>() == size_of::<*const ()>()) };
        let address = self.address(symbol)?;
        // SAFETY: as the caller says; pointers to functions are as large as others.
        Ok(unsafe { std::mem::transmute_copy(&address) })
    }

    /// The functions that give a result and its size.
    ///
    /// # Safety
    /// They are of those types.
    unsafe fn pair(
        &self,
        size: &'static str,
        content: &'static str,
    ) -> Result<(Size, Content), CompilerError> {
        // SAFETY: as the caller says.
        unsafe { Ok((self.function(size)?, self.function(content)?)) }
    }
}

impl Library {
    fn open() -> Result<Library, CompilerError> {
        // SAFETY: loading a library runs its initializers; NVRTC's are meant for this.
        if !unsafe { sys::is_culib_present() } {
            return Err(CompilerError::NoLibrary);
        }
        Library::found(&Finder {
            // SAFETY: the library is there, so this does not panic; the address is not used here.
            find: |symbol| unsafe {
                sys::culib().get::<*const ()>(symbol.as_bytes()).ok().map(|found| *found)
            },
        })
    }

    fn found(finder: &Finder) -> Result<Library, CompilerError> {
        type Number = unsafe extern "C" fn(*mut c_int) -> c_int;
        // SAFETY: the types are those of nvrtc.h.
        let (version, count, architectures, describe) = unsafe {
            (
                finder.function::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(
                    "nvrtcVersion",
                )?,
                finder.function::<Number>("nvrtcGetNumSupportedArchs"),
                finder.function::<Number>("nvrtcGetSupportedArchs"),
                finder.function("nvrtcGetErrorString")?,
            )
        };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to live integers.
        let code = unsafe { version(&raw mut major, &raw mut minor) };
        let number = |value: c_int| u32::try_from(value).unwrap_or(0);
        let version = (number(major), number(minor));
        // An old library is told by its version, not by what it lacks.
        refused("nvrtcVersion", code, describe, String::new()).and_then(|()| checked(version))?;
        // SAFETY: as above.
        let mut library = unsafe {
            Library {
                version,
                architectures: Vec::new(),
                create: finder.function("nvrtcCreateProgram")?,
                destroy: finder.function("nvrtcDestroyProgram")?,
                compile: finder.function("nvrtcCompileProgram")?,
                log: finder.pair("nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?,
                cubin: finder.pair("nvrtcGetCUBINSize", "nvrtcGetCUBIN")?,
                ptx: finder.pair("nvrtcGetPTXSize", "nvrtcGetPTX")?,
                describe,
            }
        };
        let mut many = 0;
        // SAFETY: the pointer is to a live integer.
        library.checked("nvrtcGetNumSupportedArchs", unsafe { count?(&raw mut many) })?;
        let mut list: Vec<c_int> = vec![0; usize::try_from(many).unwrap_or(0)];
        // SAFETY: the list is as long as the library said.
        let code = unsafe { architectures?(list.as_mut_ptr()) };
        library.checked("nvrtcGetSupportedArchs", code)?;
        library.architectures = list.into_iter().map(number).collect();
        Ok(library)
    }

    fn checked(&self, call: &'static str, code: c_int) -> Result<(), CompilerError> {
        refused(call, code, self.describe, String::new())
    }

    fn compiled(
        &self,
        source: &str,
        headers: &[(&str, &str)],
        target: &str,
    ) -> Result<Image, CompilerError> {
        let text = |text: &str| {
            CString::new(text).map_err(|_| DeviceError::Defect("a source with a zero byte"))
        };
        let source = text(source)?;
        let (mut names, mut contents) = (Vec::new(), Vec::new());
        for (name, content) in headers {
            names.push(text(name)?);
            contents.push(text(content)?);
        }
        let pointers = |all: &[CString]| all.iter().map(|one| one.as_ptr()).collect::<Vec<_>>();
        let (name_at, content_at) = (pointers(&names), pointers(&contents));
        let mut program = Program { nvrtc: self, handle: std::ptr::null_mut() };
        // SAFETY: every text ends with a zero and lives until the call returns, which copies them.
        let made = unsafe {
            (self.create)(
                &raw mut program.handle,
                source.as_ptr(),
                c"fused.cu".as_ptr(),
                headers.len() as c_int,
                content_at.as_ptr(),
                name_at.as_ptr(),
            )
        };
        self.checked("nvrtcCreateProgram", made)?;
        // As `build.py` compiles the kernels whose bits these shall give.
        let options = [
            text(&format!("--gpu-architecture={target}"))?,
            c"--std=c++17".to_owned(),
            c"-default-device".to_owned(),
        ];
        let option_at = pointers(&options);
        // SAFETY: the program is live, and so are the options.
        let code =
            unsafe { (self.compile)(program.handle, options.len() as c_int, option_at.as_ptr()) };
        if code != 0 {
            let log = program.content("nvrtcGetProgramLog", self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log[..log.len().min(LOG_BYTES_MAX)]);
            let log = log.trim_end_matches('\0').trim().to_owned();
            refused("nvrtcCompileProgram", code, self.describe, log)?;
        }
        let cubin = match target.starts_with("sm_") {
            true => program.content("nvrtcGetCUBIN", self.cubin)?,
            false => Vec::new(),
        };
        let mut ptx = program.content("nvrtcGetPTX", self.ptx)?;
        ptx.push(0);
        Ok(Image { cubin, ptx })
    }
}

fn refused(
    call: &'static str,
    code: c_int,
    describe: unsafe extern "C" fn(c_int) -> *const c_char,
    log: String,
) -> Result<(), CompilerError> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the library gives null or a text that stays.
    let text = unsafe {
        let text = describe(code);
        if text.is_null() { c"unknown" } else { CStr::from_ptr(text) }
    };
    let text = text.to_string_lossy().into_owned();
    Err(CompilerError::Call { call, code, text, log })
}

/// A program of the library.
struct Program<'l> {
    nvrtc: &'l Library,
    handle: Handle,
}

impl Program<'_> {
    fn content(
        &self,
        call: &'static str,
        (size, content): (Size, Content),
    ) -> Result<Vec<u8>, CompilerError> {
        let mut bytes = 0;
        // SAFETY: the program is live.
        self.nvrtc.checked(call, unsafe { size(self.handle, &raw mut bytes) })?;
        let mut all = vec![0u8; bytes];
        // SAFETY: the buffer is as long as the library said.
        let code = unsafe { content(self.handle, all.as_mut_ptr().cast()) };
        self.nvrtc.checked(call, code)?;
        Ok(all)
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: it was created once and is not used again.
            unsafe { (self.nvrtc.destroy)(&raw mut self.handle) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn version_11_2(major: *mut c_int, minor: *mut c_int) -> c_int {
        // SAFETY: the caller gives places for both.
        unsafe { (*major, *minor) = (11, 2) };
        0
    }
    unsafe extern "C" fn version_12_0(major: *mut c_int, minor: *mut c_int) -> c_int {
        // SAFETY: as above.
        unsafe { (*major, *minor) = (12, 0) };
        0
    }
    unsafe extern "C" fn no_version(_: *mut c_int, _: *mut c_int) -> c_int {
        11
    }
    unsafe extern "C" fn describe(_: c_int) -> *const c_char {
        c"an internal error".as_ptr()
    }

    #[test]
    fn an_old_or_incomplete_library_is_told() {
        let opened = |find| Library::found(&Finder { find }).err();
        let symbol = |symbol| Some(CompilerError::NoSymbol { symbol });
        assert_eq!(opened(|_| None), symbol("nvrtcVersion"));
        let found = opened(|name| match name {
            "nvrtcVersion" => Some(version_11_2 as *const ()),
            "nvrtcGetErrorString" => Some(describe as *const ()),
            _ => None,
        });
        assert_eq!(found, Some(CompilerError::OldVersion { found: "11.2".into() }));
        let found = opened(|name| match name {
            "nvrtcVersion" => Some(version_12_0 as *const ()),
            "nvrtcGetErrorString" => Some(describe as *const ()),
            "nvrtcGetCUBINSize" => None,
            _ => Some(no_version as *const ()),
        });
        assert_eq!(found, symbol("nvrtcGetCUBINSize"));
        let found = opened(|name| match name {
            "nvrtcGetErrorString" => Some(describe as *const ()),
            _ => Some(no_version as *const ()),
        });
        let message = found.expect("a refusal").to_string();
        assert_eq!(message, "nvrtcVersion: an internal error (11)");
    }

    #[test]
    fn the_oldest_image_is_forgotten_at_the_limit() {
        let mut images = Images::default();
        let image = || Arc::new(Image { cubin: Vec::new(), ptx: vec![0] });
        for number in 0..IMAGES_MAX {
            images.keep("sm_80".into(), &number.to_string(), image());
        }
        assert!(images.find("sm_80", "0").is_some());
        assert!(images.find("sm_90", "0").is_none());
        images.keep("sm_80".into(), "late", image());
        assert!(images.find("sm_80", "0").is_none());
        assert!(images.find("sm_80", "1").is_some() && images.find("sm_80", "late").is_some());
    }

    #[test]
    fn what_does_not_compile_is_told_with_its_line() {
        // The driver comes first: the compiler looks for one.
        let _vgpu = aimass_vgpu::load(&aimass_vgpu::Settings::default()).unwrap();
        let fetched = aimass_vgpu::load_nvrtc();
        let compiler = match Compiler::get() {
            Ok(compiler) => compiler,
            Err(error) => return eprintln!("left out: {error}; {fetched:?}"),
        };
        let compiled = |source: &str| compiler.compile(source, &[("a.h", "#define A 1\n")], (8, 0));
        let image = compiled("#include \"a.h\"\n__global__ void f(int *x) { *x = A; }").unwrap();
        assert_eq!(&image.cubin[..4], b"\x7fELF");
        assert_eq!(image.ptx.last(), Some(&0));
        let message = compiled("__global__ void f() {\n no c; }").err().unwrap().to_string();
        assert!(message.starts_with("nvrtcCompileProgram: "), "{message}");
        assert!(message.contains("fused.cu(2): error"), "{message}");
        assert!(message.len() < LOG_BYTES_MAX + 100);
    }

    #[test]
    fn each_device_gets_machine_code_or_text_that_it_runs() {
        let known = [50, 52, 75, 80, 86, 87, 89, 90, 100];
        let of = |capability| target(&known, capability);
        assert_eq!(of((8, 0)).as_deref(), Some("sm_80"));
        assert_eq!(of((8, 8)).as_deref(), Some("sm_87"));
        assert_eq!(of((9, 0)).as_deref(), Some("sm_90"));
        assert_eq!(of((12, 0)).as_deref(), Some("compute_100"));
        assert_eq!(of((3, 5)), None);
        assert_eq!(checked((11, 7)), Err(CompilerError::OldVersion { found: "11.7".into() }));
        assert_eq!(checked((11, 8)), Ok(()));
        assert_eq!(checked((13, 0)), Ok(()));
    }
}

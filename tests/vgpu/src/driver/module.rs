//! Modules: cubins chosen by the driver's rule, PTX, and the text that entries are executed from.

use flate2::read::GzDecoder;
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::{Code, Driver, Handle, Out, driver_api, host, new_handle, text};
use crate::elf::{self, Cubin, Entry};
use crate::ptx::decode;
use crate::ptx::instruction::{Kernel, Space};
use crate::ptx::module::Module as PtxModule;

/// A module in a context.
pub(super) struct LoadedModule {
    pub(super) device: usize,
    image: Image,
    /// Addresses of the variables of each text that entries came from.
    symbols: HashMap<String, Symbols>,
}

enum Image {
    Cubin(Cubin),
    Ptx(Arc<PtxModule>),
}

/// Addresses of the variables of a text.
type Symbols = Arc<HashMap<String, u64>>;
/// A file of PTX with its architecture.
type PtxFile = (u32, PathBuf, Arc<PtxModule>);

/// An entry of a module.
#[derive(Clone)]
pub(super) struct Function {
    pub(super) device: usize,
    pub(super) module: Handle,
    pub(super) entry: Entry,
    /// The program, unless no text has the entry.
    pub(super) kernel: Result<(Arc<Kernel>, Symbols), String>,
    /// Most bytes of dynamic shared memory, once set.
    pub(super) max_dynamic: Option<u32>,
    pub(super) ptx_version: u32,
    pub(super) binary_version: u32,
}

/// A kernel by the file it came from and its name, with the time the file had.
type Decoded = HashMap<(PathBuf, String), (Option<SystemTime>, Arc<Kernel>)>;

static DECODED: Mutex<Option<Decoded>> = Mutex::new(None);

/// The folder of `compute_NN.ptx` files, read once a driver.
#[derive(Default)]
pub(super) struct PtxFolder {
    files: Option<Vec<PtxFile>>,
}

impl PtxFolder {
    /// Files with their architecture, highest first.
    fn files(&mut self, folder: &Path) -> Result<&[PtxFile], String> {
        if self.files.is_none() {
            self.files = Some(read_folder(folder)?);
        }
        Ok(self.files.as_deref().unwrap_or(&[]))
    }
}

fn read_folder(folder: &Path) -> Result<Vec<PtxFile>, String> {
    let unreadable = |error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for found in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = found.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("").to_owned();
        let (plain, packed) = match name.strip_suffix(".gz") {
            Some(plain) => (plain, true),
            None => (&*name, false),
        };
        let number = plain.strip_prefix("compute_").and_then(|rest| rest.strip_suffix(".ptx"));
        let Some(number) = number.and_then(|number| number.parse().ok()) else { continue };
        let mut text = String::new();
        let mut file = std::fs::File::open(&path).map_err(unreadable)?;
        match packed {
            true => GzDecoder::new(file).read_to_string(&mut text),
            false => file.read_to_string(&mut text),
        }
        .map_err(unreadable)?;
        let module = PtxModule::parse(&name, &text).map_err(|error| error.to_string())?;
        files.push((number, path, Arc::new(module)));
    }
    files.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
    Ok(files)
}

/// The entry's program, decoded once a process.
fn decoded(path: &Path, module: &PtxModule, name: &str) -> Result<Arc<Kernel>, String> {
    let time = std::fs::metadata(path).and_then(|data| data.modified()).ok();
    let key = (path.to_owned(), name.to_owned());
    let mut guard = DECODED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = guard.get_or_insert_with(HashMap::new);
    if let Some((then, kernel)) = known.get(&key)
        && *then == time
    {
        return Ok(kernel.clone());
    }
    let kernel = Arc::new(decode::entry(module, name).map_err(|error| error.to_string())?);
    known.insert(key, (time, kernel.clone()));
    Ok(kernel)
}

/// PTX ISA version that a driver understands, times ten (PTX ISA, "Release Notes").
fn newest_ptx(driver: i32) -> u32 {
    match driver {
        ..12000 => 78,
        12000..12010 => 80,
        12010..12020 => 81,
        12020..12030 => 82,
        12030..12040 => 83,
        12040..12050 => 84,
        12050..12070 => 85,
        12070..12080 => 86,
        12080..12090 => 87,
        12090..13000 => 88,
        13000.. => 90 + ((driver - 13000) / 10) as u32,
    }
}

impl Driver {
    fn load(&mut self, device: usize, image: *const c_void) -> Result<Handle, Code> {
        if image.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        self.no_unsafe_capture(device)?;
        let magic = host::read(image.cast(), 4);
        let module = if magic == b"\x7fELF" {
            let header = host::read(image.cast(), 64);
            let length = elf::length(&header).ok_or(Code::INVALID_IMAGE)?;
            self.load_cubin(device, &host::read(image.cast(), length))?
        } else if magic.is_ascii() {
            let source = text(image.cast()).filter(|source| source.contains(".version"));
            let source = source.ok_or(Code::INVALID_IMAGE)?;
            self.load_ptx(device, source)?
        } else {
            self.findings.push("module: neither a cubin nor PTX; fatbins are not read".to_owned());
            return Err(Code::INVALID_IMAGE);
        };
        let handle = new_handle();
        self.modules.insert(handle, module);
        Ok(handle)
    }

    fn load_cubin(&mut self, device: usize, image: &[u8]) -> Result<LoadedModule, Code> {
        let cubin = elf::parse(image).ok_or(Code::INVALID_IMAGE)?;
        let sm = self.settings.sm;
        if cubin.sm / 10 != sm / 10 || cubin.sm > sm {
            return Err(Code::NO_BINARY_FOR_GPU);
        }
        // Machine code is run from the text that it was made from.
        if let Some(folder) = self.settings.ptx.clone() {
            let files = self.ptx.files(&folder).unwrap_or_default();
            let known = |name| files.iter().any(|(.., ptx)| ptx.entries.contains_key(name));
            if !files.is_empty() && !cubin.entries.keys().any(known) {
                return Err(Code::NO_BINARY_FOR_GPU);
            }
        }
        Ok(LoadedModule { device, image: Image::Cubin(cubin), symbols: HashMap::new() })
    }

    fn load_ptx(&mut self, device: usize, source: &str) -> Result<LoadedModule, Code> {
        let module = match PtxModule::parse("module", source) {
            Ok(module) => module,
            Err(error) => return Err(self.invalid_ptx(error.to_string())),
        };
        if module.version.0 * 10 + module.version.1 > newest_ptx(self.settings.driver) {
            return Err(Code::UNSUPPORTED_PTX_VERSION);
        }
        let sm = self.settings.sm;
        if module.target > sm || module.specific && module.target != sm {
            return Err(Code::NO_BINARY_FOR_GPU);
        }
        let mut names: Vec<&String> = module.entries.keys().collect();
        names.sort_unstable();
        for name in names {
            if let Err(error) = decode::entry(&module, name) {
                return Err(self.invalid_ptx(error.to_string()));
            }
        }
        Ok(LoadedModule { device, image: Image::Ptx(Arc::new(module)), symbols: HashMap::new() })
    }

    fn invalid_ptx(&mut self, problem: String) -> Code {
        self.findings.push(problem);
        Code::INVALID_PTX
    }

    fn get_function(&mut self, module: Handle, name: &str) -> Result<Handle, Code> {
        let loaded = self.modules.get(&module).ok_or(Code::INVALID_HANDLE)?;
        let device = loaded.device;
        let function = match &loaded.image {
            Image::Ptx(ptx) => {
                let ptx = ptx.clone();
                if !ptx.entries.contains_key(name) {
                    return Err(Code::NOT_FOUND);
                }
                let kernel = decode::entry(&ptx, name).map_err(|_| Code::INVALID_PTX)?;
                let symbols = self.symbols(module, &ptx)?;
                let entry = entry_of(&kernel);
                let (ptx_version, binary_version) =
                    (ptx.version.0 * 10 + ptx.version.1, self.settings.sm);
                let kernel = Ok((Arc::new(kernel), symbols));
                Function {
                    device,
                    module,
                    entry,
                    kernel,
                    max_dynamic: None,
                    ptx_version,
                    binary_version,
                }
            }
            Image::Cubin(cubin) => {
                let entry = cubin.entries.get(name).ok_or(Code::NOT_FOUND)?.clone();
                let sm = cubin.sm;
                let kernel = self.text_of(module, sm, name);
                let (ptx_version, binary_version) = (sm, sm);
                Function {
                    device,
                    module,
                    entry,
                    kernel,
                    max_dynamic: None,
                    ptx_version,
                    binary_version,
                }
            }
        };
        let handle = new_handle();
        self.functions.insert(handle, function);
        Ok(handle)
    }

    /// The program of a cubin's entry: from the file of the highest architecture that it covers.
    fn text_of(
        &mut self,
        module: Handle,
        sm: u32,
        name: &str,
    ) -> Result<(Arc<Kernel>, Symbols), String> {
        let folder = self.settings.ptx.clone().ok_or("set `ptx` to a folder of compute_NN.ptx")?;
        let files = self.ptx.files(&folder)?;
        let file =
            files.iter().find(|(number, _, ptx)| *number <= sm && ptx.entries.contains_key(name));
        let Some((_, path, ptx)) = file else {
            return Err(format!("no compute_NN.ptx up to {sm} in {} has it", folder.display()));
        };
        let (path, ptx) = (path.clone(), ptx.clone());
        let kernel = decoded(&path, &ptx, name)?;
        let symbols =
            self.symbols(module, &ptx).map_err(|_| "no memory for variables".to_owned())?;
        Ok((kernel, symbols))
    }

    /// Puts the variables of a text into the device's memory, once a module.
    fn symbols(&mut self, module: Handle, ptx: &PtxModule) -> Result<Symbols, Code> {
        let loaded = self.modules.get(&module).ok_or(Code::INVALID_HANDLE)?;
        if let Some(symbols) = loaded.symbols.get(&ptx.file) {
            return Ok(symbols.clone());
        }
        let memory = &mut self.devices[loaded.device].memory;
        let mut symbols = HashMap::new();
        let variables = ptx.variables.iter().filter(|one| one.space != Space::Shared);
        for variable in variables.clone() {
            let mut content = variable.init.clone();
            content.resize(variable.bytes as usize, 0);
            let address = memory.variable(&content, u64::from(variable.align));
            symbols.insert(variable.name.clone(), address.ok_or(Code::OUT_OF_MEMORY)?);
        }
        for variable in variables {
            for (offset, name, added) in &variable.pointers {
                let target = symbols.get(name).copied().unwrap_or(0).wrapping_add(*added as u64);
                let place = symbols[&variable.name] + u64::from(*offset);
                memory.write(place, &target.to_le_bytes()).map_err(|_| Code::INVALID_IMAGE)?;
            }
        }
        let symbols = Arc::new(symbols);
        if let Some(loaded) = self.modules.get_mut(&module) {
            loaded.symbols.insert(ptx.file.clone(), symbols.clone());
        }
        Ok(symbols)
    }

    fn get_global(&mut self, module: Handle, name: &str) -> Result<(u64, usize), Code> {
        let loaded = self.modules.get(&module).ok_or(Code::INVALID_HANDLE)?;
        let Image::Ptx(ptx) = &loaded.image else { return Err(Code::NOT_FOUND) };
        let ptx = ptx.clone();
        let variable =
            ptx.variables.iter().find(|one| one.name == name && one.space != Space::Shared);
        let variable = variable.ok_or(Code::NOT_FOUND)?;
        let symbols = self.symbols(module, &ptx)?;
        Ok((symbols[name], variable.bytes as usize))
    }
}

/// What a cubin would say of an entry that is only known as PTX. Register counts are the
/// compiler's; 32 stands in.
fn entry_of(kernel: &Kernel) -> Entry {
    let params = kernel.params.iter().enumerate();
    Entry {
        registers: 32,
        shared_bytes: kernel.shared_bytes,
        local_bytes: kernel.local_bytes,
        params: params
            .map(|(number, param)| (number as u16, (param.offset as u16, param.size as u16)))
            .collect(),
        max_threads: kernel
            .required_threads
            .map(|threads| threads.iter().product())
            .or(kernel.max_threads),
    }
}

/// `CU_JIT_ERROR_LOG_BUFFER` and its size.
const ERROR_LOG: c_int = 5;
const ERROR_LOG_BYTES: c_int = 6;
/// Last option of the documentation's list.
const LAST_OPTION: c_int = 33;

/// Writes the last finding to the error log that the options name.
fn write_log(d: &Driver, options: &[c_int], values: &[u64]) {
    let value = |wanted| options.iter().position(|one| *one == wanted).map(|at| values[at]);
    if let (Some(buffer), Some(bytes), Some(finding)) =
        (value(ERROR_LOG), value(ERROR_LOG_BYTES), d.findings.last())
        && buffer != 0
        && bytes > 0
    {
        let mut text = finding.clone().into_bytes();
        text.truncate(bytes as usize - 1);
        text.push(0);
        host::write(buffer as *mut u8, &text);
    }
}

fn array<const N: usize>(from: *const u8, count: usize) -> Vec<[u8; N]> {
    let bytes = host::read(from, count * N);
    bytes.chunks_exact(N).filter_map(|part| part.try_into().ok()).collect()
}

driver_api! {
    fn cuModuleLoadData(out: Out<Handle>, image: *const c_void) needs Context |d, device| {
        if out.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let handle = d.load(device, image)?;
        out.set(handle)
    }

    fn cuModuleLoadDataEx(
        out: Out<Handle>,
        image: *const c_void,
        count: c_uint,
        options: *const u8,
        values: *const u8,
    ) needs Context |d, device| {
        if out.is_null() || count > 0 && (options.is_null() || values.is_null()) {
            return Err(Code::INVALID_VALUE);
        }
        let options: Vec<c_int> =
            array::<4>(options, count as usize).into_iter().map(c_int::from_le_bytes).collect();
        let values: Vec<u64> =
            array::<8>(values, count as usize).into_iter().map(u64::from_le_bytes).collect();
        if options.iter().any(|option| !(0..=LAST_OPTION).contains(option)) {
            return Err(Code::INVALID_VALUE);
        }
        match d.load(device, image) {
            Ok(handle) => out.set(handle),
            Err(code) => {
                write_log(d, &options, &values);
                Err(code)
            }
        }
    }

    fn cuModuleUnload(module: Handle) needs Context |d, device| {
        d.no_unsafe_capture(device)?;
        if d.modules.get(&module).is_none_or(|one| one.device != device) {
            return Err(Code::INVALID_HANDLE);
        }
        d.synchronize_device(device)?;
        if let Some(gone) = d.modules.remove(&module) {
            let addresses = gone.symbols.values().flat_map(|symbols| symbols.values());
            addresses.for_each(|address| {
                d.devices[device].memory.free(*address);
            });
        }
        d.functions.retain(|_, function| function.module != module);
        Ok(())
    }

    fn cuModuleGetFunction(out: Out<Handle>, module: Handle, name: *const c_char) needs Context |d, _| {
        let name = text(name).ok_or(Code::INVALID_VALUE)?;
        if out.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let handle = d.get_function(module, name)?;
        out.set(handle)
    }

    fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<usize>, module: Handle, name: *const c_char) needs Context |d, _| {
        let name = text(name).ok_or(Code::INVALID_VALUE)?;
        let found = d.get_global(module, name)?;
        address.set_if_wanted(found.0);
        bytes.set_if_wanted(found.1);
        Ok(())
    }
}

/// The function that `handle` names in this context.
pub(super) fn function(d: &Driver, device: usize, handle: Handle) -> Result<&Function, Code> {
    d.functions.get(&handle).filter(|one| one.device == device).ok_or(Code::INVALID_HANDLE)
}

/// The function, to change.
pub(super) fn function_mut(
    d: &mut Driver,
    device: usize,
    handle: Handle,
) -> Result<&mut Function, Code> {
    d.functions.get_mut(&handle).filter(|one| one.device == device).ok_or(Code::INVALID_HANDLE)
}

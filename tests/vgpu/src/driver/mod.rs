//! The driver API, a file for each of its objects, and the state behind it.
//!
//! One lock guards everything: calls of several threads are serialized, as is work on the device.
//! A call checks what NVIDIA's documentation says it checks and is never laxer.
#![allow(non_snake_case)]

mod access;
mod context;
mod device;
mod event;
mod execution;
mod export;
mod gate;
mod graph;
mod host;
mod launch;
mod memory;
mod module;
mod recording;
mod stream;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::code::Code;
use crate::exec::Counters;
use crate::random::Random;
use crate::settings::Settings;
pub(crate) use host::{Out, text};

/// A result of a driver call.
pub(crate) type Outcome = Result<(), Code>;

/// A handle as the program sees it: never 0, 1 or 2, never reused.
pub(crate) type Handle = u64;

/// What a call needs before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing.
    Nothing,
    /// `cuInit`.
    Initialized,
    /// A current context without a sticky error.
    Context,
}

/// Everything behind the API.
struct Driver {
    settings: Settings,
    initialized: bool,
    devices: Vec<device::Device>,
    streams: BTreeMap<Handle, stream::Stream>,
    events: HashMap<Handle, event::Event>,
    modules: HashMap<Handle, module::LoadedModule>,
    functions: HashMap<Handle, module::Function>,
    captures: HashMap<u64, graph::Capture>,
    graphs: HashMap<Handle, graph::Graph>,
    executables: HashMap<Handle, graph::Executable>,
    pinned: BTreeMap<u64, host::Pinned>,
    ptx: module::PtxFolder,
    calls: u64,
    calls_by_name: HashMap<&'static str, u64>,
    log: Vec<&'static str>,
    findings: Vec<String>,
    counters: BTreeMap<String, Counters>,
    random: Random,
    recording: recording::Recording,
    sequence: u64,
    launches: u64,
    started: Instant,
}

impl Driver {
    fn new(settings: Settings) -> Self {
        let random = Random::new(settings.seed);
        Self {
            initialized: false,
            devices: Vec::new(),
            streams: BTreeMap::new(),
            events: HashMap::new(),
            modules: HashMap::new(),
            functions: HashMap::new(),
            captures: HashMap::new(),
            graphs: HashMap::new(),
            executables: HashMap::new(),
            pinned: BTreeMap::new(),
            ptx: module::PtxFolder::default(),
            calls: 0,
            calls_by_name: HashMap::new(),
            log: Vec::new(),
            findings: Vec::new(),
            counters: BTreeMap::new(),
            random,
            recording: recording::Recording::new(settings.record.clone()),
            sequence: 0,
            launches: 0,
            started: Instant::now(),
            settings,
        }
    }

    /// Counts a call and gives the failure that the settings ask for, if any.
    fn fault(&mut self, name: &'static str) -> Option<Code> {
        self.calls += 1;
        self.log.push(name);
        let nth = self.calls_by_name.entry(name).or_insert(0);
        *nth += 1;
        let asked = self.settings.fail.iter().find(|(fn_name, at, _)| fn_name == name && at == nth);
        let at_index = self.settings.fail_at.filter(|(at, _)| *at == self.calls);
        let code = asked.map(|(.., code)| *code).or(at_index.map(|(_, code)| code))?;
        let code = Code(code);
        if code.is_sticky()
            && let Some(device) = current_device(self)
        {
            self.devices[device].sticky = Some(code);
        }
        Some(code)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(0x7c00_0000_0000);

thread_local! {
    /// Contexts that this thread pushed; the last one is current.
    static CONTEXTS: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

fn new_handle() -> Handle {
    NEXT_HANDLE.fetch_add(64, Ordering::Relaxed)
}

fn lock() -> MutexGuard<'static, Option<Driver>> {
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replaces everything by a fresh driver with these settings.
fn configure(settings: Settings) {
    let old = lock().replace(Driver::new(settings));
    drop(old);
}

/// Runs `f` on the driver, without counting a call.
fn with_driver<T>(f: impl FnOnce(&mut Driver) -> T) -> T {
    let mut guard = lock();
    let driver = guard.get_or_insert_with(|| {
        let settings = Settings::from_environment().unwrap_or_else(|problem| {
            eprintln!("virtual GPU: {problem}");
            Settings::default()
        });
        Driver::new(settings)
    });
    f(driver)
}

/// Index of the device whose context is current in this thread.
fn current_device(driver: &Driver) -> Option<usize> {
    let handle = CONTEXTS.with_borrow(|contexts| contexts.last().copied())?;
    driver.devices.iter().position(|device| device.context == Some(handle))
}

/// One driver call: faults, conditions, then `f` with the current device (0 if none is needed).
fn call(name: &'static str, need: Need, f: impl FnOnce(&mut Driver, usize) -> Outcome) -> i32 {
    if gate::WAITING.contains(&name) {
        gate::wait_for_calls();
    }
    let body = || {
        with_driver(|driver| {
            if let Some(code) = driver.fault(name) {
                return Err(code);
            }
            if need == Need::Nothing {
                return f(driver, 0);
            }
            if !driver.initialized {
                return Err(Code::NOT_INITIALIZED);
            }
            if need == Need::Initialized {
                return f(driver, 0);
            }
            let device = current_device(driver).ok_or(Code::INVALID_CONTEXT)?;
            match driver.devices[device].sticky {
                Some(sticky) => Err(sticky),
                None => f(driver, device),
            }
        })
    };
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(code)) => code.0,
        Err(_) => {
            with_driver(|driver| driver.findings.push(format!("{name}: the virtual GPU panicked")));
            Code::UNKNOWN.0
        }
    }
}

/// Defines driver functions: `needs` says what must hold, the body gets driver and device.
macro_rules! driver_api {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) needs $need:ident |$d:pat_param, $device:pat_param| $body:block)*) => {
        $(
            $(#[$meta])*
            // SAFETY: the name is one of the driver's, and no other item of this library has it.
            #[unsafe(no_mangle)]
            extern "C" fn $name($($arg: $ty),*) -> i32 {
                $crate::driver::call(stringify!($name), $crate::driver::Need::$need, |$d, $device| $body)
            }
        )*
    };
}
use driver_api;

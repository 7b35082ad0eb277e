//! A stub of the host, so that `cargo test` runs a whole plugin natively.
//!
//! It holds configuration, files, a clock that tests move, random bytes that a seed decides, log messages, and
//! tensors in the test's own memory. Of the host's tensor ops it has references of those that
//! [`crate::ops`] names, and `add`, `sub`, `mul`, `div`, for f32; [`Host::op`] gives others. Graphs, plans,
//! models and media have no stub: fixtures test them in the real sandbox.
//!
//! ```
//! use aimass_sdk::prelude::*;
//! use aimass_sdk::testing::Host;
//!
//! struct Scale(f32);
//!
//! impl Processor for Scale {
//!     fn init(config: Config) -> Result<Self> {
//!         Ok(Scale(config.parse()?))
//!     }
//!     fn describe(&self) -> Signature {
//!         Signature::new()
//!     }
//!     fn process(&self, inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
//!         let x: Vec<f32> = inputs.get("x")?.to_vec()?;
//!         let y: Vec<f32> = x.iter().map(|x| x * self.0).collect();
//!         Ok(Outputs::new().with("y", Tensor::from_f32(&[y.len() as u64], &y)?))
//!     }
//! }
//!
//! let host = Host::new().config("2.5").enter();
//! let plugin = Scale::init(host.config())?;
//! let inputs = Inputs::from([("x", Tensor::from_f32(&[2], &[1.0, 2.0])?)]);
//! let outputs = plugin.process(inputs, &Parameters::default())?;
//! assert_eq!(outputs.get("y")?.to_vec::<f32>()?, [2.5, 5.0]);
//! # Ok::<(), Error>(())
//! ```

mod bench;
mod reference;

pub use bench::bench;

use crate::config::Config;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::log::Level;
use crate::{Parameter, Tensor};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Dimensions of a tensor.
const RANK_MAX: usize = 8;
/// Bytes of one log message; the host cuts it there, too.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Random bytes of one call.
const RANDOM_BYTES_MAX: u32 = 4_096;

type Op = Rc<dyn Fn(&[&Tensor], &[(String, Parameter)]) -> Result<Vec<Tensor>>>;

/// What a plugin finds instead of a host. [`Host::enter`] puts it in place.
#[derive(Clone)]
pub struct Host {
    pub(crate) config: Vec<u8>,
    pub(crate) files: BTreeMap<String, Arc<Vec<u8>>>,
    pub(crate) epoch_ms: u64,
    pub(crate) elapsed_ms: u64,
    pub(crate) deadline_ms: u64,
    pub(crate) rejected: Option<Error>,
    logs: Vec<(Level, String)>,
    seed: u64,
    ops: BTreeMap<String, Op>,
}

impl Host {
    /// A host with the configuration `{}`, no files, a clock that stands at 2026-01-01 with 60 s left, and
    /// random bytes of seed 1.
    #[must_use]
    pub fn new() -> Host {
        Host {
            config: b"{}".to_vec(),
            files: BTreeMap::new(),
            epoch_ms: 1_767_225_600_000,
            elapsed_ms: 0,
            deadline_ms: 60_000,
            rejected: None,
            logs: Vec::new(),
            seed: 1,
            ops: BTreeMap::new(),
        }
    }

    /// The configuration, as JSON. The schema of `plugin.toml` is not looked at.
    #[must_use]
    pub fn config(mut self, json: &str) -> Host {
        self.config = json.as_bytes().to_vec();
        self
    }

    /// A file of the model package.
    #[must_use]
    pub fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Host {
        self.files.insert(name.to_owned(), Arc::new(bytes.into()));
        self
    }

    /// Every file of a folder as a file of the model package, such as `fixtures/files`.
    ///
    /// # Panics
    /// If the folder or a file cannot be read: a test that needs it cannot go on.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Host {
        let entries = std::fs::read_dir(folder);
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
            let bytes = std::fs::read(&path);
            let bytes = bytes.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.files.insert(name, Arc::new(bytes));
        }
        self
    }

    /// The time of day, in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn wall_ms(mut self, milliseconds: u64) -> Host {
        self.epoch_ms = milliseconds;
        self
    }

    /// Milliseconds until the deadline.
    #[must_use]
    pub fn remaining_ms(mut self, milliseconds: u64) -> Host {
        self.deadline_ms = milliseconds;
        self
    }

    /// What decides the random bytes.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Host {
        self.seed = seed;
        self
    }

    /// A tensor op by its name in the contract, in place of the reference if there is one.
    #[must_use]
    pub fn op(
        mut self,
        name: &str,
        run: impl Fn(&[&Tensor], &[(String, Parameter)]) -> Result<Vec<Tensor>> + 'static,
    ) -> Host {
        self.ops.insert(name.to_owned(), Rc::new(run));
        self
    }

    /// From now on, and until the answer is dropped, this is what plugins on this thread find.
    pub fn enter(self) -> Entered {
        let outer = HOST.with(|host| host.replace(self));
        Entered { outer: Some(outer), not_send: PhantomData }
    }
}

impl Default for Host {
    fn default() -> Host {
        Host::new()
    }
}

/// A [`Host`] in its place, on one thread.
#[must_use = "the stub leaves its place when this is dropped"]
pub struct Entered {
    outer: Option<Host>,
    not_send: PhantomData<*const ()>,
}

impl Entered {
    /// What the host hands to `init`.
    #[must_use]
    pub fn config(&self) -> Config {
        Config::of_this_plugin()
    }

    /// Log messages so far.
    #[must_use]
    pub fn logs(&self) -> Vec<(Level, String)> {
        with(|host| host.logs.clone())
    }

    /// What the exported `init` said against the configuration.
    #[must_use]
    pub fn rejected(&self) -> Option<Error> {
        with(|host| host.rejected.clone())
    }

    /// Lets time pass.
    pub fn advance_ms(&self, milliseconds: u64) {
        with(|host| host.elapsed_ms = host.elapsed_ms.saturating_add(milliseconds));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(outer) = self.outer.take() {
            HOST.with(|host| host.replace(outer));
        }
    }
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::new());
}

/// The stub of this thread.
pub(crate) fn with<T>(look: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with(|host| look(&mut host.borrow_mut()))
}

/// Keeps a message.
pub(crate) fn log(level: Level, message: &str) {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    with(|host| host.logs.push((level, message[..end].to_owned())));
}

/// The next bytes of the seed's sequence (SplitMix64, Steele et al. 2014).
pub(crate) fn random(len: u32) -> Vec<u8> {
    let len = len.min(RANDOM_BYTES_MAX) as usize;
    with(|host| {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            host.seed = host.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = host.seed;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    })
}

/// Runs a tensor op: the test's own, else the reference.
///
/// # Errors
/// `unsupported/op`, and those of the op.
pub(crate) fn run(
    op: &str,
    inputs: &[&Tensor],
    attributes: &[(String, Parameter)],
) -> Result<Vec<Tensor>> {
    match with(|host| host.ops.get(op).cloned()) {
        Some(own) => own(inputs, attributes),
        None => reference::run(op, inputs, attributes),
    }
}

/// Bytes that a tensor of this type and shape takes; of `bytes` none are fixed.
///
/// # Errors
/// `input/shape` beyond 8 dimensions, for a product that is too large, and for blocks that are not whole.
pub(crate) fn tensor_bytes(dtype: DType, shape: &[u64]) -> Result<u64> {
    let wrong = |rule: &str| Error::input("shape", format!("expected {rule}, got {shape:?}"));
    if shape.len() > RANK_MAX {
        return Err(wrong("at most 8 dimensions"));
    }
    let product = shape.iter().try_fold(1u64, |all, extent| all.checked_mul(*extent));
    let elements = product.ok_or_else(|| wrong("less than 2^64 elements"))?;
    let blocks = |length: u64, bytes: u64| match elements % length {
        0 => Ok(elements / length * bytes),
        _ => Err(wrong("whole blocks of elements")),
    };
    match dtype {
        DType::I4 | DType::U4 => Ok(elements.div_ceil(2)),
        DType::Q40 => blocks(32, 18),
        DType::Q41 => blocks(32, 20),
        DType::Q50 => blocks(32, 22),
        DType::Q51 => blocks(32, 24),
        DType::Q80 => blocks(32, 34),
        DType::Q81 => blocks(32, 36),
        DType::Q2K => blocks(256, 84),
        DType::Q3K => blocks(256, 110),
        DType::Q4K => blocks(256, 144),
        DType::Q5K => blocks(256, 176),
        DType::Q6K => blocks(256, 210),
        DType::Q8K => blocks(256, 292),
        DType::Bytes => Err(Error::input("dtype", "strings are made with Tensor::strings")),
        other => {
            let each = other.element_bytes().unwrap_or(1);
            elements.checked_mul(each).ok_or_else(|| wrong("less than 2^64 bytes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::aimass::plugin::{clock, files, random};
    use crate::files::File;

    #[test]
    fn a_tensor_holds_what_its_shape_takes_and_nothing_else() -> Result<()> {
        let x = Tensor::from_f32(&[3, 2], &[1., 2., 3., 4., 5., 6.])?;
        assert_eq!((x.dtype(), x.shape(), x.byte_len()), (DType::F32, vec![3, 2], 24));
        assert_eq!(x.rows(1, 3)?.rows(1, 2)?.to_vec::<f32>()?, [5., 6.]);
        assert_eq!(x.reshape(&[6])?.shape(), [6]);
        assert_eq!(x.reshape(&[5]).unwrap_err().code, "shape");
        assert_eq!(x.rows(2, 4).unwrap_err().code, "out-of-range");
        assert_eq!(x.read(20, 5).unwrap_err().code, "out-of-range");
        assert_eq!(x.read(u64::MAX, 2).unwrap_err().code, "out-of-range");
        let error = Tensor::from_f32(&[2], &[1.]).unwrap_err();
        assert_eq!(error.message, "expected 8 bytes for f32 [2], got 4");
        assert_eq!(Tensor::from_f32(&[1; 9], &[1.]).unwrap_err().code, "shape");
        assert_eq!(Tensor::create(DType::U8, &[1 << 40, 1 << 40], &[]).unwrap_err().code, "shape");
        assert_eq!(Tensor::create(DType::Q40, &[64], &[0; 36])?.byte_len(), 36);
        assert_eq!(Tensor::create(DType::U4, &[3], &[0; 2])?.byte_len(), 2);
        Ok(())
    }

    #[test]
    fn strings_keep_their_places_in_rows() -> Result<()> {
        let x = Tensor::strings(&[3], ["ab", "", "cde"])?;
        let last = x.rows(1, 3)?;
        assert_eq!((last.byte_len(), last.shape()), (3, vec![2]));
        let strings = last.as_strings()?;
        assert_eq!(strings.iter().collect::<Vec<_>>(), [b"".as_slice(), b"cde"]);
        assert_eq!(Tensor::strings(&[2], ["a"]).unwrap_err().code, "offsets");
        assert_eq!(Tensor::from_f32(&[1], &[1.])?.string_offsets().unwrap_err().code, "dtype");
        Ok(())
    }

    #[test]
    fn configuration_files_log_clock_and_random_are_the_tests() -> Result<()> {
        let host = Host::new().config("[1, 2]").file("a.txt", "hello").remaining_ms(500).enter();
        assert_eq!(host.config().parse::<Vec<u8>>(), Ok(vec![1, 2]));
        assert_eq!(files::list()[0].name, "a.txt");
        assert_eq!(File::open("a.txt")?.read_all(5)?, b"hello");
        assert_eq!(File::open("b.txt").unwrap_err().code, "file");
        crate::log::info!("{} of {}", 1, 2);
        assert_eq!(host.logs(), [(Level::Info, "1 of 2".to_owned())]);
        host.advance_ms(200);
        assert_eq!((clock::remaining_ms(), clock::monotonic_ms()), (300, 200));
        host.advance_ms(400);
        assert_eq!(clock::remaining_ms(), 0);
        let first = random::bytes(9);
        assert_eq!((first.len(), random::bytes(10_000).len()), (9, 4_096));
        drop(host);
        let again = Host::new().enter();
        assert_eq!(random::bytes(9), first, "a seed decides");
        assert_eq!(again.logs(), []);
        Ok(())
    }

    #[test]
    fn stubs_nest_and_leave_their_place() {
        let outer = Host::new().config("1").enter();
        {
            let inner = Host::new().config("2").enter();
            assert_eq!(inner.config().json(), b"2");
        }
        assert_eq!(outer.config().json(), b"1");
    }

    #[test]
    fn an_op_that_the_stub_lacks_is_named_with_the_remedy() -> Result<()> {
        let x = Tensor::from_f32(&[1], &[1.])?;
        let error = crate::ops::run("conv", &[&x], &[]).unwrap_err();
        assert_eq!(error.code, "op");
        assert!(error.message.contains("Host::op") && error.message.contains("conv"), "{error}");
        let _host = Host::new().op("conv", |inputs, _| Ok(vec![inputs[0].share()?])).enter();
        assert_eq!(crate::ops::run_one("conv", &[&x], &[])?.to_vec::<f32>()?, [1.]);
        Ok(())
    }
}

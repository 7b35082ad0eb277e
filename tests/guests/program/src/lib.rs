//! Well-behaved and hostile guests in one component; the configuration `{"program": ".."}` picks one.
//!
//! All but the greeter take `x`, any tensor, and promise `y`, f32 `[batch]`. What the sandbox makes of
//! each is written down in the test that runs them all.

mod hostile;
mod hostile_init;
mod polite;

use aimass_sdk::prelude::*;
use serde::Deserialize;

macro_rules! programs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A guest.
        #[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
        #[serde(rename_all = "kebab-case")]
        pub enum Program {
            $($(#[$doc])* $name,)*
        }

        impl Program {
            /// Every guest.
            pub const ALL: &[Program] = &[$(Program::$name,)*];

            /// Its name as in Rust; the configuration wants it in kebab-case.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Program::$name => stringify!($name),)* }
            }
        }
    };
}

programs! {
    /// Answers `x` as `y`.
    Echo,
    /// Answers `greeting`, "Hello, " and each of `name`, both bytes `[batch]`.
    Greeter,
    /// Counts its calls in a static, from the 10 that `init` left; a fresh instance answers 11.
    Counter,
    /// Answers the sum of `x`, f32, which it reads.
    Sum,
    /// Answers the request parameter `value`.
    Parameter,
    /// Writes one message of each level.
    Log,
    /// Answers the logarithm of ten mel bands of `x`, samples at 8 kHz.
    Mel,

    /// Runs for ever.
    Loop,
    /// Takes memory until there is none, and traps.
    Memory,
    /// Calls itself for ever.
    Recursion,
    /// Panics.
    Panic,
    /// Panics with the message logged.
    LoggedPanic,
    /// Makes tensors and keeps every handle.
    Handles,
    /// Makes large tensors and keeps them, few handles but many bytes.
    HostBytes,
    /// Calls the host for ever.
    HostCalls,
    /// Hands 24 MiB over in one call.
    HostCopy,
    /// Writes far more log than is kept, then answers.
    LogFlood,
    /// Answers 64 MiB.
    OutputBytes,
    /// Answers 10,000 tensors.
    Outputs,
    /// Answers `z` instead of `y`.
    WrongName,
    /// Answers `y` twice.
    Twice,
    /// Answers nothing.
    MissingOutput,
    /// Answers i64 instead of f32.
    WrongDtype,
    /// Answers two dimensions instead of one.
    WrongShape,
    /// Reads beyond the end of `x`.
    OutOfRange,
    /// Makes a tensor of fewer bytes than its shape takes.
    ShortTensor,
    /// Makes a string tensor whose offsets fall.
    FallingOffsets,
    /// Asks for an op that does not exist.
    UnknownOp,
    /// Says that the input is wrong.
    InputError,
    /// Says that it is broken.
    InternalError,
    /// Says so in a megabyte.
    LongError,

    /// Runs for ever in `init`.
    InitLoop,
    /// Panics in `init`.
    InitPanic,
    /// Takes memory in `init` until there is none.
    InitMemory,
    /// Refuses its configuration.
    InitReject,
    /// Keeps a tensor handle that was made in `init`.
    InitKeepsHandle,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    program: Program,
}

/// The plugin.
#[derive(Debug)]
pub struct Guest {
    program: Program,
    /// Only [`Program::InitKeepsHandle`] has one.
    _kept: Option<Tensor>,
}

impl Processor for Guest {
    fn init(config: Config) -> Result<Self> {
        let Settings { program } = config.parse()?;
        polite::COUNT.set(10);
        let kept = hostile_init::run(program)?;
        Ok(Guest { program, _kept: kept })
    }

    fn describe(&self) -> Signature {
        if self.program == Program::Greeter {
            return Signature::new()
                .input(TensorSpec::new("name", DType::Bytes, [Dim::Batch]))
                .output(TensorSpec::new("greeting", DType::Bytes, [Dim::Batch]));
        }
        Signature::new().input(TensorSpec::any("x")).output(TensorSpec::new(
            "y",
            DType::F32,
            [Dim::Batch],
        ))
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        match self.program {
            Program::Echo => polite::echo(inputs),
            Program::Greeter => polite::greet(&inputs),
            Program::Counter => polite::count(),
            Program::Sum => polite::sum(&inputs),
            Program::Parameter => polite::parameter(parameters),
            Program::Log => polite::log(inputs),
            Program::Mel => polite::mel(&inputs),
            Program::Loop => hostile::spin(),
            Program::Memory => hostile::take_memory(),
            Program::Recursion => hostile::recurse(),
            Program::Panic => panic!("as configured"),
            Program::LoggedPanic => hostile::logged_panic(),
            Program::Handles => hostile::keep_handles(),
            Program::HostBytes => hostile::keep_bytes(),
            Program::HostCalls => hostile::call_host(&inputs),
            Program::HostCopy => hostile::copy_much(),
            Program::LogFlood => hostile::flood_log(inputs),
            Program::OutputBytes => hostile::answer_bytes(),
            Program::Outputs => hostile::answer_many(&inputs),
            Program::WrongName => hostile::wrong_name(inputs),
            Program::Twice => hostile::twice(&inputs),
            Program::MissingOutput => Ok(Outputs::new()),
            Program::WrongDtype => hostile::wrong_dtype(),
            Program::WrongShape => hostile::wrong_shape(),
            Program::OutOfRange => hostile::read_beyond(&inputs),
            Program::ShortTensor => hostile::short_tensor(),
            Program::FallingOffsets => hostile::falling_offsets(),
            Program::UnknownOp => hostile::unknown_op(&inputs),
            Program::InputError => Err(Error::input("not-this", "expected another x")),
            Program::InternalError => Err(Error::internal("broken", "a defect")),
            Program::LongError => Err(Error::internal("long", "x".repeat(1 << 20))),
            Program::InitLoop
            | Program::InitPanic
            | Program::InitMemory
            | Program::InitReject
            | Program::InitKeepsHandle => polite::echo(inputs),
        }
    }
}

aimass_sdk::export_processor!(Guest);

//! Formats that trace, good and hostile, in one component; the configuration `{"program": ".."}`
//! picks one. The good ones are in `polite`, what is wrong with the others is said at each.

mod hostile;
mod polite;

use aimass_sdk::files::FileInfo;
use aimass_sdk::prelude::*;
use serde::Deserialize;

/// A guest.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// `y = x + x` for `x` f32 `[batch, 2]`, any batch.
    Double,
    /// As `double`, but every batch extent is traced.
    DoubleAlone,
    /// As `double` for `[batch, n]`.
    DoubleAny,
    /// `y` is `x + x`, or `x * x` where `which` (i64 scalar) is 1; any other `which` is refused. Any batch.
    Pick,
    /// Adds `x`, f32 `[len]`, to itself `n` (i64 `[1]`) times, one stage each; `y` is the sum.
    Countdown,
    /// Answers `text`, bytes `[n]`, in upper case as `loud`, and its input `text` itself.
    Loud,
    /// As `double-alone`, but is to be asked every time.
    Moody,
    /// As `double-any`, but thinks for a third of a second first.
    Slow,

    /// Its graph takes a value that does not exist.
    UnknownInput,
    /// Its graph takes `x` with another extent.
    WrongShape,
    /// Its graph takes `x` as i64.
    WrongInputDtype,
    /// Its graph answers a value named `x`, which exists.
    NameTwice,
    /// Its graph has a dynamic dimension.
    DynamicInput,
    /// Says that its trace serves any batch, but its graph serves one.
    FrozenBatch,
    /// Changes its mind about batches in the second stage.
    FickleBatch,
    /// Observes a value that does not exist.
    ObserveUnknown,
    /// Observes `x` twice.
    ObserveTwice,
    /// Never comes to an end.
    Endless,
    /// Leaves no `y`.
    MissingOutput,
    /// Leaves `y` as i64.
    WrongDtype,
    /// Leaves `y` without the batch.
    WrongRank,
    /// Says in 1,025 bytes what keeps its trace from being batched; `double-alone` says it in 1,024.
    LongBlame,
    /// Says that its trace serves any batch, and what keeps it from that.
    NeedlessBlame,
    /// Knows more bytes than a stage may.
    KnownBytes,
    /// Knows 300 tensors.
    KnownMany,
    /// Runs for ever in `trace`.
    Loop,
    /// Runs for ever in `resume`.
    ResumeLoop,
    /// Panics in `resume`.
    ResumePanic,
    /// Takes memory in `trace` until there is none.
    Memory,
    /// Refuses every input.
    Refuse,
    /// Its signature has an input without a dtype.
    NoDtype,
    /// Its signature has a batch on axis 1.
    LateBatch,
    /// Its signature has no output.
    NoOutput,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    program: Program,
}

/// The plugin.
#[derive(Debug)]
pub struct Tracer {
    program: Program,
}

/// What a trace knows between its stages.
#[derive(Debug)]
pub struct Progress {
    /// Inputs of the call.
    inputs: Vec<TracedInput>,
    /// Stages so far.
    stages: u32,
}

impl TracingFormat for Tracer {
    type Trace = Progress;

    fn init(config: Config) -> Result<Self> {
        let Settings { program } = config.parse()?;
        Ok(Tracer { program })
    }

    fn detect(&self, files: &[FileInfo]) -> Option<String> {
        files.is_empty().then(|| "tracer".to_owned())
    }

    fn load(&self, _files: &[FileInfo]) -> Result<Signature> {
        Ok(polite::signature(self.program).unwrap_or_else(|| hostile::signature(self.program)))
    }

    fn trace(&self, _files: &[FileInfo], inputs: &[TracedInput]) -> Result<(Progress, Stage)> {
        let progress = Progress { inputs: inputs.to_vec(), stages: 1 };
        let stage = match polite::trace(self.program, &progress) {
            Some(stage) => stage?,
            None => hostile::trace(self.program, &progress)?,
        };
        Ok((progress, stage))
    }

    fn resume(&self, progress: &mut Progress, observed: NamedTensors) -> Result<Stage> {
        progress.stages += 1;
        match polite::resume(self.program, progress, &observed) {
            Some(stage) => stage,
            None => hostile::resume(self.program, progress),
        }
    }
}

impl Progress {
    /// Extents of an input as dimensions of a graph, axis 0 as `batch` if asked for.
    fn dims(&self, input: usize, batched: bool) -> Vec<Dim> {
        let shape = &self.inputs[input].shape;
        let mut dims: Vec<Dim> = shape.iter().map(|&extent| Dim::Fixed(extent)).collect();
        if batched {
            dims[0] = Dim::Batch;
        }
        dims
    }
}

aimass_sdk::export_tracing_format!(Tracer);

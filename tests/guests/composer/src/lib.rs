//! Guests of the world `model` that call other models and answer in parts; the configuration
//! `{"program": "..", "models": [".."]}` picks one and says which models it calls.
//!
//! Those that stream words take `text`, bytes `[1]`; all others take `x`, f32 `[n]`, and answer `y` like it.

mod hostile;
mod polite;

use aimass_sdk::prelude::*;
use serde::Deserialize;

/// A guest.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// Answers `x` and as much again.
    Double,
    /// Calls its first model for sums below 10, else its second.
    Router,
    /// Answers the mean of what its models answer.
    Ensemble,
    /// Calls its model until the first element is above the parameter `until`.
    Refine,
    /// Calls its model and answers what it answers.
    Relay,
    /// As `relay`, with every input that came.
    RelayAll,
    /// Calls its model with `x`, and with 3 as `n`.
    Counting,
    /// Runs the plan `main` of its own package with `n` and `x`, and again with what it answered.
    TwicePlanned,
    /// Streams the words of `text`, and ends with nothing.
    Words,
    /// Streams `x` once and answers it once more.
    Both,

    /// Calls its model until that fails, and answers how often it did not.
    Flood,
    /// Streams for ever, whatever it is told.
    Endless,
    /// Streams megabytes until it is told to stop.
    Torrent,
    /// Streams one output that it did not describe.
    WrongName,
    /// Streams one item, and traps.
    LateTrap,
    /// Runs for ever.
    Spin,
    /// Streams an item every time that most of its time is used up; the parameter `items` says how many.
    Slow,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    program: Program,
    #[serde(default)]
    models: Vec<String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Guest {
    program: Program,
    models: Vec<String>,
}

impl Guest {
    fn model(&self, index: usize) -> Result<&str> {
        let missing = || Error::internal("models", "expected more models in the configuration");
        self.models.get(index).map(String::as_str).ok_or_else(missing)
    }
}

impl Model for Guest {
    fn init(config: Config) -> Result<Self> {
        let Settings { program, models } = config.parse()?;
        Ok(Guest { program, models })
    }

    fn describe(&self) -> Signature {
        if self.program == Program::Words {
            return Signature::new()
                .input(TensorSpec::new("text", DType::Bytes, [Dim::Batch]))
                .output(TensorSpec::new("word", DType::Bytes, [Dim::Batch]))
                .output(TensorSpec::new("count", DType::U32, [Dim::Fixed(1)]));
        }
        let n = [Dim::dynamic("n")];
        Signature::new().input(TensorSpec::new("x", DType::F32, n.clone())).output(TensorSpec::new(
            "y",
            DType::F32,
            n,
        ))
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        match self.program {
            Program::Double => polite::double(&inputs),
            Program::Router => polite::route(self, &inputs),
            Program::Ensemble => polite::average(self, &inputs),
            Program::Refine => polite::refine(self, inputs, parameters),
            Program::Relay => polite::relay(self, &inputs),
            Program::RelayAll => polite::relay_all(self, inputs),
            Program::Counting => polite::count(self, &inputs),
            Program::TwicePlanned => polite::run_plan(&inputs),
            Program::Words => polite::words(&inputs),
            Program::Both => polite::both(inputs),
            Program::Flood => hostile::flood(self, &inputs),
            Program::Endless => hostile::stream_for_ever(&inputs),
            Program::Torrent => hostile::torrent(),
            Program::WrongName => hostile::wrong_name(inputs),
            Program::LateTrap => hostile::late_trap(&inputs),
            Program::Spin => hostile::spin(),
            Program::Slow => hostile::slow(inputs, parameters),
        }
    }
}

aimass_sdk::export_model!(Guest);

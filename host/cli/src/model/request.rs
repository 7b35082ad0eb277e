//! Inputs of a whole model, for tools that run it: given, from a file, from the package, or random.

use super::sample::{Port, Shapes, sample};
use crate::infer::tensor;
use aimass_engine::{
    EngineError, FIXTURE_BYTES_MAX, Fixture, InferRequest, ModelMetadata, OpenModel, Parameter,
    Selector, parse_fixtures,
};
use aimass_tensor::Tensor;
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a model is run on.
#[derive(Args)]
pub(crate) struct RequestInputs {
    /// Shape of a random input, as x=1x3x640x640; open extents without one are 1
    #[arg(long = "shape", value_name = "NAME=EXTENTS")]
    shapes: Vec<String>,
    /// An input as NAME=JSON, as `aimass infer` takes it: a string, or a flat list
    #[arg(long = "input", value_name = "NAME=JSON", conflicts_with = "shapes")]
    inputs: Vec<String>,
    /// The first case of a fixture file
    #[arg(long = "inputs", value_name = "FILE", conflicts_with_all = ["shapes", "inputs"])]
    file: Option<PathBuf>,
    /// Seed of random inputs
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Seconds that one run may take
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
}

/// Inputs that can be sent again and again.
pub(crate) struct Request {
    pub(crate) inputs: Vec<(String, Tensor)>,
    parameters: BTreeMap<String, Parameter>,
    timeout: Duration,
    /// Where the inputs are from, for people.
    pub(crate) source: String,
}

impl RequestInputs {
    /// The inputs for this model: those that were given; else random ones; else, where the model
    /// takes texts or any shape and no --shape says otherwise, those of the package's first fixture.
    ///
    /// # Errors
    /// What was expected, what came, and what to give instead.
    pub(crate) fn of(&self, model: &OpenModel) -> anyhow::Result<Request> {
        let metadata = model.metadata();
        if let Some(path) = &self.file {
            return self.of_file(path);
        }
        if !self.inputs.is_empty() {
            let inputs = given(&self.inputs, &metadata)?;
            return Ok(self.request(inputs, BTreeMap::new(), "given".to_owned()));
        }
        let shapes = Shapes::parse(&self.shapes)?;
        shapes.check_names(metadata.inputs.iter().map(|input| &input.name))?;
        let ports: Vec<Port> = metadata.inputs.iter().map(Port::from).collect();
        if self.shapes.is_empty() && !ports.iter().all(Port::can_be_sampled) {
            let usable = model.fixtures().iter().find(|fixture| fixture.error.is_none());
            if let Some(fixture) = usable {
                return Ok(self.of_fixture(fixture, "the package's fixture"));
            }
        }
        let sample = sample(&ports, &shapes, self.seed)?;
        let chosen = match sample.chosen.is_empty() {
            true => String::new(),
            false => format!(", {} (give others with --shape)", sample.chosen.join(", ")),
        };
        let named = sample.tensors.into_iter().map(|(name, tensor)| (name.to_string(), tensor));
        let source = format!("random, seed {}{chosen}", self.seed);
        Ok(self.request(named.collect(), BTreeMap::new(), source))
    }

    fn of_file(&self, path: &Path) -> anyhow::Result<Request> {
        let name = path.display().to_string();
        let length = std::fs::metadata(path).with_context(|| name.clone())?.len();
        ensure!(
            length <= FIXTURE_BYTES_MAX as u64,
            "{name}: expected at most {FIXTURE_BYTES_MAX} bytes, got {length}"
        );
        let json = std::fs::read(path).with_context(|| name.clone())?;
        let fixtures = parse_fixtures(&name, &json)?;
        let first =
            fixtures.first().with_context(|| format!("{name}: expected a case, got none"))?;
        Ok(self.of_fixture(first, &name))
    }

    fn of_fixture(&self, fixture: &Fixture, of: &str) -> Request {
        let source = format!("{of}, case {:?}", fixture.name);
        self.request(fixture.inputs.clone(), fixture.parameters.clone(), source)
    }

    fn request(
        &self,
        inputs: Vec<(String, Tensor)>,
        parameters: BTreeMap<String, Parameter>,
        source: String,
    ) -> Request {
        Request { inputs, parameters, timeout: Duration::from_secs(self.timeout), source }
    }
}

impl Request {
    /// A request that starts now.
    pub(crate) fn now(&self) -> InferRequest {
        InferRequest {
            model: String::new(),
            selector: Selector::Default,
            inputs: self.inputs.clone(),
            outputs: Vec::new(),
            parameters: self.parameters.clone(),
            tenant: Arc::from("local"),
            deadline: Instant::now() + self.timeout,
        }
    }

    /// Name, dtype and shape of every input.
    pub(crate) fn describe(&self) -> String {
        let each = self.inputs.iter();
        let each =
            each.map(|(name, tensor)| format!("{name} {} {}", tensor.dtype(), tensor.shape()));
        each.collect::<Vec<_>>().join(", ")
    }

    /// An error of a run, with what the inputs were.
    pub(crate) fn failed(&self, error: EngineError) -> anyhow::Error {
        let context = format!("running on {} ({})", self.describe(), self.source);
        anyhow::Error::new(error).context(context)
    }
}

fn given(texts: &[String], metadata: &ModelMetadata) -> anyhow::Result<Vec<(String, Tensor)>> {
    let mut inputs = Vec::with_capacity(texts.len());
    for text in texts {
        let (name, json) = text
            .split_once('=')
            .with_context(|| format!("--input: expected NAME=JSON, got {text:?}"))?;
        let Some(port) = metadata.inputs.iter().find(|port| *port.name == *name) else {
            let known: Vec<&str> = metadata.inputs.iter().map(|port| &*port.name).collect();
            bail!("--input: there is no input {name:?}; there are {}", known.join(", "));
        };
        inputs.push((name.to_owned(), tensor(port.dtype, json).with_context(|| text.clone())?));
    }
    Ok(inputs)
}

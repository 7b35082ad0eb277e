//! An engine with one signed model in it, whose format traces.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aimass_engine::{
    Engine, EngineConfig, EngineError, InferRequest, PackageFolder, Selector, TracedConfig,
};
use aimass_tensor::Tensor;
use aimass_trust::{ModelRelease, SigningKey, Timestamp, sign_model};
use tempfile::TempDir;

use crate::{TRACER_CAPABILITIES, place, policy, sign_with, tracer};

/// An engine that serves a guest of `tracer/` as the model `traced`.
pub struct Server {
    /// The engine.
    pub engine: Arc<Engine>,
    _dir: TempDir,
}

/// The `model.toml` of a guest of `tracer/`: names and dtypes of its inputs and outputs.
#[must_use]
pub fn traced_model(program: &str) -> String {
    type Ports = &'static [(&'static str, &'static str)];
    let (inputs, outputs): (Ports, Ports) = match program {
        "pick" => (&[("x", "FP32"), ("which", "INT64")], &[("y", "FP32")]),
        "countdown" => (&[("n", "INT64"), ("x", "FP32")], &[("y", "FP32")]),
        "loud" => (&[("text", "BYTES")], &[("loud", "BYTES"), ("text", "BYTES")]),
        _ => (&[("x", "FP32")], &[("y", "FP32")]),
    };
    let mut toml = format!(
        "[model]\nname = \"acme/traced\"\nversion = \"1.0.0\"\n\
         [format]\nplugin = \"acme/program\"\nconfig = {{ program = \"{program}\" }}\n"
    );
    for (name, dtype) in inputs {
        toml.push_str(&format!("[[input]]\nname = \"{name}\"\ndtype = \"{dtype}\"\n"));
    }
    toml.push_str("[[step]]\nname = \"run\"\nplan = \"main\"\n");
    for (name, dtype) in outputs {
        toml.push_str(&format!(
            "[[output]]\nname = \"{name}\"\nfrom = \"run.{name}\"\ndtype = \"{dtype}\"\n"
        ));
    }
    toml
}

impl Server {
    /// Publishes and serves the guest of this name.
    ///
    /// # Errors
    /// The engine's, if the model is refused.
    ///
    /// # Panics
    /// If there is no room for a data folder.
    pub async fn start(program: &str, traced: TracedConfig) -> Result<Server, EngineError> {
        Server::with_files(program, traced, &[]).await
    }

    /// As [`Server::start`], with these files in the model package.
    ///
    /// # Errors
    /// As [`Server::start`].
    ///
    /// # Panics
    /// As [`Server::start`].
    pub async fn with_files(
        program: &str,
        traced: TracedConfig,
        files: &[(&str, &str)],
    ) -> Result<Server, EngineError> {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let key = SigningKey::generate().unwrap_or_else(|error| panic!("{error}"));
        std::fs::write(dir.path().join("trust.toml"), policy(&key)).expect("a policy is written");
        let mut config = EngineConfig { traced, ..EngineConfig::new(dir.path()) };
        place(&mut config.sandbox);
        let engine = Engine::open(config).await?;
        let signed = sign_with(&key, tracer(), "tracing-format", TRACER_CAPABILITIES);
        let signed = signed.unwrap_or_else(|refusal| panic!("{refusal}"));
        engine.publish_plugin(signed.wasm, &signed.dsse).await?;
        let folder = dir.path().join("package");
        write_package(&folder, program, files);
        let package = PackageFolder::read(&folder)?;
        engine.publish_model("traced", &package, &statement(&package, &key)).await?;
        Ok(Server { engine, _dir: dir })
    }

    /// Asks the model, for at most so long.
    ///
    /// # Errors
    /// The engine's.
    pub async fn ask_within(
        &self,
        wall: Duration,
        inputs: &[(&str, Tensor)],
    ) -> Result<Vec<Tensor>, EngineError> {
        let inputs = inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
        let request = InferRequest {
            model: "traced".to_owned(),
            selector: Selector::Default,
            inputs: inputs.collect(),
            outputs: Vec::new(),
            parameters: BTreeMap::new(),
            tenant: "tenant".into(),
            deadline: Instant::now() + wall,
        };
        let answer = self.engine.infer(request).await?;
        Ok(answer.outputs.into_iter().map(|(_, tensor)| tensor).collect())
    }

    /// Asks the model; waits until it is there.
    ///
    /// # Errors
    /// The engine's.
    pub async fn ask(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>, EngineError> {
        while !self.engine.ready().ready || self.engine.models().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.ask_within(Duration::from_secs(60), inputs).await
    }

    /// A counter of the engine, 0 before it counts anything.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.engine.metrics_text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Sessions and stages that were traced of the model since `before`.
    #[must_use]
    pub fn traced_since(&self, before: (u64, u64)) -> (u64, u64) {
        let (sessions, stages) = self.traced();
        (sessions - before.0, stages - before.1)
    }

    /// Sessions and stages that were traced of the model.
    #[must_use]
    pub fn traced(&self) -> (u64, u64) {
        let counter = |name: &str| self.counter(&format!("{name}{{model=\"traced\"}}"));
        (counter("aimass_traces_total"), counter("aimass_trace_stages_total"))
    }
}

fn write_package(folder: &Path, program: &str, files: &[(&str, &str)]) {
    std::fs::create_dir(folder).expect("a new folder");
    std::fs::write(folder.join("model.toml"), traced_model(program)).expect("it is written");
    for (name, content) in files {
        std::fs::write(folder.join(name), content).expect("it is written");
    }
}

fn statement(package: &PackageFolder, key: &SigningKey) -> Vec<u8> {
    let now = Timestamp::from_system(SystemTime::now() - Duration::from_secs(60));
    let release = ModelRelease {
        name: "acme/traced".parse().unwrap_or_else(|error| panic!("{error}")),
        version: "1.0.0".parse().unwrap_or_else(|error| panic!("{error}")),
        sequence: 1,
        not_before: now,
        expires: now.plus_days(1),
    };
    sign_model(&release, &package.digests(), key).unwrap_or_else(|error| panic!("{error}"))
}

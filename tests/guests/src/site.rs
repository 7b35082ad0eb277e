//! An engine with models of guests that call each other and stream.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aimass_engine::{
    Engine, EngineConfig, EngineError, InferRequest, InferResponse, ItemReceiver, PackageFolder,
    Parameter, Selector, stream_items,
};
use aimass_tensor::Tensor;
use aimass_trust::{ModelRelease, SigningKey, Timestamp, sign_model};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{COMPOSER_CAPABILITIES, TRACER_CAPABILITIES, composer, place, policy, sign_as, tracer};

/// An engine that serves guests of `composer/`, each as a model of its own.
pub struct Site {
    /// The engine.
    pub engine: Arc<Engine>,
    key: SigningKey,
    dir: TempDir,
    packages: AtomicU64,
}

/// What a client asks a model.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Inputs by name.
    pub inputs: Vec<(&'static str, Tensor)>,
    /// Request parameters.
    pub parameters: BTreeMap<String, Parameter>,
    /// Time that the answer may take.
    pub wall: Duration,
}

impl Ask {
    /// `x` with these values, within 20 s.
    ///
    /// # Panics
    /// If there are more values than a tensor holds.
    pub fn x(values: &[f32]) -> Ask {
        let x = Tensor::from_slice(&[values.len()], values).expect("as many as the shape has");
        Ask::new("x", x)
    }

    /// This input, within 20 s.
    #[must_use]
    pub fn new(name: &'static str, tensor: Tensor) -> Ask {
        let wall = Duration::from_secs(20);
        Ask { inputs: vec![(name, tensor)], parameters: BTreeMap::new(), wall }
    }

    /// The same with this input, too.
    #[must_use]
    pub fn and(mut self, name: &'static str, tensor: Tensor) -> Ask {
        self.inputs.push((name, tensor));
        self
    }

    /// The same within this time.
    #[must_use]
    pub fn within(self, wall: Duration) -> Ask {
        Ask { wall, ..self }
    }

    /// The same with this parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: Parameter) -> Ask {
        self.parameters.insert(name.to_owned(), value);
        self
    }

    fn request(self, model: &str) -> InferRequest {
        InferRequest {
            model: model.to_owned(),
            selector: Selector::Default,
            inputs: self.inputs.into_iter().map(|(name, x)| (name.to_owned(), x)).collect(),
            outputs: Vec::new(),
            parameters: self.parameters,
            tenant: "tenant".into(),
            deadline: Instant::now() + self.wall,
        }
    }
}

async fn opened(dir: &Path, change: impl FnOnce(&mut EngineConfig)) -> Arc<Engine> {
    let mut config = EngineConfig::new(dir);
    place(&mut config.sandbox);
    change(&mut config);
    Engine::open(config).await.unwrap_or_else(|error| panic!("{error}"))
}

impl Site {
    /// An engine whose registry holds the guests' plugins and no model.
    ///
    /// # Panics
    /// If the engine does not start or refuses the plugins.
    pub async fn start(change: impl FnOnce(&mut EngineConfig)) -> Site {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let key = SigningKey::generate().unwrap_or_else(|error| panic!("{error}"));
        std::fs::write(dir.path().join("trust.toml"), policy(&key)).expect("a policy is written");
        let engine = opened(dir.path(), change).await;
        let site = Site { engine, key, dir, packages: AtomicU64::new(0) };
        let composer = (composer(), "model", COMPOSER_CAPABILITIES);
        let published = site.publish_plugin("composer", composer).await;
        published.unwrap_or_else(|error| panic!("{error}"));
        let tracer = (tracer(), "tracing-format", TRACER_CAPABILITIES);
        let published = site.publish_plugin("tracer", tracer).await;
        published.unwrap_or_else(|error| panic!("{error}"));
        site
    }

    /// The same data in another engine, with what is changed; the first engine ends.
    ///
    /// # Panics
    /// If the engine does not start.
    pub async fn restarted(self, change: impl FnOnce(&mut EngineConfig)) -> Site {
        let Site { engine, key, dir, packages } = self;
        drop(engine);
        Site { engine: opened(dir.path(), change).await, key, dir, packages }
    }

    /// Publishes a component as a plugin of this name.
    ///
    /// # Errors
    /// The engine's.
    ///
    /// # Panics
    /// If it cannot be signed.
    pub async fn publish_plugin(
        &self,
        name: &str,
        (component, world, capabilities): (&[u8], &str, &str),
    ) -> Result<(), EngineError> {
        let signed = sign_as(&self.key, name, component, (world, capabilities));
        let signed = signed.unwrap_or_else(|refusal| panic!("{refusal}"));
        self.engine.publish_plugin(signed.wasm, &signed.dsse).await.map(|_| ())
    }

    /// Publishes and loads a guest that may call these models; the version.
    ///
    /// # Errors
    /// The engine's.
    pub async fn add(
        &self,
        name: &str,
        program: &str,
        models: &[&str],
    ) -> Result<u64, EngineError> {
        self.add_package(name, &model_toml(program, "composer", models)).await
    }

    /// Publishes and loads a package of this `model.toml`; the version.
    ///
    /// # Errors
    /// The engine's.
    ///
    /// # Panics
    /// If the package cannot be written.
    pub async fn add_package(&self, name: &str, toml: &str) -> Result<u64, EngineError> {
        let count = self.packages.fetch_add(1, Ordering::Relaxed);
        let folder = self.dir.path().join(format!("package-{count}"));
        std::fs::create_dir(&folder).expect("a new folder");
        std::fs::write(folder.join("model.toml"), toml).expect("it is written");
        let package = PackageFolder::read(&folder)?;
        let statement = self.statement(&package, count);
        let published = self.engine.publish_model(name, &package, &statement).await?;
        let is_served = || {
            let selector = Selector::Version(published.version);
            self.engine.model(name, &selector).is_ok()
        };
        while !is_served() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(published.version)
    }

    fn statement(&self, package: &PackageFolder, sequence: u64) -> Vec<u8> {
        let now = Timestamp::from_system(SystemTime::now() - Duration::from_secs(60));
        let release = ModelRelease {
            name: "acme/guest".parse().unwrap_or_else(|error| panic!("{error}")),
            version: "1.0.0".parse().unwrap_or_else(|error| panic!("{error}")),
            sequence,
            not_before: now,
            expires: now.plus_days(1),
        };
        sign_model(&release, &package.digests(), &self.key)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Asks for one answer.
    ///
    /// # Errors
    /// The engine's.
    pub async fn ask(&self, model: &str, ask: Ask) -> Result<InferResponse, EngineError> {
        self.engine.infer(ask.request(model)).await
    }

    /// The elements of the output `y`, or the error's code.
    ///
    /// # Panics
    /// If there is another output.
    pub async fn y(&self, model: &str, ask: Ask) -> Result<Vec<f32>, String> {
        let answer = self.ask(model, ask).await.map_err(|error| error.code().to_owned())?;
        let [(name, y)] = &answer.outputs[..] else { panic!("{} outputs", answer.outputs.len()) };
        assert_eq!(&**name, "y");
        Ok(y.as_slice::<f32>().expect("f32").to_vec())
    }

    /// Asks for an answer in parts: the items, and later the last part.
    #[must_use]
    pub fn stream(
        &self,
        model: &str,
        ask: Ask,
    ) -> (ItemReceiver, JoinHandle<Result<InferResponse, EngineError>>) {
        let (sender, receiver) = stream_items();
        let (engine, request) = (self.engine.clone(), ask.request(model));
        (receiver, tokio::spawn(async move { engine.infer_stream(request, sender).await }))
    }

    /// Asks for an answer in parts and reads them all: `y` of each, the last one's if it has one.
    ///
    /// # Errors
    /// What was read before the error, and its code.
    ///
    /// # Panics
    /// If the task panicked.
    pub async fn parts(
        &self,
        model: &str,
        ask: Ask,
    ) -> Result<Vec<Vec<f32>>, (Vec<Vec<f32>>, String)> {
        let (mut items, end) = self.stream(model, ask);
        let mut parts = Vec::new();
        let mut take = |answer: InferResponse| {
            let y = answer.outputs.into_iter().find(|(name, _)| &**name == "y");
            parts.extend(y.map(|(_, y)| y.as_slice::<f32>().expect("f32").to_vec()));
        };
        while let Some(item) = items.next().await {
            take(item.response);
        }
        match end.await.expect("no panic") {
            Ok(last) => {
                take(last);
                Ok(parts)
            }
            Err(error) => Err((parts, error.code().to_owned())),
        }
    }
}

/// The `model.toml` of one step of this plugin.
fn model_toml(program: &str, plugin: &str, models: &[&str]) -> String {
    let list = format!("{models:?}");
    let (input, outputs) = match program {
        "words" => (("text", "BYTES"), vec![("word", "BYTES")]),
        _ => (("x", "FP32"), vec![("y", "FP32")]),
    };
    let mut toml = format!(
        "[model]\nname = \"acme/guest\"\nversion = \"1.0.0\"\n\
         [[input]]\nname = \"{}\"\ndtype = \"{}\"\n\
         [[step]]\nname = \"guest\"\nplugin = \"acme/{plugin}\"\nmodels = {list}\n\
         config = {{ program = \"{program}\", models = {list} }}\n",
        input.0, input.1
    );
    for (name, dtype) in outputs {
        toml.push_str(&format!(
            "[[output]]\nname = \"{name}\"\nfrom = \"guest.{name}\"\ndtype = \"{dtype}\"\n"
        ));
    }
    if program == "words" {
        toml.push_str("[usage]\ntokens = \"guest.count\"\n");
    }
    toml
}

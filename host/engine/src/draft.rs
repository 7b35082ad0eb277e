//! A first `model.toml` for a folder of model files: what their format plugin says about them, written
//! down for an author to change.

use crate::engine::read_policy;
use crate::errors::{of_plugin, of_registry};
use crate::files::PackageFiles;
use crate::loader::{MANIFEST_FILE, verified_files};
use crate::publish::{FolderFiles, staged_files};
use crate::{Engine, EngineError, Family, ModelManifest};
use aimass_graph::Dim;
use aimass_registry::PluginRecord;
use aimass_sandbox::{BoxFuture, Plugin, PluginSetup, PluginSignature, PluginTensorSpec, World};
use aimass_trust::TrustPolicy;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// Step of the format plugin in errors.
const STEP: &str = "format";
/// The plan that a drafted step runs.
const PLAN: &str = "main";
/// Bytes of a name that clients use.
const NAME_BYTES_MAX: usize = 128;
/// Bytes of a dimension's name that is taken over; exporters write formulas there.
const DIM_BYTES_MAX: usize = 32;

/// What a drafted package is called, and who reads its files.
#[derive(Clone, Debug)]
pub struct DraftOptions {
    /// `publisher/name`.
    pub name: String,
    /// Semantic version of the release.
    pub version: String,
    /// License of the weights, as SPDX; left open if it is not known.
    pub license: Option<String>,
    /// The format plugin; if none is given, the installed ones are asked.
    pub format: Option<String>,
}

/// A drafted `model.toml`.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The format plugin, as `publisher/name@version`.
    pub plugin: String,
    /// What the plugin calls the format; absent if it was not asked for it.
    pub format: Option<String>,
    /// Text of the `model.toml`.
    pub text: String,
    /// The same, parsed and checked.
    pub manifest: ModelManifest,
}

/// A format plugin that is loaded for the files.
struct Reader {
    record: PluginRecord,
    plugin: Arc<Plugin>,
    format: Option<String>,
}

impl Engine {
    /// Drafts the `model.toml` of a folder that holds a model's files and no `model.toml`. The installed
    /// format plugins, or the one that `options` names, run on the files as they would for serving; the
    /// folder is left as it is.
    ///
    /// # Errors
    /// The folder cannot be read or has a `model.toml`; no plugin, or more than one, reads the files; what
    /// the plugin says against them.
    pub fn draft_package<'a>(
        &'a self,
        dir: &'a Path,
        options: &'a DraftOptions,
    ) -> BoxFuture<'a, Result<Draft, EngineError>> {
        Box::pin(self.draft(dir, options))
    }

    async fn draft(&self, dir: &Path, options: &DraftOptions) -> Result<Draft, EngineError> {
        let folder = FolderFiles::read(dir)?;
        if folder.names.iter().any(|name| name == MANIFEST_FILE) {
            let message = format!("{} has a {MANIFEST_FILE} already", dir.display());
            return Err(EngineError::new(Family::InvalidInput, "draft-exists", message));
        }
        if folder.names.is_empty() {
            let message = format!("{} holds no files; expected those of a model", dir.display());
            return Err(EngineError::new(Family::InvalidInput, "draft-empty", message));
        }
        let staged = self.stage("draft", &folder)?;
        let files = Arc::new(verified_files(staged_files(&staged)?)?);
        let policy = read_policy(&self.inner().config)?;
        let reader = match &options.format {
            Some(name) => self.reader(name, files, &policy).await?,
            None => self.reader_of(&files, &policy).await?,
        };
        let signature = self.signature_of(&reader.plugin).await?;
        let text = model_toml(options, &reader.record.name, &signature);
        Ok(Draft {
            manifest: ModelManifest::parse(&text)?,
            plugin: format!("{}@{}", reader.record.name, reader.record.version),
            format: reader.format,
            text,
        })
    }

    /// The newest version of a format plugin, loaded for these files.
    async fn reader(
        &self,
        name: &str,
        files: Arc<PackageFiles>,
        policy: &TrustPolicy,
    ) -> Result<Reader, EngineError> {
        let record = self.registry().plugin(name, None).map_err(|error| of_registry(&error))?;
        if !reads_files(&record) {
            let message = format!("{name} is of the world {}, which reads no files", record.world);
            return Err(EngineError::new(Family::InvalidInput, "draft-format", message));
        }
        let setup = PluginSetup { config: Arc::from(*b"{}"), files };
        let loader = &self.inner().loader;
        let plugin = loader.load_plugin(STEP, name, &record.digest, setup, policy).await?;
        Ok(Reader { record, plugin, format: None })
    }

    /// The one installed format plugin that knows these files.
    async fn reader_of(
        &self,
        files: &Arc<PackageFiles>,
        policy: &TrustPolicy,
    ) -> Result<Reader, EngineError> {
        let installed = self.registry().list_plugins().map_err(|error| of_registry(&error))?;
        let mut names: Vec<String> =
            installed.into_iter().filter(reads_files).map(|record| record.name).collect();
        names.sort();
        names.dedup();
        let (mut found, mut said): (Vec<Reader>, Vec<String>) = (Vec::new(), Vec::new());
        for name in names {
            match self.asked(&name, files, policy).await {
                Ok(Some(reader)) => found.push(reader),
                Ok(None) => said.push(format!("{name} does not know them")),
                Err(error) => said.push(format!("{name}: {error}")),
            }
        }
        let several: Vec<&str> = found.iter().map(|reader| &*reader.record.name).collect();
        if several.len() > 1 {
            let message = format!(
                "several plugins read these files: {}; choose one with --format",
                several.join(", ")
            );
            return Err(EngineError::new(Family::InvalidInput, "draft-format", message));
        }
        found.pop().ok_or_else(|| {
            let asked = match said.is_empty() {
                true => "none is installed".to_owned(),
                false => said.join("; "),
            };
            let message = format!(
                "no installed format plugin reads these files ({asked}); publish or install one \
                 that does, or write model.toml by hand"
            );
            EngineError::new(Family::NotFound, "draft-format", message)
        })
    }

    async fn asked(
        &self,
        name: &str,
        files: &Arc<PackageFiles>,
        policy: &TrustPolicy,
    ) -> Result<Option<Reader>, EngineError> {
        let reader = self.reader(name, files.clone(), policy).await?;
        let format = reader.plugin.detect().await.map_err(|error| of_plugin(STEP, &error))?;
        Ok(format.map(|format| Reader { format: Some(format), ..reader }))
    }

    /// What the model takes and gives.
    async fn signature_of(&self, plugin: &Plugin) -> Result<PluginSignature, EngineError> {
        let refused = |error| of_plugin(STEP, &error);
        if plugin.world() == World::TracingFormat {
            return plugin.load_signature().await.map_err(refused);
        }
        let loaded = plugin.load_graph(&self.inner().loader.options).await.map_err(refused)?;
        if loaded.plans.iter().any(|(name, _)| &**name == PLAN) {
            return Ok(loaded.signature);
        }
        let names: Vec<&str> = loaded.plans.iter().map(|(name, _)| &**name).collect();
        let message = format!(
            "the model has the plans {} and none called {PLAN}: a plugin of the world `model` must \
             say how they go together; write model.toml by hand",
            names.join(", ")
        );
        Err(EngineError::new(Family::InvalidInput, "draft-plans", message))
    }
}

/// Whether a plugin is of a world that reads model files.
fn reads_files(record: &PluginRecord) -> bool {
    let world = record.world.rsplit('/').next().unwrap_or_default();
    let world = world.split('@').next().unwrap_or_default();
    world == World::Format.as_str() || world == World::TracingFormat.as_str()
}

/// The manifest of a model of one step.
fn model_toml(options: &DraftOptions, plugin: &str, signature: &PluginSignature) -> String {
    let mut dims = DimNames::default();
    let inputs = Ports::of(&signature.inputs);
    let outputs = Ports::of(&signature.outputs);
    let mut step = "run".to_owned();
    while inputs.0.iter().any(|(port, _)| *port == step) {
        step.push('_');
    }
    let license = match &options.license {
        Some(license) => format!("license = {}", quoted(license)),
        None => "# license = \"Apache-2.0\"  # of the weights, as SPDX".to_owned(),
    };
    let mut text = format!(
        "# Drafted by `aimass model new` from what {plugin} says about the files; change what you know better.\n\
         [model]\nname = {}\nversion = {}\ndescription = \"\"\n{license}\n\n[format]\nplugin = {}\n",
        quoted(&options.name),
        quoted(&options.version),
        quoted(plugin),
    );
    for (port, spec) in &inputs.0 {
        let _ = write!(text, "\n[[input]]\nname = {}\n{}", quoted(port), dims.lines(spec));
    }
    let _ = write!(
        text,
        "\n[[step]]\nname = {}\nplan = {}\n[step.inputs]\n",
        quoted(&step),
        quoted(PLAN)
    );
    for (port, spec) in &inputs.0 {
        let _ = writeln!(text, "{} = {}", quoted(&spec.name), quoted(port));
    }
    for (port, spec) in &outputs.0 {
        let from = quoted(&format!("{step}.{}", spec.name));
        let _ = write!(
            text,
            "\n[[output]]\nname = {}\nfrom = {from}\n{}",
            quoted(port),
            dims.lines(spec)
        );
    }
    text
}

/// Tensors of the plan, each with the name that clients shall use.
struct Ports<'a>(Vec<(String, &'a PluginTensorSpec)>);

impl<'a> Ports<'a> {
    fn of(specs: &'a [PluginTensorSpec]) -> Ports<'a> {
        let mut ports: Vec<(String, &PluginTensorSpec)> = Vec::with_capacity(specs.len());
        for spec in specs {
            let plain = plain(&spec.name, NAME_BYTES_MAX - 4);
            let mut name = plain.clone();
            let mut count = 1;
            while ports.iter().any(|(other, _)| *other == name) {
                count += 1;
                name = format!("{plain}_{count}");
            }
            ports.push((name, spec));
        }
        Ports(ports)
    }
}

/// Names of the dimensions that are open: equal ones stay equal.
#[derive(Default)]
struct DimNames(BTreeMap<Arc<str>, String>);

impl DimNames {
    /// The lines `dtype` and `shape` of a port.
    fn lines(&mut self, spec: &PluginTensorSpec) -> String {
        let dtype = spec.dtype.map_or("ANY", |dtype| dtype.oip_name().unwrap_or("ANY"));
        let mut lines = format!("dtype = {}\n", quoted(dtype));
        if let Some(dims) = &spec.dims {
            let dims: Vec<String> = dims.iter().map(|dim| self.extent(dim)).collect();
            let _ = writeln!(lines, "shape = [{}]", dims.join(", "));
        }
        lines
    }

    fn extent(&mut self, dim: &Dim) -> String {
        match dim {
            Dim::Fixed(extent) => extent.to_string(),
            Dim::Batch => quoted("batch"),
            Dim::Ragged(name) | Dim::Dynamic(name) => quoted(self.name(name)),
        }
    }

    fn name(&mut self, name: &Arc<str>) -> &str {
        let number = self.0.len() + 1;
        self.0.entry(name.clone()).or_insert_with(|| {
            let kept = name.len() <= DIM_BYTES_MAX && plain(name, DIM_BYTES_MAX) == **name;
            if kept { name.to_string() } else { format!("extent_{number}") }
        })
    }
}

/// A name of letters, digits, `_` and `-`, as `model.toml` takes it.
fn plain(name: &str, bytes_max: usize) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.chars().map(good).take(bytes_max).collect();
    let trimmed = name.trim_matches('_');
    if trimmed.is_empty() { "x".to_owned() } else { trimmed.to_owned() }
}

/// As a string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortDim;
    use aimass_tensor::DType;

    fn spec(name: &str, dtype: Option<DType>, dims: Option<Vec<Dim>>) -> PluginTensorSpec {
        PluginTensorSpec { name: name.into(), dtype, dims, description: String::new() }
    }

    fn drafted(inputs: Vec<PluginTensorSpec>, outputs: Vec<PluginTensorSpec>) -> ModelManifest {
        let options = DraftOptions {
            name: "you/it".to_owned(),
            version: "1.0.0".to_owned(),
            license: Some("MIT \"or\" so".to_owned()),
            format: None,
        };
        let signature = PluginSignature { inputs, outputs };
        let text = model_toml(&options, "aimass/onnx", &signature);
        ModelManifest::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn names_of_exporters_become_ports_that_clients_can_use() {
        let formula: Arc<str> = "floor(height/2 - 1/2) + 1".into();
        let dims = vec![Dim::Batch, Dim::Fixed(3), Dim::Dynamic("width".into())];
        let manifest = drafted(
            vec![spec("input:0", Some(DType::F32), Some(dims)), spec("run", None, None)],
            vec![
                spec("a.b", Some(DType::I64), Some(vec![Dim::Dynamic(formula.clone()); 2])),
                spec("a/b", Some(DType::Bool), Some(vec![Dim::Dynamic("width".into())])),
                spec("a b", Some(DType::F16), Some(vec![Dim::Dynamic("::".into())])),
            ],
        );
        let names: Vec<&str> = manifest.inputs.iter().map(|port| &*port.name).collect();
        assert_eq!(names, ["input_0", "run"]);
        let named = |name: &str| PortDim::Named(name.to_owned());
        let shape = manifest.inputs[0].shape.as_ref().unwrap();
        assert_eq!(*shape, [named("batch"), PortDim::Fixed(3), named("width")]);
        assert_eq!((&*manifest.inputs[1].dtype, &manifest.inputs[1].shape), ("ANY", &None));
        let step = &manifest.steps[0];
        assert_eq!(step.name, "run_", "an input has the name already");
        let reads = step.inputs.as_ref().unwrap();
        assert_eq!((&*reads["input:0"], &*reads["run"]), ("input_0", "run"));
        let outputs: Vec<(&str, &str)> =
            manifest.outputs.iter().map(|port| (&*port.name, &*port.from)).collect();
        assert_eq!(outputs, [("a_b", "run_.a.b"), ("a_b_2", "run_.a/b"), ("a_b_3", "run_.a b")]);
        let shape = |at: usize| manifest.outputs[at].shape.clone().unwrap();
        assert_eq!(shape(0), [named("extent_2"), named("extent_2")], "equal ones stay equal");
        assert_eq!((shape(1), shape(2)), (vec![named("width")], vec![named("extent_3")]));
        assert_eq!(manifest.model.license.as_deref(), Some("MIT \"or\" so"));
    }
}

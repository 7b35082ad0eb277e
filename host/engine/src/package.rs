//! `model.toml`: what a model package says about itself.
//!
//! ```toml
//! [model]
//! name = "aimass/minilm"          # publisher/name, as the statement signs it
//! version = "1.0.0"
//!
//! [format]                        # absent in pipelines of plugins alone
//! plugin = "aimass/bert"
//!
//! [[input]]
//! name = "text"
//! dtype = "BYTES"
//! shape = ["batch"]               # numbers are fixed, names are any extent
//!
//! [[step]]
//! name = "tokenize"
//! plugin = "aimass/wordpiece"
//! inputs = { text = "text" }      # a model input, or `step.output` of an earlier step
//!
//! [[step]]
//! name = "encode"
//! plan = "main"                   # a plan that the format plugin built
//! inputs = { input_ids = "tokenize.input_ids", offsets = "tokenize.offsets" }
//!
//! [[step]]
//! name = "refine"
//! plugin = "acme/refine"          # of the world `model`
//! models = ["small", "large@2"]   # models that it may call; none unless they are named here
//!
//! [[output]]
//! name = "hidden"
//! from = "encode.hidden"
//! dtype = "FP32"
//! shape = ["tokens", 384]
//!
//! [usage]
//! tokens = "tokenize.token_counts"
//! ```

use crate::EngineError;
use aimass_registry::parse_reference;
use aimass_tensor::DType;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Bytes that a `model.toml` may have.
pub const MODEL_TOML_BYTES_MAX: usize = 256 << 10;
/// Steps, inputs and outputs that a model may have, each.
const LIST_LEN_MAX: usize = 64;

/// A parsed `model.toml`; names and references are checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Name and version of the package.
    pub model: ModelSection,
    /// The plugin that turns the files into plans.
    pub format: Option<FormatSection>,
    /// Inputs of the model, in order.
    #[serde(default, rename = "input")]
    pub inputs: Vec<Port>,
    /// Steps, each behind the ones it reads from.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
    /// Outputs of the model, in order.
    #[serde(default, rename = "output")]
    pub outputs: Vec<OutputPort>,
    /// How use is counted.
    #[serde(default)]
    pub usage: UsageSection,
}

/// Section `[model]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// `publisher/name`.
    pub name: String,
    /// Semantic version of the release.
    pub version: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// License of the weights, as SPDX.
    pub license: Option<String>,
}

/// Section `[format]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatSection {
    /// `publisher/name` of a plugin of world `format`.
    pub plugin: String,
    /// Exact version; none takes the newest at publication.
    pub version: Option<String>,
    /// The plugin's configuration.
    #[serde(default)]
    pub config: toml::Table,
}

/// A section `[[input]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Name that clients use.
    pub name: String,
    /// OIP dtype name, or `ANY`.
    pub dtype: String,
    /// Extents: a number is fixed, a name is any extent (equal names mean equal extents). None accepts
    /// any shape.
    pub shape: Option<Vec<PortDim>>,
}

/// A section `[[output]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputPort {
    /// Name that clients use.
    pub name: String,
    /// `step.output`, or the name of a model input.
    pub from: String,
    /// OIP dtype name, or `ANY`.
    pub dtype: String,
    /// As in `[[input]]`.
    pub shape: Option<Vec<PortDim>>,
}

/// One extent of a port.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum PortDim {
    /// Exactly this extent.
    Fixed(u64),
    /// Any extent, equal wherever the name is the same.
    Named(String),
}

/// A section `[[step]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Name, unique in the model.
    pub name: String,
    /// `publisher/name` of a plugin of world `processor` or `model`.
    pub plugin: Option<String>,
    /// Exact version of the plugin; none takes the newest at publication.
    pub version: Option<String>,
    /// Models that the plugin may call, at most 64: `name` for every version, `name@label` or
    /// `name@version` for that one. None: no model.
    #[serde(default)]
    pub models: Vec<String>,
    /// Name of a plan that the format plugin built; instead of `plugin`.
    pub plan: Option<String>,
    /// The step's input names and what they read. Absent: every model input under its own name.
    pub inputs: Option<BTreeMap<String, String>>,
    /// The plugin's configuration.
    #[serde(default)]
    pub config: toml::Table,
}

/// Section `[usage]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageSection {
    /// `step.output` whose elements, summed, are the tokens of a call.
    pub tokens: Option<String>,
}

impl ModelManifest {
    /// Reads and checks a `model.toml`.
    ///
    /// # Errors
    /// Invalid input, with the line where the text is wrong, or the reference that leads nowhere.
    pub fn parse(text: &str) -> Result<ModelManifest, EngineError> {
        if text.len() > MODEL_TOML_BYTES_MAX {
            return Err(EngineError::invalid(format!(
                "model.toml has at most {MODEL_TOML_BYTES_MAX} bytes, got {}",
                text.len()
            )));
        }
        let manifest: ModelManifest = toml::from_str(text)
            .map_err(|error| EngineError::invalid(format!("model.toml: {error}")))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Every plugin that the model uses: step name (`format` for the format plugin), plugin name
    /// and version wanted.
    pub fn plugins(&self) -> impl Iterator<Item = (&str, &str, Option<&str>)> {
        let format = self.format.iter().map(|f| ("format", &*f.plugin, f.version.as_deref()));
        let steps = self.steps.iter().filter_map(|step| {
            let plugin = step.plugin.as_deref()?;
            Some((&*step.name, plugin, step.version.as_deref()))
        });
        format.chain(steps)
    }

    /// Every model that a step may call, as it is written: `name`, `name@label` or `name@version`.
    pub fn models_called(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().flat_map(|step| step.models.iter().map(String::as_str))
    }

    fn check(&self) -> Result<(), EngineError> {
        let lens = [self.inputs.len(), self.steps.len(), self.outputs.len()];
        if lens.iter().any(|&len| len > LIST_LEN_MAX) {
            return Err(wrong(format!(
                "inputs, steps and outputs are at most {LIST_LEN_MAX} each"
            )));
        }
        if self.outputs.is_empty() {
            return Err(wrong("expected at least one [[output]], got none"));
        }
        let mut known: Vec<&str> = Vec::new();
        for input in &self.inputs {
            check_dtype(&input.name, &input.dtype)?;
            check_name(&input.name, &known)?;
            known.push(&input.name);
        }
        for step in &self.steps {
            self.check_step(step, &known)?;
            known.push(&step.name);
        }
        for output in &self.outputs {
            check_dtype(&output.name, &output.dtype)?;
            self.check_reference(&output.name, &output.from, &known)?;
        }
        match &self.usage.tokens {
            Some(tokens) => self.check_reference("usage.tokens", tokens, &known),
            None => Ok(()),
        }
    }

    fn check_step(&self, step: &Step, known: &[&str]) -> Result<(), EngineError> {
        check_name(&step.name, known)?;
        if step.name == "format" {
            return Err(wrong("a step cannot be called `format`; choose another name"));
        }
        match (&step.plugin, &step.plan) {
            (Some(_), None) => {}
            (None, Some(_)) if self.format.is_some() => {}
            (None, Some(plan)) => {
                return Err(wrong(format!(
                    "step {} runs plan {plan}, but there is no [format] plugin to build it",
                    step.name
                )));
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(wrong(format!("step {} needs either `plugin` or `plan`", step.name)));
            }
        }
        check_models(step)?;
        for source in step.inputs.iter().flat_map(BTreeMap::values) {
            self.check_reference(&step.name, source, known)?;
        }
        Ok(())
    }

    fn check_reference(
        &self,
        reader: &str,
        source: &str,
        known: &[&str],
    ) -> Result<(), EngineError> {
        let is_input = self.inputs.iter().any(|input| input.name == source);
        let owner = source.split_once('.').map(|(step, _)| step);
        let is_step = owner.is_some_and(|step| {
            known.contains(&step) && self.steps.iter().any(|other| other.name == step)
        });
        if is_input || is_step {
            return Ok(());
        }
        Err(wrong(format!(
            "{reader} reads {source:?}: expected a model input or `step.output` of an earlier \
             step; known so far: {}",
            known.join(", ")
        )))
    }
}

/// The dtype that a port names; `None` for `ANY`.
pub(crate) fn port_dtype(name: &str) -> Option<DType> {
    DType::from_oip_name(name).ok()
}

fn check_dtype(port: &str, dtype: &str) -> Result<(), EngineError> {
    if dtype == "ANY" {
        return Ok(());
    }
    match DType::from_oip_name(dtype) {
        Ok(_) => Ok(()),
        Err(error) => Err(wrong(format!("{port}: {error}, or ANY"))),
    }
}

fn check_models(step: &Step) -> Result<(), EngineError> {
    if step.models.len() > LIST_LEN_MAX {
        let got = step.models.len();
        return Err(wrong(format!(
            "step {}: `models` names at most {LIST_LEN_MAX}, got {got}",
            step.name
        )));
    }
    if step.plugin.is_none() && !step.models.is_empty() {
        return Err(wrong(format!("step {} runs a plan, which calls no `models`", step.name)));
    }
    for model in &step.models {
        parse_reference(model)
            .map_err(|error| wrong(format!("step {}, `models`: {error}", step.name)))?;
    }
    Ok(())
}

fn check_name(name: &str, known: &[&str]) -> Result<(), EngineError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
        return Err(wrong(format!(
            "names have 1 to 128 letters, digits, `_` or `-`, got {name:?}"
        )));
    }
    if known.contains(&name) {
        return Err(wrong(format!("the name {name} is used twice")));
    }
    Ok(())
}

fn wrong(message: impl Into<String>) -> EngineError {
    EngineError::new(
        crate::Family::InvalidInput,
        "model-toml",
        format!("model.toml: {}", message.into()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "[model]\nname = \"a/b\"\nversion = \"1.0.0\"\n";

    fn check(body: &str) -> Result<ModelManifest, String> {
        ModelManifest::parse(&format!("{HEAD}{body}")).map_err(|error| error.to_string())
    }

    #[test]
    fn references_must_lead_to_inputs_or_earlier_steps() {
        let input = "[[input]]\nname = \"x\"\ndtype = \"ANY\"\n";
        let step = "[[step]]\nname = \"s\"\nplugin = \"a/p\"\ninputs = { x = \"x\" }\n";
        let output = "[[output]]\nname = \"y\"\nfrom = \"s.y\"\ndtype = \"FP32\"\n";
        assert!(check(&format!("{input}{step}{output}")).is_ok());
        let wrong = check(&format!("{input}{output}{step}").replace("s.y", "t.y")).unwrap_err();
        assert!(wrong.contains("\"t.y\"") && wrong.contains("known so far: x, s"), "{wrong}");
        let early = step.replace("{ x = \"x\" }", "{ x = \"s.y\" }");
        assert!(check(&format!("{input}{early}{output}")).is_err(), "a step cannot read itself");
    }

    #[test]
    fn steps_need_exactly_one_of_plugin_and_plan() {
        let output = "[[output]]\nname = \"y\"\nfrom = \"s.y\"\ndtype = \"FP32\"\n";
        assert!(check(&format!("[[step]]\nname = \"s\"\n{output}")).is_err());
        let plan = format!("[[step]]\nname = \"s\"\nplan = \"main\"\n{output}");
        assert!(check(&plan).unwrap_err().contains("no [format] plugin"));
        assert!(check(&format!("[format]\nplugin = \"a/f\"\n{plan}")).is_ok());
    }

    #[test]
    fn models_are_references_of_plugin_steps() {
        let output = "[[output]]\nname = \"y\"\nfrom = \"s.y\"\ndtype = \"FP32\"\n";
        let step = |models: &str| {
            check(&format!(
                "[[step]]\nname = \"s\"\nplugin = \"a/p\"\nmodels = [{models}]\n{output}"
            ))
        };
        let good = step("\"small\", \"large@stable\", \"old@3\"").unwrap();
        assert_eq!(good.models_called().collect::<Vec<_>>(), ["small", "large@stable", "old@3"]);
        for wrong in ["\"\"", "\"A\"", "\"a@\"", "\"a@0\"", "\"a@b@c\""] {
            assert!(step(wrong).unwrap_err().contains("`models`"), "{wrong}");
        }
        let many = |count: usize| step(&vec!["\"a\""; count].join(","));
        assert!(many(64).is_ok() && many(65).unwrap_err().contains("at most 64"));
        let plan = format!(
            "[format]\nplugin = \"a/f\"\n[[step]]\nname = \"s\"\nplan = \"main\"\n\
             models = [\"a\"]\n{output}"
        );
        assert!(check(&plan).unwrap_err().contains("runs a plan"));
    }

    #[test]
    fn unknown_keys_and_dtypes_are_named() {
        let output = "[[output]]\nname = \"y\"\nfrom = \"x\"\ndtype = \"FLOAT\"\n";
        assert!(check("[typo]\n").unwrap_err().contains("typo"));
        assert!(check(output).unwrap_err().contains("FLOAT"));
    }
}

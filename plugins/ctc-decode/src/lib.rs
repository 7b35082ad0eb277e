//! Reads the text that a CTC model recognized: the best class of each step, repeats and blanks left out
//! (best path decoding, A. Graves et al., "Connectionist temporal classification", ICML 2006, §3.2).
//!
//! | tensor          | shape                     | dtype |                                               |
//! |-----------------|---------------------------|-------|-----------------------------------------------|
//! | `probabilities` | `[batch, steps, classes]` | f32   | of the classes at each step                   |
//! | `text`          | `[batch]`                 | bytes | what was read                                 |
//! | `score`         | `[batch]`                 | f32   | mean probability of what was read, 0 of none  |
//! | `steps`         | `[ragged(offsets)]`       | u32   | the step at which each label was read         |
//! | `offsets`       | `[batch + 1]`             | u32   | where each text's steps start                 |
//!
//! A host kernel finds the best classes; only they enter the plugin.

mod labels;
mod path;
#[cfg(test)]
mod reference_tests;

use aimass_sdk::ops;
use aimass_sdk::prelude::*;
use serde::Deserialize;

use labels::{Blank, Labels, LabelsConfig};
use path::Reading;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    labels: Option<Vec<String>>,
    labels_file: Option<String>,
    onnx_file: Option<String>,
    #[serde(default = "character")]
    onnx_key: String,
    #[serde(default)]
    space: bool,
    #[serde(default)]
    blank: Blank,
    #[serde(default)]
    softmax: bool,
}

fn character() -> String {
    "character".to_owned()
}

/// The plugin.
#[derive(Debug)]
pub struct CtcDecode {
    labels: Labels,
    softmax: bool,
}

impl Processor for CtcDecode {
    fn init(config: Config) -> Result<Self> {
        let settings: Settings = config.parse()?;
        let labels = Labels::load(LabelsConfig {
            inline: settings.labels,
            file: settings.labels_file,
            onnx_file: settings.onnx_file,
            onnx_key: settings.onnx_key,
            space: settings.space,
            blank: settings.blank,
        })?;
        Ok(CtcDecode { labels, softmax: settings.softmax })
    }

    fn describe(&self) -> Signature {
        let classes = Dim::Fixed(self.labels.classes() as u64);
        let steps = [Dim::Batch, Dim::dynamic("steps"), classes];
        Signature::new()
            .input(TensorSpec::new("probabilities", DType::F32, steps))
            .output(TensorSpec::new("text", DType::Bytes, [Dim::Batch]))
            .output(TensorSpec::new("score", DType::F32, [Dim::Batch]))
            .output(TensorSpec::new("steps", DType::U32, [Dim::ragged("offsets")]))
            .output(TensorSpec::new("offsets", DType::U32, [Dim::dynamic("offsets+1")]))
    }

    fn process(&self, inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
        let probabilities = inputs.get("probabilities")?;
        let [batch, steps, _] = probabilities.extents()?;
        let mut reading = Reading::default();
        if batch * steps == 0 {
            (0..batch).try_for_each(|_| reading.read(&self.labels, &[], &[]))?;
        } else {
            let normal = self.softmax.then(|| ops::softmax(probabilities, 2)).transpose()?;
            let (best, classes) = ops::top_k(normal.as_ref().unwrap_or(probabilities), 1)?;
            let (best, classes) = (best.to_vec::<f32>()?, classes.to_vec::<i64>()?);
            let rows = classes.chunks(steps as usize).zip(best.chunks(steps as usize));
            for (classes, best) in rows {
                reading.read(&self.labels, classes, best)?;
            }
        }
        let steps = reading.steps.len() as u64;
        Ok(Outputs::from([
            ("text", Tensor::strings(&[batch], &reading.texts)?),
            ("score", Tensor::from_slice(&[batch], &reading.scores)?),
            ("steps", Tensor::from_slice(&[steps], &reading.steps)?),
            ("offsets", Tensor::from_slice(&[batch + 1], &reading.offsets)?),
        ]))
    }
}

aimass_sdk::export_processor!(CtcDecode);

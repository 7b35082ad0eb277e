//! Turns logits into the most probable classes.
//!
//! | tensor          | shape              | dtype |                                               |
//! |-----------------|--------------------|-------|-----------------------------------------------|
//! | `logits`        | `[batch, classes]` | f32   |                                               |
//! | `probabilities` | `[batch, k]`       | f32   | `softmax(logits)`, largest first              |
//! | `indices`       | `[batch, k]`       | i64   | classes of the probabilities                  |
//! | `labels`        | `[batch, k]`       | bytes | their names; only if names are configured     |
//!
//! `k` is configured; a request may set the parameter `k`. Never more than there are classes.
//! Host kernels do the arithmetic; only the indices enter the plugin, and only to be named.

use aimass_sdk::files::File;
use aimass_sdk::ops;
use aimass_sdk::prelude::*;
use serde::Deserialize;

/// Bytes of a label file at most.
const LABEL_BYTES_MAX: u64 = 16 << 20;

/// Classes that are answered at most.
const K_MAX: u64 = 65_536;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "five")]
    k: u64,
    labels: Option<Vec<String>>,
    labels_file: Option<String>,
}

fn five() -> u64 {
    5
}

/// The plugin.
#[derive(Debug)]
pub struct SoftmaxTopK {
    k: u64,
    labels: Option<Vec<String>>,
}

impl Processor for SoftmaxTopK {
    fn init(config: Config) -> Result<Self> {
        let settings: Settings = config.parse()?;
        let labels = match (settings.labels, settings.labels_file) {
            (Some(_), Some(_)) => {
                let message = "labels: expected either labels or labels_file, got both";
                return Err(Error::input("config", message));
            }
            (Some(labels), None) => Some(labels),
            (None, Some(name)) => Some(lines(&File::open(&name)?.read_all(LABEL_BYTES_MAX)?)?),
            (None, None) => None,
        };
        check_k(settings.k)?;
        Ok(SoftmaxTopK { k: settings.k, labels })
    }

    fn describe(&self) -> Signature {
        let answer = || [Dim::Batch, Dim::dynamic("k")];
        let signature = Signature::new()
            .input(TensorSpec::new("logits", DType::F32, [Dim::Batch, Dim::dynamic("classes")]))
            .output(TensorSpec::new("probabilities", DType::F32, answer()))
            .output(TensorSpec::new("indices", DType::I64, answer()));
        match &self.labels {
            Some(_) => signature.output(TensorSpec::new("labels", DType::Bytes, answer())),
            None => signature,
        }
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        let logits = inputs.get("logits")?;
        let [_, classes] = logits.extents()?;
        let k = match parameters.integer("k")? {
            Some(k) => check_k(u64::try_from(k).unwrap_or(0))?,
            None => self.k,
        };
        let (probabilities, indices) = ops::top_k(&ops::softmax(logits, 1)?, k.min(classes))?;
        let labels = match &self.labels {
            Some(labels) => {
                let names = names(labels, &indices.to_vec::<i64>()?)?;
                Some(Tensor::strings(&indices.shape(), names)?)
            }
            None => None,
        };
        let outputs = Outputs::from([("probabilities", probabilities), ("indices", indices)]);
        Ok(match labels {
            Some(labels) => outputs.with("labels", labels),
            None => outputs,
        })
    }
}

aimass_sdk::export_processor!(SoftmaxTopK);

fn check_k(k: u64) -> Result<u64> {
    if (1..=K_MAX).contains(&k) {
        return Ok(k);
    }
    Err(Error::input("parameter", format!("k: expected 1 to {K_MAX}, got {k}")))
}

/// The lines of a label file; one newline at its end does not start another.
fn lines(text: &[u8]) -> Result<Vec<String>> {
    let text = core::str::from_utf8(text)
        .map_err(|error| Error::input("labels", format!("labels_file: expected UTF-8: {error}")))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn names<'a>(labels: &'a [String], indices: &[i64]) -> Result<Vec<&'a str>> {
    let name = |index: &i64| {
        let label = usize::try_from(*index).ok().and_then(|index| labels.get(index));
        label.map(String::as_str).ok_or_else(|| {
            let message =
                format!("labels: expected a name for class {index}, got {}", labels.len());
            Error::internal("labels", message)
        })
    };
    indices.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_named_by_their_lines() {
        let labels = lines(b"cat\ndog\r\nno label\n").unwrap();
        assert_eq!(names(&labels, &[2, 0]), Ok(vec!["no label", "cat"]));
        let error = names(&labels, &[3]).unwrap_err();
        assert_eq!(error.message, "labels: expected a name for class 3, got 3");
        assert!(lines(b"\xff").is_err());
    }

    #[test]
    fn k_has_bounds() {
        assert_eq!(check_k(1), Ok(1));
        assert!(check_k(0).is_err());
        assert!(check_k(K_MAX + 1).is_err());
    }
}

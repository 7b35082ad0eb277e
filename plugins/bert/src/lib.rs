//! Reads BERT encoders in Hugging Face format and builds their graph.
//!
//! | tensor      | shape                       | dtype |                                            |
//! |-------------|-----------------------------|-------|--------------------------------------------|
//! | `input_ids` | `[ragged(offsets)]`         | i32   | token ids of all sequences                 |
//! | `offsets`   | `[sequences + 1]`           | u32   | where each sequence's tokens start         |
//! | `hidden`    | `[ragged(offsets), hidden]` | f32   | last layer's output                        |
//! | `logits`    | `[batch, classes]`          | f32   | instead of `hidden`, with a classification head |
//!
//! The package holds `config.json` and one or more `*.safetensors`. Weights stay in the host: only
//! the headers are read here, and every number in them is checked.

mod architecture;
mod checkpoint;
mod encoder;
mod safetensors;

use aimass_sdk::files::{File, FileInfo};
use aimass_sdk::prelude::*;
use serde::Deserialize;

use architecture::{HuggingFaceConfig, Overrides};
use checkpoint::Checkpoint;
use encoder::Head;

/// Bytes of `config.json` at most.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    head: Head,
    architecture: Overrides,
}

/// The plugin.
#[derive(Debug)]
pub struct Bert {
    settings: Settings,
}

impl Format for Bert {
    fn init(config: Config) -> Result<Self> {
        Ok(Bert { settings: config.parse()? })
    }

    fn detect(&self, files: &[FileInfo]) -> Option<String> {
        let has = |wanted: fn(&str) -> bool| files.iter().any(|file| wanted(&file.name));
        let is_model =
            has(|name| name == "config.json") && has(|name| name.ends_with(".safetensors"));
        is_model.then(|| "bert-safetensors".to_owned())
    }

    fn load(&self, files: &[FileInfo]) -> Result<LoadedModel> {
        let config = if files.iter().any(|file| file.name == "config.json") {
            let json = File::open("config.json")?.read_all(CONFIG_BYTES_MAX)?;
            HuggingFaceConfig::parse(&json)?
        } else {
            HuggingFaceConfig::default()
        };
        let checkpoint = Checkpoint::open(files)?;
        let overrides = self.settings.architecture.clone();
        let architecture = config.architecture(overrides, checkpoint.extents()?)?;
        let graph = encoder::build(&checkpoint, &architecture, self.settings.head)?;
        Ok(LoadedModel::of_graph(graph))
    }
}

aimass_sdk::export_format!(Bert);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_with_config_and_safetensors_is_detected() {
        let bert = Bert { settings: Settings::default() };
        let files = |names: &[&str]| -> Vec<FileInfo> {
            let info = |name: &&str| FileInfo { name: (*name).to_owned(), size: 1 };
            names.iter().map(info).collect()
        };
        let detect = |names: &[&str]| bert.detect(&files(names));
        assert_eq!(
            detect(&["config.json", "model.safetensors"]).as_deref(),
            Some("bert-safetensors")
        );
        assert_eq!(detect(&["model.safetensors"]), None);
        assert_eq!(detect(&["config.json", "model.onnx"]), None);
    }
}

//! `config.json` of a BERT model, checked.

use aimass_sdk::graph::GeluForm;
use aimass_sdk::prelude::*;
use serde::Deserialize;

/// Layers at most; the largest published BERT has 48.
const LAYERS_MAX: u64 = 1024;

/// The keys of `config.json` that decide what is computed. Others do not matter for inference.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct HuggingFaceConfig {
    model_type: Option<String>,
    num_attention_heads: Option<u32>,
    hidden_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f32>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    add_cross_attention: bool,
}

/// Values of the plugin's configuration that replace those of `config.json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Overrides {
    num_attention_heads: Option<u32>,
    hidden_act: Option<String>,
    layer_norm_eps: Option<f32>,
}

/// What the feed-forward layer applies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    Gelu(GeluForm),
    Relu,
    Silu,
}

/// What the tensors' shapes say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extents {
    pub(crate) hidden: u64,
    pub(crate) layers: u64,
}

/// Everything that shapes alone do not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Architecture {
    pub(crate) hidden: u64,
    pub(crate) layers: u64,
    pub(crate) heads: u32,
    pub(crate) activation: Activation,
    pub(crate) epsilon: f32,
}

impl HuggingFaceConfig {
    /// Reads the JSON text.
    ///
    /// # Errors
    /// `input/config-json`.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json)
            .map_err(|error| Error::input("config-json", format!("config.json: {error}")))
    }

    /// The architecture, where the configuration and the tensors agree.
    ///
    /// # Errors
    /// `unsupported/architecture` for what is no plain BERT encoder; `input/config-json` where the
    /// values are missing or contradict the tensors.
    pub(crate) fn architecture(self, overrides: Overrides, found: Extents) -> Result<Architecture> {
        self.refuse_other_architectures()?;
        agree("hidden_size", self.hidden_size, found.hidden)?;
        agree("num_hidden_layers", self.num_hidden_layers, found.layers)?;
        if found.layers > LAYERS_MAX {
            let message = format!("expected at most {LAYERS_MAX} layers, got {}", found.layers);
            return Err(Error::limit("layers", message));
        }
        let heads = overrides.num_attention_heads.or(self.num_attention_heads);
        let heads = heads.ok_or_else(|| {
            invalid("expected num_attention_heads in config.json or the plugin's configuration")
        })?;
        if heads == 0 || !found.hidden.is_multiple_of(heads.into()) {
            let hidden = found.hidden;
            let message = format!("expected num_attention_heads to divide {hidden}, got {heads}");
            return Err(invalid(message));
        }
        let activation = overrides.hidden_act.or(self.hidden_act);
        let epsilon = overrides.layer_norm_eps.or(self.layer_norm_eps).unwrap_or(1e-12);
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(invalid(format!("expected layer_norm_eps above 0, got {epsilon}")));
        }
        Ok(Architecture {
            hidden: found.hidden,
            layers: found.layers,
            heads,
            activation: Activation::named(activation.as_deref().unwrap_or("gelu"))?,
            epsilon,
        })
    }

    fn refuse_other_architectures(&self) -> Result<()> {
        let model = self.model_type.as_deref().unwrap_or("bert");
        let positions = self.position_embedding_type.as_deref().unwrap_or("absolute");
        if model != "bert" {
            return Err(unsupported("model_type", "bert", model));
        }
        if positions != "absolute" {
            return Err(unsupported("position_embedding_type", "absolute", positions));
        }
        if self.is_decoder || self.add_cross_attention {
            return Err(unsupported("an encoder", "is_decoder false", "a decoder"));
        }
        Ok(())
    }
}

impl Activation {
    fn named(name: &str) -> Result<Self> {
        match name {
            "gelu" => Ok(Activation::Gelu(GeluForm::Erf)),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::Gelu(GeluForm::Tanh)),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            other => Err(unsupported("hidden_act", "gelu, gelu_new, relu or silu", other)),
        }
    }
}

fn agree(key: &str, configured: Option<u64>, found: u64) -> Result<()> {
    match configured {
        Some(configured) if configured != found => {
            Err(invalid(format!("{key}: config.json says {configured}, the tensors {found}")))
        }
        Some(_) | None => Ok(()),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::input("config-json", message)
}

fn unsupported(what: &str, expected: &str, got: &str) -> Error {
    let message = format!("{what}: expected {expected}, got {got}");
    Error::unsupported("architecture", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: Extents = Extents { hidden: 384, layers: 6 };
    const MINI_LM: &str = r#"{
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu",
        "hidden_size": 384, "num_attention_heads": 12, "num_hidden_layers": 6,
        "layer_norm_eps": 1e-12, "position_embedding_type": "absolute", "use_cache": true
    }"#;

    fn architecture(json: &str) -> Result<Architecture> {
        HuggingFaceConfig::parse(json.as_bytes())?.architecture(Overrides::default(), FOUND)
    }

    #[test]
    fn a_bert_is_understood() {
        let expected = Architecture {
            hidden: 384,
            layers: 6,
            heads: 12,
            activation: Activation::Gelu(GeluForm::Erf),
            epsilon: 1e-12,
        };
        assert_eq!(architecture(MINI_LM), Ok(expected));
    }

    #[test]
    fn what_is_no_plain_bert_is_refused_by_key() {
        #[track_caller]
        fn check(from: &str, to: &str, message: &str) {
            let json = MINI_LM.replacen(from, to, 1);
            assert_ne!(json, MINI_LM);
            let error = architecture(&json).unwrap_err();
            assert!(error.message.contains(message), "{error}");
        }
        check("\"bert\"", "\"roberta\"", "model_type: expected bert, got roberta");
        check("absolute", "relative_key", "position_embedding_type: expected absolute");
        check("\"use_cache\"", "\"is_decoder\"", "got a decoder");
        check("\"gelu\"", "\"mish\"", "hidden_act: expected gelu");
        check("12,", "7,", "expected num_attention_heads to divide 384, got 7");
        check(
            "\"hidden_size\": 384",
            "\"hidden_size\": 768",
            "config.json says 768, the tensors 384",
        );
        check("1e-12", "-1", "expected layer_norm_eps above 0, got -1");
        check("1e-12", "\"x\"", "expected f32");
    }

    #[test]
    fn the_plugins_configuration_stands_in_for_a_missing_file() {
        let none = HuggingFaceConfig::default();
        let error = none.clone().architecture(Overrides::default(), FOUND).unwrap_err();
        assert!(error.message.contains("num_attention_heads"), "{error}");
        let overrides = Overrides { num_attention_heads: Some(12), ..Overrides::default() };
        assert_eq!(none.architecture(overrides, FOUND).map(|a| a.heads), Ok(12));
    }
}

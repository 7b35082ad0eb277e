//! The BERT encoder as a graph (arXiv:1810.04805; layer norm after each residual sum).
//!
//! Tokens of all sequences lie one after the other. Only attention and positions look at the
//! offsets; everything else works row by row, so that calls may be joined freely.

use aimass_sdk::graph::{AttentionOptions, Builder, Graph, Value};
use aimass_sdk::prelude::*;

use crate::architecture::{Activation, Architecture};
use crate::checkpoint::Checkpoint;

/// What follows the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Head {
    /// Nothing: the output is `hidden`.
    #[default]
    None,
    /// Pooler and classifier of `BertForSequenceClassification`: the output is `logits`.
    Classification,
}

/// Builds the graph of a model.
///
/// # Errors
/// `input/safetensors` for tensors that are missing or have the wrong shape, and the host's own.
pub(crate) fn build(
    checkpoint: &Checkpoint,
    architecture: &Architecture,
    head: Head,
) -> Result<Graph> {
    let graph = Builder::new();
    let offsets = graph.offsets("offsets")?;
    let ids = graph.input("input_ids", DType::I32, &[Dim::ragged("offsets")])?;
    let encoder = Encoder { graph: &graph, checkpoint, architecture, offsets };
    let mut hidden = encoder.embeddings(ids)?;
    for layer in 0..architecture.layers {
        hidden = encoder.layer(layer, hidden)?;
    }
    match head {
        Head::None => graph.output("hidden", hidden)?,
        Head::Classification => graph.output("logits", encoder.classifier(hidden)?)?,
    }
    graph.build()
}

struct Encoder<'a> {
    graph: &'a Builder,
    checkpoint: &'a Checkpoint,
    architecture: &'a Architecture,
    offsets: Value,
}

impl Encoder<'_> {
    /// Word, position and type embeddings: `[tokens]` to `[tokens, hidden]`. All tokens are of type 0.
    /// A token id or a position outside its table is an error when the plan runs.
    fn embeddings(&self, ids: Value) -> Result<Value> {
        let graph = self.graph;
        let words = self.table("embeddings.word_embeddings.weight")?;
        let positions = self.table("embeddings.position_embeddings.weight")?;
        let places = graph.positions(self.offsets)?;
        let words = graph.gather(words, ids, 0)?;
        let positions = graph.gather(positions, places, 0)?;
        let mut sum = graph.add(words, positions)?;
        let types = "embeddings.token_type_embeddings.weight";
        if self.checkpoint.shape(types).is_some() {
            let row = self.checkpoint.first_row(graph, types, self.architecture.hidden)?;
            sum = graph.add(sum, row)?;
        }
        self.layer_norm("embeddings.LayerNorm", sum)
    }

    /// One layer: `[tokens, hidden]` to the same.
    fn layer(&self, layer: u64, x: Value) -> Result<Value> {
        let graph = self.graph;
        let hidden = self.architecture.hidden;
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let q = self.linear(&name("attention.self.query"), x, hidden, hidden)?;
        let k = self.linear(&name("attention.self.key"), x, hidden, hidden)?;
        let v = self.linear(&name("attention.self.value"), x, hidden, hidden)?;
        let options = AttentionOptions::full(self.architecture.heads);
        let mixed = graph.ragged_attention(q, k, v, self.offsets, options)?;
        let mixed = self.linear(&name("attention.output.dense"), mixed, hidden, hidden)?;
        let x = graph.add(mixed, x)?;
        let x = self.layer_norm(&name("attention.output.LayerNorm"), x)?;

        let inner = self.rows(&name("intermediate.dense.weight"));
        let wide = self.linear(&name("intermediate.dense"), x, hidden, inner)?;
        let wide = self.activate(wide)?;
        let narrow = self.linear(&name("output.dense"), wide, inner, hidden)?;
        let sum = graph.add(narrow, x)?;
        self.layer_norm(&name("output.LayerNorm"), sum)
    }

    /// Logits from the first token of each sequence: `[tokens, hidden]` to `[batch, classes]`.
    fn classifier(&self, hidden: Value) -> Result<Value> {
        let graph = self.graph;
        let width = self.architecture.hidden;
        let first = graph.ragged_first(hidden, self.offsets)?;
        let pooled = graph.tanh(self.linear("pooler.dense", first, width, width)?)?;
        let classes = self.rows("classifier.weight");
        self.linear("classifier", pooled, width, classes)
    }

    fn activate(&self, x: Value) -> Result<Value> {
        match self.architecture.activation {
            Activation::Gelu(form) => self.graph.gelu(x, form),
            Activation::Relu => self.graph.relu(x),
            Activation::Silu => self.graph.silu(x),
        }
    }

    fn linear(&self, name: &str, x: Value, inputs: u64, outputs: u64) -> Result<Value> {
        let weight = self.weight(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.weight(&format!("{name}.bias"), &[outputs])?;
        self.graph.linear(x, weight, Some(bias), true)
    }

    fn layer_norm(&self, name: &str, x: Value) -> Result<Value> {
        let extent = [self.architecture.hidden];
        let scale = self.weight(&format!("{name}.weight"), &extent)?;
        let bias = self.weight(&format!("{name}.bias"), &extent)?;
        self.graph.layer_norm(x, scale, Some(bias), self.architecture.epsilon)
    }

    /// A table with as many rows as the file has.
    fn table(&self, name: &str) -> Result<Value> {
        self.weight(name, &[self.rows(name), self.architecture.hidden])
    }

    /// Rows of a matrix; 0 if there is none, which [`Encoder::weight`] then refuses by name.
    fn rows(&self, name: &str) -> u64 {
        self.checkpoint.shape(name).and_then(|shape| shape.first().copied()).unwrap_or(0)
    }

    fn weight(&self, name: &str, shape: &[u64]) -> Result<Value> {
        self.checkpoint.weight(self.graph, name, shape)
    }
}

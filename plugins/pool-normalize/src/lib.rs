//! Pools token vectors to one embedding for each text, and gives it length 1.
//!
//! | tensor      | shape                       | dtype |                                    |
//! |-------------|-----------------------------|-------|------------------------------------|
//! | `hidden`    | `[ragged(offsets), hidden]` | f32   | one vector for each token          |
//! | `offsets`   | `[batch + 1]`               | u32   | where each text's tokens start     |
//! | `embedding` | `[batch, dims]`             | f32   | one vector for each text           |
//!
//! Host kernels do the arithmetic on handles; no element enters the plugin.

use aimass_sdk::ops;
use aimass_sdk::prelude::*;
use serde::Deserialize;

/// Lengths below this count as it, so that a zero vector stays zero (as in PyTorch's `normalize`).
const LENGTH_MIN: f32 = 1e-12;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Pooling {
    #[default]
    Mean,
    Cls,
    Max,
    Last,
}

/// The plugin, as configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolNormalize {
    #[serde(default)]
    pooling: Pooling,
    #[serde(default = "yes")]
    normalize: bool,
    dims: Option<u64>,
}

fn yes() -> bool {
    true
}

impl Processor for PoolNormalize {
    fn init(config: Config) -> Result<Self> {
        let plugin: Self = config.parse()?;
        match plugin.dims {
            Some(0) => Err(Error::input("config", "dims: expected at least 1, got 0")),
            Some(_) | None => Ok(plugin),
        }
    }

    fn describe(&self) -> Signature {
        let hidden = [Dim::ragged("offsets"), Dim::dynamic("hidden")];
        let dims = self.dims.map_or_else(|| Dim::dynamic("hidden"), Dim::Fixed);
        Signature::new()
            .input(TensorSpec::new("hidden", DType::F32, hidden))
            .input(TensorSpec::new("offsets", DType::U32, [Dim::dynamic("offsets+1")]))
            .output(TensorSpec::new("embedding", DType::F32, [Dim::Batch, dims]))
    }

    fn process(&self, inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
        let hidden = inputs.get("hidden")?;
        let offsets = inputs.get("offsets")?;
        let mut embedding = match self.pooling {
            Pooling::Mean => ops::ragged_mean(hidden, offsets)?,
            Pooling::Cls => ops::ragged_first(hidden, offsets)?,
            Pooling::Max => ops::ragged_max(hidden, offsets)?,
            Pooling::Last => ops::ragged_last(hidden, offsets)?,
        };
        if let Some(dims) = self.dims {
            embedding = first_elements(&embedding, dims)?;
        }
        if self.normalize {
            embedding = ops::l2_normalize(&embedding, LENGTH_MIN)?;
        }
        Ok(Outputs::new().with("embedding", embedding))
    }
}

aimass_sdk::export_processor!(PoolNormalize);

/// The first `dims` elements of every row.
fn first_elements(embedding: &Tensor, dims: u64) -> Result<Tensor> {
    let [_, hidden] = embedding.extents()?;
    if dims > hidden {
        let message = format!("dims: expected at most {hidden}, got {dims}");
        return Err(Error::input("config", message));
    }
    ops::slice(embedding, 1, 0, dims, 1)
}

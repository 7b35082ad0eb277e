//! Between the contract's arguments and answers and those of the builder.

use super::{HostError, HostResult, Many, One, Value, WitDim, dim_in, wit};
use aimass_graph::{AttentionOptions, Dim, GraphError, ScatterMode, ValueId, Window};

/// The value of a handle.
pub(super) fn id(value: Value) -> ValueId {
    ValueId(value)
}

/// The values of handles.
pub(super) fn ids(values: &[Value]) -> Vec<ValueId> {
    values.iter().copied().map(ValueId).collect()
}

/// The handle of an op's one output.
pub(super) fn one(value: std::result::Result<ValueId, GraphError>) -> One {
    Ok(value?.0)
}

/// The handles of an op's outputs.
pub(super) fn many(values: std::result::Result<Vec<ValueId>, GraphError>) -> Many {
    Ok(values?.into_iter().map(|value| value.0).collect())
}

/// The handle of an op's first output.
pub(super) fn first(values: std::result::Result<Vec<ValueId>, GraphError>) -> One {
    let value = values?.first().copied();
    value.map(|value| value.0).ok_or_else(|| HostError::unsupported("an op without outputs"))
}

/// The handles of an op's two outputs.
pub(super) fn pair(
    values: std::result::Result<(ValueId, ValueId), GraphError>,
) -> HostResult<(Value, Value)> {
    let (left, right) = values?;
    Ok((left.0, right.0))
}

/// Dimensions of the contract as ours.
pub(super) fn dims_in(dims: Vec<WitDim>) -> Vec<Dim> {
    dims.into_iter().map(dim_in).collect()
}

/// Options of attention as ours.
pub(super) fn attention_in(options: wit::AttentionOptions) -> AttentionOptions {
    AttentionOptions {
        heads: options.heads,
        kv_heads: options.kv_heads,
        scale: options.scale,
        causal: options.causal,
        window: options.window,
    }
}

/// A window as ours.
pub(super) fn window_in(window: wit::Window) -> Window {
    let wit::Window { strides, pads_before, pads_after, dilations } = window;
    Window { strides, pads_before, pads_after, dilations }
}

/// A mode of scattering as ours.
pub(super) fn scatter_mode_in(mode: wit::ScatterMode) -> ScatterMode {
    match mode {
        wit::ScatterMode::Replace => ScatterMode::Replace,
        wit::ScatterMode::Add => ScatterMode::Add,
        wit::ScatterMode::Mul => ScatterMode::Mul,
        wit::ScatterMode::Max => ScatterMode::Max,
        wit::ScatterMode::Min => ScatterMode::Min,
    }
}

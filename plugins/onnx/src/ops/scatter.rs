//! Operators that write elements by index.

use super::index::{from_start, tuples_from_start};
use super::reduce::is_half;
use super::{Table, one};
use crate::content::scalar;
use crate::emit::Emitter;
use crate::node::{Cx, Inputs, axis_of};
use crate::value::{R, T, Value, invalid};
use aimass_sdk::DType;
use aimass_sdk::graph::ScatterMode;

pub(super) const TABLE: Table = &[
    ("Scatter", scatter_elements),
    ("ScatterElements", scatter_elements),
    ("ScatterND", scatter_nd),
    ("TensorScatter", tensor_scatter),
];

fn mode(cx: &Cx<'_>) -> R<ScatterMode> {
    Ok(match cx.attr_text("reduction", "none")? {
        "none" => ScatterMode::Replace,
        "add" => ScatterMode::Add,
        "mul" => ScatterMode::Mul,
        "max" => ScatterMode::Max,
        "min" => ScatterMode::Min,
        other => {
            let message = format!("reduction: expected none, add, mul, max or min, got {other}");
            return Err(invalid(message));
        }
    })
}

/// Scatters in a type that the contract combines.
pub(super) fn combined(
    cx: &mut Emitter,
    (x, updates): (&T, &T),
    mode: ScatterMode,
    scatter: impl FnOnce(&mut Emitter, &T, &T) -> R<T>,
) -> R<T> {
    let wide = match (mode, x.dtype) {
        (ScatterMode::Replace, _) => x.dtype,
        (_, half) if is_half(half) => DType::F32,
        (_, DType::Bool) => DType::U8,
        (_, dtype) => dtype,
    };
    let (own, new) = (cx.cast(x, wide)?, cx.cast(updates, wide)?);
    let y = scatter(cx, &own, &new)?;
    cx.cast(&y, x.dtype)
}

fn scatter_elements(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, indices, updates) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
    let axis = axis_of(cx.attr_int("axis", 0)?, x.rank())?;
    let mode = mode(cx)?;
    let indices = from_start(cx, indices, x.extent(axis)?)?;
    one(combined(cx, (x, updates), mode, |cx, x, updates| {
        cx.scatter_elements(x, &indices, updates, (axis, mode))
    })?)
}

fn scatter_nd(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, indices, updates) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
    let mode = mode(cx)?;
    let indices = tuples_from_start(cx, indices, x, 0)?;
    one(combined(cx, (x, updates), mode, |cx, x, updates| {
        cx.scatter_nd(x, &indices, updates, mode)
    })?)
}

/// Writes a sequence of updates into each row of a cache, from that row's own place on.
fn tensor_scatter(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (past, update) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let axis = axis_of(cx.attr_int("axis", -2)?, past.rank())?;
    if axis == 0 || update.rank() != past.rank() {
        return Err(invalid("expected a cache and updates of one rank, and an axis behind rows"));
    }
    let circular = match cx.attr_text("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        other => return Err(invalid(format!("mode: expected linear or circular, got {other}"))),
    };
    let steps = cx.count_up(update.extent(axis)?)?;
    let mut places = steps;
    for _ in axis + 1..past.rank() {
        let last = places.rank();
        places = cx.unsqueeze(&places, last)?;
    }
    if let Some(starts) = inputs.tensor_opt(2)? {
        let mut starts = cx.cast(starts, DType::I64)?;
        while starts.rank() < past.rank() {
            let last = starts.rank();
            starts = cx.unsqueeze(&starts, last)?;
        }
        places = cx.add(&starts, &places)?;
    }
    if circular {
        let extent = scalar(DType::I64, past.extent(axis)? as f64)?;
        places = cx.rem(&places, &extent)?;
    }
    let places = cx.broadcast(&places, &update.dims)?;
    one(cx.scatter_elements(past, &places, update, (axis, ScatterMode::Replace))?)
}

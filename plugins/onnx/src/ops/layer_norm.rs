//! Normalizations over the last axes.

use super::{Table, one};
use crate::content::full;
use crate::node::{Cx, Inputs, axis_of};
use crate::proto::ElementType;
use crate::value::{Extent, R, T, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[
    ("LayerNormalization", layer_normalization),
    ("RMSNormalization", rms_normalization),
    // ONNX Runtime writes it in the default domain.
    ("SimplifiedLayerNormalization", rms_normalization),
];

/// The axes from `axis` on as one, where there are several.
pub(super) struct Lanes {
    /// Leading dims and one for the lane.
    dims: Vec<Extent>,
    /// Extents of the lane as the node sees it.
    lane: Vec<u64>,
}

impl Lanes {
    pub(super) fn of(x: &T, axis: usize) -> R<Lanes> {
        let lane = (axis..x.rank()).map(|index| x.extent(index)).collect::<R<Vec<u64>>>()?;
        let elements = lane.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
        let mut dims = x.dims[..axis].to_vec();
        dims.push(Extent::Fixed(elements));
        Ok(Lanes { dims, lane })
    }

    /// A scale or bias, which broadcasts to the lane, as a vector.
    pub(super) fn vector(&self, cx: &mut Cx<'_>, scale: &T) -> R<T> {
        let elements = self.dims[self.dims.len() - 1];
        let shape = scale.shape()?;
        // Axes of extent 1 before those of the lane say nothing.
        let extra = shape.len().saturating_sub(self.lane.len());
        if shape[..extra].iter().any(|&extent| extent != 1) {
            let got = format!("{shape:?}");
            return Err(invalid(format!("expected a scale within {:?}, got {got}", self.lane)));
        }
        let own = cx.reshape_to(scale, &shape[extra..])?;
        let full = cx.broadcast_to(&own, &self.lane)?;
        cx.reshape(&full, &[elements])
    }
}

/// The type that statistics are computed in.
fn stash(cx: &Cx<'_>) -> R<DType> {
    let number = cx.attr_int("stash_type", 1)?;
    match ElementType(number).dtype() {
        Some(dtype @ (DType::F32 | DType::F64 | DType::F16 | DType::Bf16)) => Ok(dtype),
        _ => Err(invalid(format!("stash_type: expected a float type, got {number}"))),
    }
}

fn layer_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, scale, bias) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor_opt(2)?);
    let axis = axis_of(cx.attr_int("axis", -1)?, x.rank())?;
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    let y = layer_norm(cx, x, (scale, bias), axis, epsilon)?;
    let mut outputs = vec![y.into()];
    if cx.wants_output(1) || cx.wants_output(2) {
        let axes: Vec<usize> = (axis..x.rank()).collect();
        let stash = stash(cx)?;
        let wide = if x.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let own = cx.cast(x, wide)?;
        let (mean, variance) = super::norm::moments(cx, &own, &axes)?;
        let shifted = cx.add_number(&variance, epsilon.into())?;
        let inverse = cx.rsqrt(&shifted)?;
        outputs.push(cx.cast(&mean, stash)?.into());
        outputs.push(cx.cast(&inverse, stash)?.into());
    }
    Ok(outputs)
}

/// Layer norm over the axes from `axis` on.
pub(super) fn layer_norm(
    cx: &mut Cx<'_>,
    x: &T,
    (scale, bias): (&T, Option<&T>),
    axis: usize,
    epsilon: f32,
) -> R<T> {
    let lanes = Lanes::of(x, axis)?;
    let rows = cx.reshape(x, &lanes.dims)?;
    let scale = lanes.vector(cx, scale)?;
    let scale = cx.cast(&scale, x.dtype)?;
    let bias = match bias {
        Some(bias) => {
            let bias = lanes.vector(cx, bias)?;
            Some(cx.cast(&bias, x.dtype)?)
        }
        None => None,
    };
    let y = cx.layer_norm(&rows, &scale, bias.as_ref(), epsilon)?;
    cx.reshape(&y, &x.dims)
}

/// RMS norm over the axes from `axis` on.
pub(super) fn rms_norm(cx: &mut Cx<'_>, x: &T, scale: &T, axis: usize, epsilon: f32) -> R<T> {
    let lanes = Lanes::of(x, axis)?;
    let rows = cx.reshape(x, &lanes.dims)?;
    let scale = lanes.vector(cx, scale)?;
    if scale.dtype != x.dtype {
        // The scale's type is the output's.
        let unit = full(x.dtype, &[scale.extent(0)?], 1.0)?;
        let normal = cx.rms_norm(&rows, &unit, epsilon)?;
        let normal = cx.cast(&normal, scale.dtype)?;
        let y = cx.mul(&normal, &scale)?;
        return cx.reshape(&y, &x.dims);
    }
    let y = cx.rms_norm(&rows, &scale, epsilon)?;
    cx.reshape(&y, &x.dims)
}

fn rms_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, scale) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let axis = axis_of(cx.attr_int("axis", -1)?, x.rank())?;
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    one(rms_norm(cx, x, scale, axis, epsilon)?)
}

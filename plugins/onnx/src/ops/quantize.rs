//! Quantization and its reverse.

use super::cast::convert;
use super::{Table, one};
use crate::content::scalar;
use crate::node::{Cx, Inputs, axis_of};
use crate::proto::ElementType;
use crate::value::{Extent, R, Stop, T, Value, invalid, unsupported};
use aimass_sdk::{DType, ErrorFamily};

pub(super) const TABLE: Table = &[
    ("DequantizeLinear", dequantize_linear),
    ("DynamicQuantizeLinear", dynamic_quantize_linear),
    ("QuantizeLinear", quantize_linear),
];

/// The numbers that an integer type of up to 16 bits has.
pub(super) fn integer_range(dtype: DType) -> Option<(f64, f64)> {
    Some(match dtype {
        DType::I4 => (-8.0, 7.0),
        DType::U4 => (0.0, 15.0),
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U16 => (0.0, 65535.0),
        _ => return None,
    })
}

/// The first way, or the second where this host has no code for the first.
pub(super) fn native_or(
    cx: &mut Cx<'_>,
    native: impl FnOnce(&mut Cx<'_>) -> R<T>,
    composed: impl FnOnce(&mut Cx<'_>) -> R<T>,
) -> R<T> {
    match native(cx) {
        Err(stop) if is_unsupported(&stop) => composed(cx),
        other => other,
    }
}

/// Whether the host has no code for something.
pub(super) fn is_unsupported(stop: &Stop) -> bool {
    matches!(stop, Stop::Error(error) if error.family == ErrorFamily::Unsupported)
}

/// How scales and zero points lie along the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grain {
    /// None: one for all.
    axis: Option<usize>,
    /// Elements that share one along the axis; 0: one an index.
    block: u64,
}

impl Grain {
    /// The grain that a scale says.
    pub(super) fn of(cx: &Cx<'_>, x: &T, scale: &T) -> R<Grain> {
        let block = cx.attr_int("block_size", 0)?;
        let block = u64::try_from(block).map_err(|_| invalid(format!("block_size of {block}")))?;
        if scale.elements()? == 1 && (scale.rank() <= 1 || block == 0) {
            return Ok(Grain { axis: None, block: 0 });
        }
        let axis = axis_of(cx.attr_int("axis", 1)?, x.rank())?;
        let expected = if block == 0 { 1 } else { x.rank() };
        if scale.rank() != expected {
            let got = scale.rank();
            return Err(invalid(format!("expected scales of rank {expected}, got {got}")));
        }
        Ok(Grain { axis: Some(axis), block })
    }

    /// A scale or zero point in a shape that broadcasts to the input.
    pub(super) fn spread(self, cx: &mut Cx<'_>, x: &T, param: &T) -> R<T> {
        let Some(axis) = self.axis else { return cx.reshape_to(param, &[]) };
        if self.block == 0 {
            let mut dims = vec![Extent::Fixed(1); x.rank()];
            dims[axis] = Extent::Fixed(param.extent(0)?);
            return cx.reshape(param, &dims);
        }
        let mut shape = param.shape()?;
        let blocks =
            *shape.get(axis).ok_or_else(|| invalid("expected scales of the input's rank"))?;
        let extent = x.extent(axis)?;
        let covered = blocks.checked_mul(self.block).filter(|covered| *covered >= extent);
        let covered = covered
            .filter(|covered| covered - extent < self.block)
            .ok_or_else(|| invalid(format!("{blocks} blocks of {} along {extent}", self.block)))?;
        let split = cx.unsqueeze(param, axis + 1)?;
        let mut dims = split.shape()?;
        dims[axis + 1] = self.block;
        let repeated = cx.broadcast_to(&split, &dims)?;
        shape[axis] = covered;
        let whole = cx.reshape_to(&repeated, &shape)?;
        cx.slice(&whole, axis, (0, extent), 1)
    }

    /// A scale or zero point as the contract's ops take it: a scalar, or a vector along the axis.
    fn plain(self, cx: &mut Cx<'_>, param: &T) -> R<T> {
        match self.axis {
            None => cx.reshape_to(param, &[]),
            Some(_) => Ok(param.clone()),
        }
    }
}

/// The type of an attribute that names one; none if it is not set or 0.
fn type_attribute(cx: &Cx<'_>, name: &str) -> R<Option<DType>> {
    match cx.attr_int(name, 0)? {
        0 => Ok(None),
        number => {
            let element = ElementType(number);
            let unknown = || unsupported(format!("{name}: type {}", element.name()));
            element.dtype().ok_or_else(unknown).map(Some)
        }
    }
}

fn quantize_linear(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, scale, zero) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor_opt(2)?);
    let stated = type_attribute(cx, "output_dtype")?;
    let dtype = zero.map(|zero| zero.dtype).or(stated).unwrap_or(DType::U8);
    let precision = type_attribute(cx, "precision")?;
    let grain = Grain::of(cx, x, scale)?;
    one(quantize(cx, x, (scale, zero), grain, (dtype, precision))?)
}

/// `saturate(round(x / scale) + zero)`.
pub(super) fn quantize(
    cx: &mut Cx<'_>,
    x: &T,
    (scale, zero): (&T, Option<&T>),
    grain: Grain,
    (dtype, precision): (DType, Option<DType>),
) -> R<T> {
    let composed = |cx: &mut Cx<'_>| {
        let wide = precision.unwrap_or(if is_float(x.dtype) { x.dtype } else { scale.dtype });
        let (x, scale) = (cx.cast(x, wide)?, grain.spread(cx, x, scale)?);
        let scale = cx.cast(&scale, wide)?;
        let steps = cx.div(&x, &scale)?;
        let Some(range) = integer_range(dtype) else {
            let saturate = cx.attr_int("saturate", 1)? != 0;
            return convert(cx, &steps, dtype, saturate);
        };
        let whole = cx.round(&steps)?;
        let zero = match zero {
            Some(zero) => {
                let zero = convert(cx, zero, DType::F32, true)?;
                Some(grain.spread(cx, &x, &zero)?)
            }
            None => None,
        };
        shift_into(cx, &whole, zero.as_ref(), (dtype, range))
    };
    let plain = x.dtype == DType::F32 && scale.dtype == DType::F32;
    let bytes = matches!(dtype, DType::I8 | DType::U8);
    if !plain || !bytes || grain.block != 0 || precision.is_some_and(|own| own != DType::F32) {
        return composed(cx);
    }
    let native = |cx: &mut Cx<'_>| {
        let scale = grain.plain(cx, scale)?;
        let zero = match zero {
            Some(zero) => Some(grain.plain(cx, zero)?),
            None => None,
        };
        cx.quantize(x, &scale, zero.as_ref(), (grain.axis, dtype))
    };
    native_or(cx, native, composed)
}

/// Adds a zero point to whole numbers and saturates.
pub(super) fn shift_into(
    cx: &mut Cx<'_>,
    whole: &T,
    zero: Option<&T>,
    (dtype, (low, high)): (DType, (f64, f64)),
) -> R<T> {
    // Bytes are exact in any float type with room to spare; other numbers want 24 bits.
    let wide = if whole.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let mut shifted = cx.cast(whole, wide)?;
    if let Some(zero) = zero {
        let zero = cx.cast(zero, wide)?;
        shifted = cx.add(&shifted, &zero)?;
    }
    let within = cx.clamp(&shifted, low, high)?;
    convert(cx, &within, dtype, true)
}

/// Whether a dtype is a float that ops compute with.
pub(super) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::Bf16 | DType::F32 | DType::F64)
}

fn dequantize_linear(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, scale, zero) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor_opt(2)?);
    let dtype = type_attribute(cx, "output_dtype")?.unwrap_or(scale.dtype);
    let grain = Grain::of(cx, x, scale)?;
    // The zero point of floats is 0.
    let zero = zero.filter(|_| integer_range(x.dtype).is_some() || x.dtype == DType::I32);
    one(dequantize(cx, x, (scale, zero), grain, dtype)?)
}

/// `(x - zero) * scale`.
pub(super) fn dequantize(
    cx: &mut Cx<'_>,
    x: &T,
    (scale, zero): (&T, Option<&T>),
    grain: Grain,
    dtype: DType,
) -> R<T> {
    let composed = |cx: &mut Cx<'_>| {
        let mut wide = match zero {
            // Differences of 32-bit numbers are exact in integers only.
            Some(zero) if x.dtype == DType::I32 => {
                let zero = grain.spread(cx, x, zero)?;
                cx.sub(x, &zero)?
            }
            _ => x.clone(),
        };
        wide = convert(cx, &wide, DType::F32, true)?;
        if let Some(zero) = zero.filter(|_| x.dtype != DType::I32) {
            let zero = convert(cx, zero, DType::F32, true)?;
            let zero = grain.spread(cx, x, &zero)?;
            wide = cx.sub(&wide, &zero)?;
        }
        let scale = grain.spread(cx, x, scale)?;
        let compute = if scale.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let (wide, scale) = (cx.cast(&wide, compute)?, cx.cast(&scale, compute)?);
        let y = cx.mul(&wide, &scale)?;
        cx.cast(&y, dtype)
    };
    let plain = matches!(x.dtype, DType::I8 | DType::U8) && scale.dtype == DType::F32;
    if !plain || grain.block != 0 || dtype != DType::F32 {
        return composed(cx);
    }
    let native = |cx: &mut Cx<'_>| {
        let scale = grain.plain(cx, scale)?;
        let zero = match zero {
            Some(zero) => Some(grain.plain(cx, zero)?),
            None => None,
        };
        cx.dequantize(x, &scale, zero.as_ref(), grain.axis)
    };
    native_or(cx, native, composed)
}

/// To u8, with the scale and zero point that the input's own range asks for.
fn dynamic_quantize_linear(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (y, scale, zero) = quantize_by_range(cx, inputs.tensor(0)?)?;
    Ok(vec![y.into(), scale.into(), zero.into()])
}

/// The input in u8, its scale and its zero point (ONNX `DynamicQuantizeLinear-11`).
pub(super) fn quantize_by_range(cx: &mut Cx<'_>, x: &T) -> R<(T, T, T)> {
    let axes: Vec<usize> = (0..x.rank()).collect();
    let (low, high) = match axes.is_empty() {
        true => (x.clone(), x.clone()),
        false => (cx.reduce_min(x, &axes, false)?, cx.reduce_max(x, &axes, false)?),
    };
    let zero = scalar(x.dtype, 0.0)?;
    let (low, high) = (cx.minimum(&low, &zero)?, cx.maximum(&high, &zero)?);
    let range = cx.sub(&high, &low)?;
    let steps = scalar(x.dtype, 255.0)?;
    let scale = cx.div(&range, &steps)?;
    let none = cx.equal(&range, &zero)?;
    let unit = scalar(x.dtype, 1.0)?;
    let unit = cx.div(&unit, &steps)?;
    let scale = cx.select(&none, &unit, &scale)?;
    let below = cx.neg(&low)?;
    let zero_point = cx.div(&below, &scale)?;
    let zero_point = cx.clamp(&zero_point, 0.0, 255.0)?;
    let zero_point = cx.round(&zero_point)?;
    let zero_point = cx.cast(&zero_point, DType::U8)?;
    let grain = Grain { axis: None, block: 0 };
    let y = quantize(cx, x, (&scale, Some(&zero_point)), grain, (DType::U8, None))?;
    Ok((y, scale, zero_point))
}

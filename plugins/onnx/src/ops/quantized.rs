//! Products and convolutions of quantized numbers.

use super::conv::{groups, kernel_of};
use super::quantize::{integer_range, native_or, shift_into};
use super::window::Geometry;
use super::{Table, one};
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[
    ("ConvInteger", |cx, x| {
        let sums =
            conv_integer(cx, (x.tensor(0)?, x.tensor_opt(2)?), (x.tensor(1)?, x.tensor_opt(3)?))?;
        one(cx.cast(&sums, DType::I32)?)
    }),
    ("MatMulInteger", |cx, x| {
        one(matmul_integer(cx, (x.tensor(0)?, x.tensor_opt(2)?), (x.tensor(1)?, x.tensor_opt(3)?))?)
    }),
    ("QLinearConv", qlinear_conv),
    ("QLinearMatMul", qlinear_matmul),
];

/// Products of bytes whose sum f32 holds exactly.
const EXACT_PRODUCTS: u64 = (1 << 24) / (255 * 255);

/// Which side of a product a scale or zero point belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Side {
    Rows,
    Columns,
}

/// A scale or zero point in a shape that broadcasts to the matrices of its side; a scalar if it is
/// one number.
pub(super) fn along(cx: &mut Cx<'_>, param: &T, side: Side) -> R<T> {
    if param.elements()? == 1 {
        return cx.reshape_to(param, &[]);
    }
    match side {
        Side::Rows if param.rank() == 1 => cx.reshape_to(param, &[param.extent(0)?, 1]),
        Side::Rows | Side::Columns => Ok(param.clone()),
    }
}

fn is_byte(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8)
}

/// The product of two matrices of bytes, zero points subtracted, exact in i32.
pub(super) fn matmul_integer(
    cx: &mut Cx<'_>,
    (x, x_zero): (&T, Option<&T>),
    (y, y_zero): (&T, Option<&T>),
) -> R<T> {
    if !is_byte(x.dtype) || !is_byte(y.dtype) {
        let got = format!("{} and {}", x.dtype.name(), y.dtype.name());
        return Err(invalid(format!("expected bytes, got {got}")));
    }
    let composed = |cx: &mut Cx<'_>| {
        let left = centered(cx, x, (x_zero, Side::Rows))?;
        let right = centered(cx, y, (y_zero, Side::Columns))?;
        cx.matmul(&left, &right)
    };
    let plain = |zero: Option<&T>| zero.is_none_or(|zero| zero.rank() <= 1);
    if x.rank() < 2 || y.rank() < 2 || !plain(x_zero) || !plain(y_zero) {
        return composed(cx);
    }
    let native = |cx: &mut Cx<'_>| {
        let scalar_or_vector = |cx: &mut Cx<'_>, zero: Option<&T>| match zero {
            Some(zero) if zero.elements()? == 1 => cx.reshape_to(zero, &[]).map(Some),
            zero => Ok(zero.cloned()),
        };
        let x_zero = scalar_or_vector(cx, x_zero)?;
        let y_zero = scalar_or_vector(cx, y_zero)?;
        cx.matmul_integer(x, y, x_zero.as_ref(), y_zero.as_ref())
    };
    native_or(cx, native, composed)
}

/// Bytes as i32, without their zero point.
fn centered(cx: &mut Cx<'_>, x: &T, (zero, side): (Option<&T>, Side)) -> R<T> {
    let wide = cx.cast(x, DType::I32)?;
    let Some(zero) = zero else { return Ok(wide) };
    let zero = along(cx, zero, side)?;
    let zero = cx.cast(&zero, DType::I32)?;
    cx.sub(&wide, &zero)
}

/// The convolution of bytes, zero points subtracted: whole numbers in a float type that holds them.
fn conv_integer(
    cx: &mut Cx<'_>,
    (x, x_zero): (&T, Option<&T>),
    (w, w_zero): (&T, Option<&T>),
) -> R<T> {
    if !is_byte(x.dtype) || !is_byte(w.dtype) {
        let got = format!("{} and {}", x.dtype.name(), w.dtype.name());
        return Err(invalid(format!("expected bytes, got {got}")));
    }
    let kernel = kernel_of(cx, x, w)?;
    let geometry = Geometry::of(cx, x, kernel)?;
    let mut products = 1u64;
    for axis in 1..w.rank() {
        products = products.saturating_mul(w.extent(axis)?);
    }
    let wide = if products <= EXACT_PRODUCTS { DType::F32 } else { DType::F64 };
    let mut left = cx.cast(x, wide)?;
    if let Some(zero) = x_zero {
        let zero = cx.reshape_to(zero, &[])?;
        let zero = cx.cast(&zero, wide)?;
        left = cx.sub(&left, &zero)?;
    }
    let mut right = cx.cast(w, wide)?;
    if let Some(zero) = w_zero {
        let zero = along_filters(cx, zero, w.rank())?;
        let zero = cx.cast(&zero, wide)?;
        right = cx.sub(&right, &zero)?;
    }
    let groups = groups(cx)?;
    cx.conv(&left, &right, None, (&geometry.window(), groups))
}

/// One number, or one a filter, in a shape that broadcasts from axis 0 of `rank` axes.
fn along_filters(cx: &mut Cx<'_>, param: &T, rank: usize) -> R<T> {
    let elements = param.elements()?;
    if elements == 1 {
        return cx.reshape_to(param, &[]);
    }
    let mut shape = vec![1; rank];
    shape[0] = elements;
    cx.reshape_to(param, &shape)
}

fn qlinear_matmul(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, y) = (inputs.tensor(0)?, inputs.tensor(3)?);
    let (x_zero, y_zero) = (inputs.tensor_opt(2)?, inputs.tensor_opt(5)?);
    let sums = matmul_integer(cx, (x, x_zero), (y, y_zero))?;
    let x_scale = along(cx, inputs.tensor(1)?, Side::Rows)?;
    let y_scale = along(cx, inputs.tensor(4)?, Side::Columns)?;
    let scale = along(cx, inputs.tensor(6)?, Side::Rows)?;
    let factor = factor(cx, [&x_scale, &y_scale, &scale])?;
    let zero = match inputs.tensor_opt(7)? {
        Some(zero) => Some(along(cx, zero, Side::Rows)?),
        None => None,
    };
    one(requantize(cx, &sums, &factor, (zero.as_ref(), x.dtype))?)
}

/// `a * b / c` in f32.
fn factor(cx: &mut Cx<'_>, [a, b, c]: [&T; 3]) -> R<T> {
    let (a, b) = (cx.cast(a, DType::F32)?, cx.cast(b, DType::F32)?);
    let product = cx.mul(&a, &b)?;
    let c = cx.cast(c, DType::F32)?;
    cx.div(&product, &c)
}

/// `saturate(round(sums * factor) + zero)`.
fn requantize(cx: &mut Cx<'_>, sums: &T, factor: &T, (zero, default): (Option<&T>, DType)) -> R<T> {
    let dtype = zero.map_or(default, |zero| zero.dtype);
    let range = integer_range(dtype);
    let range = range.ok_or_else(|| unsupported(format!("results in {}", dtype.name())))?;
    let sums = cx.cast(sums, DType::F32)?;
    let scaled = cx.mul(&sums, factor)?;
    let whole = cx.round(&scaled)?;
    shift_into(cx, &whole, zero, (dtype, range))
}

pub(super) fn qlinear_conv(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, w) = (inputs.tensor(0)?, inputs.tensor(3)?);
    let (x_zero, w_zero) = (inputs.tensor_opt(2)?, inputs.tensor_opt(5)?);
    let mut sums = conv_integer(cx, (x, x_zero), (w, w_zero))?;
    let filters = w.extent(0)?;
    let mut dims = vec![Extent::Fixed(1); x.rank()];
    dims[1] = Extent::Fixed(filters);
    if let Some(bias) = inputs.tensor_opt(8)? {
        let bias = cx.reshape(bias, &dims)?;
        let bias = cx.cast(&bias, sums.dtype)?;
        sums = cx.add(&sums, &bias)?;
    }
    let x_scale = cx.reshape_to(inputs.tensor(1)?, &[])?;
    let w_scale = along_filters(cx, inputs.tensor(4)?, x.rank() - 1)?;
    let y_scale = cx.reshape_to(inputs.tensor(6)?, &[])?;
    let factor = factor(cx, [&x_scale, &w_scale, &y_scale])?;
    let zero = match inputs.tensor_opt(7)? {
        Some(zero) => Some(cx.reshape_to(zero, &[])?),
        None => None,
    };
    one(requantize(cx, &sums, &factor, (zero.as_ref(), x.dtype))?)
}

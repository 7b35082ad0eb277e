//! Operators that move elements without computing.

use super::{Table, one};
use crate::constant::{constant, dense};
use crate::content::{float_tensor, int_tensor, int_vector, scalar};
use crate::node::{Cx, Inputs, axes_of, axis_of};
use crate::proto::AttributeValue;
use crate::value::{Extent, Form, R, Stop, T, TensorValue, Value, invalid, unsupported};
use aimass_sdk::DType;
use std::rc::Rc;

pub(super) const TABLE: Table = &[
    ("Concat", concat),
    ("Constant", constant_node),
    ("ConstantOfShape", constant_of_shape),
    ("Expand", expand),
    ("Flatten", flatten),
    ("Identity", |_, x| Ok(vec![x.value(0)?.clone()])),
    ("Reshape", reshape),
    ("Shape", shape_of),
    ("Size", size),
    ("Slice", slice),
    ("Split", split),
    ("Squeeze", squeeze),
    ("Tile", tile),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
];

/// Numbers from an attribute in old opsets, from an input in newer ones.
pub(super) fn ints_from(
    cx: &mut Cx<'_>,
    inputs: Inputs<'_>,
    index: usize,
    attribute: &str,
) -> R<Option<Vec<i64>>> {
    match inputs.tensor_opt(index)? {
        Some(tensor) => cx.ints(tensor).map(Some),
        None => Ok(cx.attr_ints_opt(attribute)?.map(<[i64]>::to_vec)),
    }
}

fn concat(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let tensors = inputs.tensors()?;
    let rank = tensors.first().map_or(0, |tensor| tensor.rank());
    let default = if cx.opset < 4 { 1 } else { 0 };
    let axis = axis_of(cx.attr_int("axis", default)?, rank)?;
    // An empty part adds nothing; its other extents may be anything in old exporters.
    let empty = |tensor: &&&T| tensor.dims.get(axis) != Some(&Extent::Fixed(0));
    let parts: Vec<&T> = tensors.iter().filter(empty).copied().collect();
    if tensors.iter().any(|tensor| tensor.dtype == DType::Bytes) {
        return one(super::concat_texts(cx, &tensors, axis)?);
    }
    match parts.is_empty() {
        true => one(cx.concat(&tensors, axis)?),
        false => one(cx.concat(&parts, axis)?),
    }
}

fn constant_node(cx: &mut Cx<'_>, _: Inputs<'_>) -> R<Vec<Value>> {
    if let Some(tensor) = cx.attr_tensor_opt("value")? {
        return one(constant(cx, tensor)?);
    }
    if let Some(AttributeValue::SparseTensor(sparse)) = cx.attribute("sparse_value") {
        return one(dense(cx, sparse)?);
    }
    if let Some(value) = cx.attr_float_opt("value_float")? {
        return one(float_tensor(&[], &[value]));
    }
    if let Some(values) = cx.attr_floats_opt("value_floats")? {
        return one(float_tensor(&[values.len() as u64], values));
    }
    if let Some(value) = cx.attr_int_opt("value_int")? {
        return one(int_tensor(&[], &[value]));
    }
    if let Some(values) = cx.attr_ints_opt("value_ints")? {
        return one(int_vector(values));
    }
    if let Some(value) = cx.attr_text_opt("value_string")? {
        return one(TensorValue::of_strings(&[], vec![value.as_bytes().to_vec()]));
    }
    if let Some(values) = cx.attr_texts_opt("value_strings")? {
        return one(TensorValue::of_strings(&[values.len() as u64], values.to_vec()));
    }
    Err(invalid("expected an attribute that holds a value"))
}

/// Extents that a tensor of whole numbers spells.
pub(super) fn extents_of(cx: &mut Cx<'_>, x: &T) -> R<Vec<Extent>> {
    let mut dims = Vec::new();
    for (extent, rows) in cx.extents(x)? {
        dims.push(match rows {
            true => Extent::Batch,
            false => {
                Extent::Fixed(u64::try_from(extent).map_err(|_| invalid("an extent is negative"))?)
            }
        });
    }
    if dims.iter().skip(1).any(|dim| *dim == Extent::Batch) {
        return Err(Stop::NotBatchable("rows lie along another axis than 0".to_owned()));
    }
    Ok(dims)
}

fn constant_of_shape(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let dims = extents_of(cx, inputs.tensor(0)?)?;
    let element = match cx.attr_tensor_opt("value")? {
        Some(tensor) => {
            let element = constant(cx, tensor)?;
            cx.reshape_to(&element, &[])?
        }
        None => scalar(DType::F32, 0.0)?,
    };
    let bytes = cx.content(&element)?;
    let fixed: Option<Vec<u64>> = dims
        .iter()
        .map(|dim| match dim {
            Extent::Fixed(extent) => Some(*extent),
            Extent::Batch => None,
        })
        .collect();
    if let Some(shape) = fixed {
        let elements = shape.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
        if elements <= 65_536 {
            let bytes = bytes.repeat(elements as usize);
            return one(TensorValue::of_bytes(element.dtype, &shape, bytes));
        }
    }
    one(cx.broadcast(&element, &dims)?)
}

fn expand(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let wanted = extents_of(cx, inputs.tensor(1)?)?;
    let rank = x.rank().max(wanted.len());
    let at = |dims: &[Extent], axis: usize| match (axis + dims.len()).checked_sub(rank) {
        Some(index) => dims[index],
        None => Extent::Fixed(1),
    };
    let dims: Vec<Extent> = (0..rank)
        .map(|axis| match (at(&x.dims, axis), at(&wanted, axis)) {
            (own, Extent::Fixed(1)) => own,
            (_, wanted) => wanted,
        })
        .collect();
    one(cx.broadcast(x, &dims)?)
}

fn flatten(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axis = cx.attr_int("axis", 1)?;
    let axis = if axis < 0 { axis + x.rank() as i64 } else { axis };
    let axis = usize::try_from(axis).ok().filter(|axis| *axis <= x.rank());
    let axis = axis.ok_or_else(|| invalid("axis is out of range"))?;
    let product = |dims: &[Extent]| match dims {
        [Extent::Batch] => Ok(Extent::Batch),
        dims => {
            let mut product = 1u64;
            for (index, dim) in dims.iter().enumerate() {
                product = match (index, dim) {
                    (_, Extent::Fixed(extent)) => product.saturating_mul(*extent),
                    (0, Extent::Batch) if dims[1..].iter().all(|d| *d == Extent::Fixed(1)) => {
                        return Ok(Extent::Batch);
                    }
                    _ => return Err(Stop::NotBatchable("rows are flattened".to_owned())),
                };
            }
            Ok(Extent::Fixed(product))
        }
    };
    let dims = [product(&x.dims[..axis])?, product(&x.dims[axis..])?];
    one(cx.reshape(x, &dims)?)
}

fn reshape(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let wanted: Vec<(i64, bool)> = match inputs.tensor_opt(1)? {
        Some(shape) => cx.extents(shape)?,
        None => {
            let shape = cx.attr_ints_opt("shape")?.ok_or_else(|| invalid("expected a shape"))?;
            shape.iter().map(|&extent| (extent, false)).collect()
        }
    };
    let zero_copies = cx.attr_int("allowzero", 0)? == 0;
    let mut dims: Vec<Option<Extent>> = Vec::with_capacity(wanted.len());
    for (axis, (extent, rows)) in wanted.into_iter().enumerate() {
        dims.push(match extent {
            _ if rows => Some(Extent::Batch),
            -1 => None,
            0 if zero_copies => {
                let dim = x.dims.get(axis);
                Some(*dim.ok_or_else(|| invalid("a 0 copies an extent that is not there"))?)
            }
            extent => Some(Extent::Fixed(
                u64::try_from(extent).map_err(|_| invalid(format!("an extent of {extent}")))?,
            )),
        });
    }
    let dims = infer_extent(&x.dims, &dims)?;
    one(cx.reshape(x, &dims)?)
}

pub(super) fn fixed(dim: &Extent) -> Option<u64> {
    match dim {
        Extent::Fixed(extent) => Some(*extent),
        Extent::Batch => None,
    }
}

/// Fills in the one extent that is left open.
fn infer_extent(own: &[Extent], wanted: &[Option<Extent>]) -> R<Vec<Extent>> {
    let open = wanted.iter().filter(|dim| dim.is_none()).count();
    if open > 1 {
        return Err(invalid("more than one extent is -1"));
    }
    let product = |dims: &mut dyn Iterator<Item = Extent>| {
        dims.fold((1u64, 0), |(product, batches), dim| match dim {
            Extent::Fixed(extent) => (product.saturating_mul(extent), batches),
            Extent::Batch => (product, batches + 1),
        })
    };
    let (elements, batches) = product(&mut own.iter().copied());
    let (known, known_batches) = product(&mut wanted.iter().flatten().copied());
    let inferred = match (batches, known_batches) {
        (1, 0) if open == 1 && known == elements => Extent::Batch,
        (1, 0) => return Err(Stop::NotBatchable("rows are reshaped away".to_owned())),
        _ if known == 0 => Extent::Fixed(0),
        _ if open == 1 && elements % known != 0 => {
            return Err(invalid(format!("{elements} elements do not fill extents of {known}")));
        }
        _ => Extent::Fixed(elements / known),
    };
    Ok(wanted.iter().map(|dim| dim.unwrap_or(inferred)).collect())
}

fn shape_of(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let rank = x.rank() as i64;
    let clamp = |axis: i64| (if axis < 0 { axis + rank } else { axis }).clamp(0, rank) as usize;
    let start = clamp(cx.attr_int("start", 0)?);
    let end = clamp(cx.attr_int("end", rank)?).max(start);
    let dims = &x.dims[start..end];
    let extents: Vec<i64> =
        dims.iter().map(|dim| fixed(dim).map_or(ROWS, |extent| extent as i64)).collect();
    let tensor = int_vector(&extents);
    if dims.contains(&Extent::Batch)
        && let Form::Bytes { batch, .. } = &mut *tensor.form.borrow_mut()
    {
        let marks = dims.iter().map(|dim| *dim == Extent::Batch).collect();
        *batch = Some(Rc::new(marks));
    }
    one(tensor)
}

/// What stands in the bytes where the number of rows is meant; its mark says so.
const ROWS: i64 = 1;

fn size(_: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    one(int_tensor(&[], &[inputs.tensor(0)?.elements()? as i64]))
}

fn slice(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let given: Vec<&T> =
        (1..5).filter_map(|index| inputs.tensor_opt(index).transpose()).collect::<R<_>>()?;
    cx.observe(&given)?;
    let starts = ints_from(cx, inputs, 1, "starts")?.ok_or_else(|| invalid("expected starts"))?;
    let ends = ints_from(cx, inputs, 2, "ends")?.ok_or_else(|| invalid("expected ends"))?;
    let axes = match ints_from(cx, inputs, 3, "axes")? {
        Some(axes) => axes,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match inputs.tensor_opt(4)? {
        Some(steps) => cx.ints(steps)?,
        None => vec![1; starts.len()],
    };
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err(invalid("starts, ends, axes and steps have different lengths"));
    }
    let mut y = x.clone();
    for index in 0..starts.len() {
        let axis = axis_of(axes[index], x.rank())?;
        let (start, end, step) = (starts[index], ends[index], steps[index]);
        if y.dims[axis] == Extent::Batch && start == 0 && step == 1 && end >= i64::from(i32::MAX) {
            continue;
        }
        let extent = i64::try_from(y.extent(axis)?).unwrap_or(i64::MAX);
        let from_end = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
        let (start, end) = (from_end(start), from_end(end));
        y = match step {
            1.. => {
                let (start, end) = (start.clamp(0, extent), end.clamp(0, extent));
                let end = end.max(start);
                cx.slice(&y, axis, (start as u64, end as u64), step as u64)?
            }
            0 => return Err(invalid("a step of 0")),
            _ => {
                let (start, end) = (start.clamp(-1, extent - 1), end.clamp(-1, extent - 1));
                let reversed = cx.reverse(&y, axis)?;
                let (from, to) = (extent - 1 - start, extent - 1 - end);
                let to = to.max(from);
                cx.slice(&reversed, axis, (from as u64, to as u64), step.unsigned_abs())?
            }
        };
    }
    one(y)
}

fn split(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axis = axis_of(cx.attr_int("axis", 0)?, x.rank())?;
    let sizes = match ints_from(cx, inputs, 1, "split")? {
        Some(sizes) => {
            let size = |&size: &i64| u64::try_from(size).map_err(|_| invalid("a negative size"));
            sizes.iter().map(size).collect::<R<Vec<u64>>>()?
        }
        None => {
            let parts = match cx.attr_int_opt("num_outputs")? {
                Some(parts) => parts.max(1) as u64,
                None => cx.output_count() as u64,
            };
            let extent = x.extent(axis)?;
            let size = extent.div_ceil(parts.max(1));
            (0..parts).map(|part| size.min(extent.saturating_sub(part * size))).collect()
        }
    };
    Ok(cx.split(x, axis, &sizes)?.into_iter().map(Value::from).collect())
}

fn squeeze(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axes = match ints_from(cx, inputs, 1, "axes")? {
        Some(axes) => axes_of(&axes, x.rank())?,
        None => (0..x.rank()).filter(|&axis| x.dims[axis] == Extent::Fixed(1)).collect(),
    };
    let mut dims = Vec::new();
    for (axis, dim) in x.dims.iter().enumerate() {
        match (axes.contains(&axis), dim) {
            (false, dim) => dims.push(*dim),
            (true, Extent::Fixed(1)) => {}
            (true, Extent::Batch) => {
                return Err(Stop::NotBatchable("rows are squeezed".to_owned()));
            }
            (true, Extent::Fixed(extent)) => {
                return Err(invalid(format!("axis {axis}: expected extent 1, got {extent}")));
            }
        }
    }
    one(cx.reshape(x, &dims)?)
}

fn unsqueeze(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axes = ints_from(cx, inputs, 1, "axes")?.ok_or_else(|| invalid("expected axes"))?;
    let rank = x.rank() + axes.len();
    let axes = axes_of(&axes, rank)?;
    let mut own = x.dims.iter();
    let dims: Vec<Extent> = (0..rank)
        .filter_map(|axis| match axes.contains(&axis) {
            true => Some(Extent::Fixed(1)),
            false => own.next().copied(),
        })
        .collect();
    if dims.iter().skip(1).any(|dim| *dim == Extent::Batch) {
        return Err(Stop::NotBatchable("rows lie along another axis than 0".to_owned()));
    }
    one(cx.reshape(x, &dims)?)
}

fn tile(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    if cx.opset < 6 {
        return Err(unsupported("Tile before opset 6"));
    }
    let repeats = cx.ints(inputs.tensor(1)?)?;
    let repeats: R<Vec<u64>> = repeats
        .into_iter()
        .map(|repeat| u64::try_from(repeat).map_err(|_| invalid("a negative repeat")))
        .collect();
    one(cx.tile(inputs.tensor(0)?, &repeats?)?)
}

fn transpose(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let permutation = match cx.attr_ints_opt("perm")? {
        Some(permutation) => {
            permutation.iter().map(|&axis| axis_of(axis, x.rank())).collect::<R<Vec<usize>>>()?
        }
        None => (0..x.rank()).rev().collect(),
    };
    one(cx.transpose(x, &permutation)?)
}

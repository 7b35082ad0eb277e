//! Operators that pad, crop and rearrange blocks.

use super::shape::ints_from;
use super::{Table, one};
use crate::content::{full, int_vector, scalar};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs, axis_of};
use crate::value::{Extent, R, Stop, T, TensorValue, Value, invalid, unsupported};
use aimass_sdk::DType;
use aimass_sdk::graph::{PadMode, ScatterMode};

pub(super) const TABLE: Table = &[
    ("CenterCropPad", center_crop_pad),
    ("Col2Im", col2im),
    ("DepthToSpace", depth_to_space),
    ("Pad", pad),
    ("SpaceToDepth", space_to_depth),
];

/// Elements of an axis whose padding is spelled out as indices.
const INDEXED_MAX: u64 = 1 << 22;

fn pad(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let given: Vec<&T> = [1, 3]
        .into_iter()
        .filter_map(|index| inputs.tensor_opt(index).transpose())
        .collect::<R<_>>()?;
    cx.observe(&given)?;
    let pads = ints_from(cx, inputs, 1, "pads")?.ok_or_else(|| invalid("expected pads"))?;
    let axes = match inputs.tensor_opt(3)? {
        Some(axes) => cx.ints(axes)?,
        None => (0..x.rank() as i64).collect(),
    };
    if pads.len() != 2 * axes.len() {
        let expected = 2 * axes.len();
        return Err(invalid(format!("pads: expected {expected} numbers, got {}", pads.len())));
    }
    let mut sides = vec![(0i64, 0i64); x.rank()];
    for (index, &axis) in axes.iter().enumerate() {
        let axis = axis_of(axis, x.rank())?;
        let side = sides.get_mut(axis).ok_or_else(|| invalid("pads of a scalar"))?;
        *side = (pads[index], pads[axes.len() + index]);
    }
    let mode = cx.attr_text("mode", "constant")?;
    let cropped = crop(cx, x, &sides)?;
    if mode == "constant" {
        let value = match inputs.tensor_opt(2)? {
            Some(value) => cx.reshape_to(value, &[])?,
            None => match cx.attr_float_opt("value")? {
                Some(value) => scalar(x.dtype, value.into())?,
                None => zero(x.dtype)?,
            },
        };
        return one(constant_pad(cx, &cropped, &sides, &value)?);
    }
    if let Some(mode) = native_mode(&cropped, &sides, mode) {
        let (before, after) = added(&sides);
        return one(cx.pad(&cropped, (&before, &after), mode, 0.0)?);
    }
    let mut y = cropped;
    for (axis, &(before, after)) in sides.iter().enumerate() {
        let (before, after) = (before.max(0), after.max(0));
        if (before, after) != (0, 0) {
            let places = padded_places(y.extent(axis)?, before, after, mode)?;
            y = cx.gather(&y, &int_vector(&places), axis)?;
        }
    }
    one(y)
}

/// Elements that are added before and after every axis.
fn added(sides: &[(i64, i64)]) -> (Vec<u64>, Vec<u64>) {
    sides.iter().map(|side| (side.0.max(0) as u64, side.1.max(0) as u64)).unzip()
}

/// The contract's mode, where one pass over the axes is what ONNX means.
fn native_mode(x: &T, sides: &[(i64, i64)], mode: &str) -> Option<PadMode> {
    let (before, after) = added(sides);
    let fits = |at_least: u64| {
        (0..x.rank()).all(|axis| match (before[axis].max(after[axis]), x.dims[axis]) {
            (0, _) => true,
            (pad, Extent::Fixed(extent)) => pad * at_least < extent,
            (_, Extent::Batch) => false,
        })
    };
    match mode {
        "edge" if is_plain(x.dtype) && fits(0) => Some(PadMode::Edge),
        "reflect" if is_plain(x.dtype) && fits(1) => Some(PadMode::Reflect),
        _ => None,
    }
}

/// Takes off what negative pads say.
fn crop(cx: &mut Emitter, x: &T, sides: &[(i64, i64)]) -> R<T> {
    let mut y = x.clone();
    for (axis, &(before, after)) in sides.iter().enumerate() {
        if before >= 0 && after >= 0 {
            continue;
        }
        let extent = x.extent(axis)?;
        let (start, cut) = (before.min(0).unsigned_abs(), after.min(0).unsigned_abs());
        let end = extent.saturating_sub(cut);
        if start > end {
            return Err(invalid(format!("axis {axis}: expected pads that leave elements")));
        }
        y = cx.slice(&y, axis, (start, end), 1)?;
    }
    Ok(y)
}

/// Which elements of an axis are at its places after padding.
fn padded_places(extent: u64, before: i64, after: i64, mode: &str) -> R<Vec<i64>> {
    let total = i128::from(extent) + i128::from(before) + i128::from(after);
    if extent == 0 || total > i128::from(INDEXED_MAX) {
        return Err(invalid(format!(
            "mode {mode}: expected an axis of 1 to {INDEXED_MAX} elements, got {extent} padded \
             by {before} and {after}"
        )));
    }
    let n = extent as i64;
    let place = |at: i64| match mode {
        "edge" => Ok(at.clamp(0, n - 1)),
        "wrap" => Ok(at.rem_euclid(n)),
        // Mirrored at both ends without repeating them: the period is twice the distance.
        "reflect" if n == 1 => Ok(0),
        "reflect" => {
            let at = at.rem_euclid(2 * (n - 1));
            Ok(at.min(2 * (n - 1) - at))
        }
        other => {
            Err(invalid(format!("mode: expected constant, reflect, edge or wrap, got {other}")))
        }
    };
    (-before..n + after).map(place).collect()
}

/// Pads with a scalar that may be computed.
fn constant_pad(cx: &mut Emitter, x: &T, sides: &[(i64, i64)], value: &T) -> R<T> {
    let (before, after) = added(sides);
    let pads = (&before[..], &after[..]);
    if before.iter().chain(&after).all(|&pad| pad == 0) {
        return Ok(x.clone());
    }
    // Only numbers that an f64 holds can be written into the op.
    let exact = !matches!(x.dtype, DType::I64 | DType::U64);
    if value.is_known() {
        let fill = cx.float(value)?;
        if (exact && is_plain(x.dtype)) || fill.abs() < 9e15 && is_plain(x.dtype) {
            return cx.pad(x, pads, PadMode::Constant, fill);
        }
    }
    let inside = full(DType::Bool, &[], 1.0)?;
    let inside = cx.broadcast(&inside, &x.dims)?;
    let inside = cx.pad(&inside, pads, PadMode::Constant, 0.0)?;
    let padded = match is_plain(x.dtype) {
        true => cx.pad(x, pads, PadMode::Constant, 0.0)?,
        false => {
            let bits = cx.bitcast(x, DType::U8)?;
            let bits = cx.pad(&bits, pads, PadMode::Constant, 0.0)?;
            cx.bitcast(&bits, x.dtype)?
        }
    };
    cx.select(&inside, &padded, value)
}

/// Zero, of any dtype whose elements are whole bytes.
pub(super) fn zero(dtype: DType) -> R<T> {
    match dtype.element_bytes() {
        Some(size) => Ok(TensorValue::of_bytes(dtype, &[], vec![0; size as usize])),
        None => Err(unsupported(format!("a zero of type {}", dtype.name()))),
    }
}

/// Whether an f64 can be turned into this dtype.
fn is_plain(dtype: DType) -> bool {
    crate::content::encode(dtype, 0.0).is_ok()
}

fn center_crop_pad(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, shape) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let axes: Vec<i64> = match cx.attr_ints_opt("axes")? {
        Some(axes) => axes.to_vec(),
        None => (0..x.rank() as i64).collect(),
    };
    let wanted = cx.extents(shape)?;
    if wanted.len() != axes.len() {
        let (expected, got) = (axes.len(), wanted.len());
        return Err(invalid(format!("shape: expected {expected} extents, got {got}")));
    }
    let mut sides = vec![(0i64, 0i64); x.rank()];
    let mut y = x.clone();
    for (&axis, (extent, rows)) in axes.iter().zip(wanted) {
        let axis = axis_of(axis, x.rank())?;
        if rows && x.dims.get(axis) == Some(&Extent::Batch) {
            continue;
        }
        if rows {
            return Err(Stop::NotBatchable("an axis gets the extent of the rows".to_owned()));
        }
        let own = x.extent(axis)?;
        let extent = u64::try_from(extent).map_err(|_| invalid("shape: a negative extent"))?;
        if extent <= own {
            let start = (own - extent) / 2;
            y = cx.slice(&y, axis, (start, start + extent), 1)?;
        } else {
            let missing = i64::try_from(extent - own).map_err(|_| invalid("shape: too large"))?;
            sides[axis] = (missing / 2, missing - missing / 2);
        }
    }
    let zero = zero(x.dtype)?;
    one(constant_pad(cx, &y, &sides, &zero)?)
}

/// Batch, channels, height and width of an image, and a block's edge.
fn blocks(cx: &Cx<'_>, x: &T) -> R<(Extent, [u64; 3], u64)> {
    if x.rank() != 4 {
        return Err(invalid(format!(
            "expected [batch, channels, height, width], got rank {}",
            x.rank()
        )));
    }
    let block = cx.attr_int("blocksize", 0)?;
    let block = u64::try_from(block).ok().filter(|block| (1..=1 << 20).contains(block));
    let block = block.ok_or_else(|| invalid("blocksize: expected at least 1"))?;
    Ok((x.dims[0], [x.extent(1)?, x.extent(2)?, x.extent(3)?], block))
}

fn with_batch(batch: Extent, rest: &[u64]) -> Vec<Extent> {
    [batch].into_iter().chain(rest.iter().map(|&extent| Extent::Fixed(extent))).collect()
}

fn depth_first(cx: &Cx<'_>) -> R<bool> {
    match cx.attr_text("mode", "DCR")? {
        "DCR" => Ok(true),
        "CRD" => Ok(false),
        other => Err(invalid(format!("mode: expected DCR or CRD, got {other}"))),
    }
}

fn depth_to_space(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let (batch, [channels, height, width], block) = blocks(cx, x)?;
    if channels % (block * block) != 0 {
        let message = format!("expected channels in blocks of {block}x{block}, got {channels}");
        return Err(invalid(message));
    }
    let depth = channels / (block * block);
    let (dims, order) = match depth_first(cx)? {
        true => ([block, block, depth, height, width], [0, 3, 4, 1, 5, 2]),
        false => ([depth, block, block, height, width], [0, 1, 4, 2, 5, 3]),
    };
    let split = cx.reshape(x, &with_batch(batch, &dims))?;
    let moved = cx.transpose(&split, &order)?;
    one(cx.reshape(&moved, &with_batch(batch, &[depth, height * block, width * block]))?)
}

fn space_to_depth(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let (batch, [channels, height, width], block) = blocks(cx, x)?;
    if height % block != 0 || width % block != 0 {
        let message =
            format!("expected height and width in blocks of {block}, got {height}x{width}");
        return Err(invalid(message));
    }
    let (rows, columns) = (height / block, width / block);
    let order = match depth_first(cx)? {
        true => [0, 3, 5, 1, 2, 4],
        false => [0, 1, 3, 5, 2, 4],
    };
    let split = cx.reshape(x, &with_batch(batch, &[channels, rows, block, columns, block]))?;
    let moved = cx.transpose(&split, &order)?;
    one(cx.reshape(&moved, &with_batch(batch, &[channels * block * block, rows, columns]))?)
}

/// One spatial axis of an image that is put together from blocks.
struct Fold {
    image: u64,
    block: u64,
    stride: u64,
    dilation: u64,
    before: u64,
    after: u64,
}

impl Fold {
    /// Extent with pads.
    fn padded(&self) -> u64 {
        self.image.saturating_add(self.before).saturating_add(self.after)
    }

    /// How many blocks lie along the axis.
    fn count(&self) -> R<u64> {
        let span = self.dilation.saturating_mul(self.block.saturating_sub(1)).saturating_add(1);
        match self.padded().checked_sub(span) {
            Some(room) if self.block > 0 => Ok(room / self.stride + 1),
            _ => Err(invalid(format!("blocks of {span} in an axis of {}", self.padded()))),
        }
    }
}

fn folds(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Fold>> {
    let (image, block) = (inputs.tensor(1)?, inputs.tensor(2)?);
    cx.observe(&[image, block])?;
    let (image, block) = (cx.ints(image)?, cx.ints(block)?);
    let rank = image.len();
    let numbers = |name: &str, count: usize, default: i64| {
        let given = cx.attr_ints_opt(name)?.map_or_else(|| vec![default; count], <[i64]>::to_vec);
        match given.len() == count {
            true => Ok(given),
            false => Err(invalid(format!("{name}: expected {count} numbers, got {}", given.len()))),
        }
    };
    let (strides, dilations) = (numbers("strides", rank, 1)?, numbers("dilations", rank, 1)?);
    let pads = numbers("pads", 2 * rank, 0)?;
    if block.len() != rank {
        return Err(invalid("expected image_shape and block_shape of one length"));
    }
    let count = |value: i64, least: i64| match value {
        value if (least..1 << 40).contains(&value) => Ok(value as u64),
        value => Err(invalid(format!("expected a number of at least {least}, got {value}"))),
    };
    (0..rank)
        .map(|axis| {
            Ok(Fold {
                image: count(image[axis], 0)?,
                block: count(block[axis], 1)?,
                stride: count(strides[axis], 1)?,
                dilation: count(dilations[axis], 1)?,
                before: count(pads[axis], 0)?,
                after: count(pads[rank + axis], 0)?,
            })
        })
        .collect()
}

/// Sums blocks into an image: every element is added at its place in the padded image.
fn col2im(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let folds = folds(cx, inputs)?;
    if x.rank() != 3 || folds.is_empty() {
        return Err(invalid(
            "expected [batch, channels of blocks, blocks] and an image of 1 axis or more",
        ));
    }
    let product = |of: &dyn Fn(&Fold) -> R<u64>| {
        folds
            .iter()
            .try_fold(1u64, |product, fold| -> R<u64> { Ok(product.saturating_mul(of(fold)?)) })
    };
    let blocks = product(&Fold::count)?;
    let places = product(&|fold| Ok(fold.block))?;
    let padded = product(&|fold| Ok(fold.padded()))?;
    let channels = x.extent(1)? / places.max(1);
    if x.extent(1)? != channels.saturating_mul(places) || x.extent(2)? != blocks {
        let expected = format!("channels in multiples of {places} and {blocks} blocks");
        return Err(invalid(format!("expected {expected}, got {:?}", &x.dims[1..])));
    }
    if blocks.saturating_mul(places) > INDEXED_MAX {
        return Err(invalid("expected fewer elements in all blocks"));
    }
    let at = int_vector(&fold_places(&folds)?);
    let elements = blocks * places;
    let dims = [x.dims[0], Extent::Fixed(channels), Extent::Fixed(elements)];
    let updates = cx.reshape(x, &dims)?;
    let at = cx.broadcast(&at, &dims)?;
    let zero = zero(x.dtype)?;
    let empty = cx.broadcast(&zero, &[dims[0], dims[1], Extent::Fixed(padded)])?;
    let mode = ScatterMode::Add;
    let image = super::scatter::combined(cx, (&empty, &updates), mode, |cx, x, updates| {
        cx.scatter_elements(x, &at, updates, (2, mode))
    })?;
    let shape: Vec<u64> = [channels].into_iter().chain(folds.iter().map(Fold::padded)).collect();
    let mut image = cx.reshape(&image, &with_batch(x.dims[0], &shape))?;
    for (axis, fold) in folds.iter().enumerate() {
        image = cx.slice(&image, axis + 2, (fold.before, fold.before + fold.image), 1)?;
    }
    one(image)
}

/// Where in the flat padded image each element of each block is added: [block places, blocks].
fn fold_places(folds: &[Fold]) -> R<Vec<i64>> {
    let (mut inside, mut starts) = (vec![0u64], vec![0u64]);
    for fold in folds {
        let (padded, blocks) = (fold.padded(), fold.count()?);
        let along = |places: &[u64], count: u64, step: u64| -> Vec<u64> {
            let next = |&place: &u64| (0..count).map(move |index| place * padded + index * step);
            places.iter().flat_map(next).collect()
        };
        inside = along(&inside, fold.block, fold.dilation);
        starts = along(&starts, blocks, fold.stride);
    }
    let add = |&place: &u64| starts.iter().map(move |start| (place + start) as i64);
    Ok(inside.iter().flat_map(add).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_picks_the_places_that_numpy_picks() {
        let places = |n, mode| padded_places(n, 4, 3, mode).unwrap();
        assert_eq!(places(3, "edge"), [0, 0, 0, 0, 0, 1, 2, 2, 2, 2]);
        assert_eq!(places(3, "wrap"), [2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
        assert_eq!(places(3, "reflect"), [0, 1, 2, 1, 0, 1, 2, 1, 0, 1]);
        assert_eq!(places(1, "reflect"), [0; 8]);
        assert!(padded_places(0, 1, 1, "edge").is_err());
        assert!(padded_places(3, 1 << 40, 0, "edge").is_err());
    }

    #[test]
    fn blocks_are_added_at_strides_and_dilations() {
        let fold = |block, stride, dilation| Fold {
            image: 5,
            block,
            stride,
            dilation,
            before: 0,
            after: 0,
        };
        assert_eq!(fold_places(&[fold(2, 3, 1)]).unwrap(), [0, 3, 1, 4]);
        assert_eq!(fold_places(&[fold(2, 1, 4)]).unwrap(), [0, 4]);
        assert_eq!(fold_places(&[fold(1, 4, 1), fold(1, 4, 1)]).unwrap(), [0, 4, 20, 24]);
        assert!(fold(6, 1, 1).count().is_err());
    }
}

//! Deformable convolution: every element of a window is sampled at an offset of its own, between the
//! elements of the input, and weighed by a mask (arXiv:1703.06211, arXiv:1811.11168).

use super::conv::{groups, kernel_of};
use super::window::{Geometry, spatial_extents};
use super::{Table, one};
use crate::content::{number_tensor, scalar};
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[("DeformConv", deform_conv)];

/// Samples that are taken of one channel.
const SAMPLES_MAX: u64 = 1 << 22;

/// Extents of the convolution.
struct Sizes {
    geometry: Geometry,
    /// Of the input.
    plane: [u64; 2],
    /// Of the output.
    positions: [u64; 2],
    channels: u64,
    /// Groups of channels that share offsets.
    offset_groups: u64,
    taps: u64,
}

fn deform_conv(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, w, offsets) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
    if x.rank() != 4 {
        return Err(unsupported(format!("expected [N, C, H, W], got rank {}", x.rank())));
    }
    let sizes = Sizes::of(cx, x, w)?;
    let columns = sizes.columns(cx, x, offsets, inputs.tensor_opt(4)?)?;
    let groups = u64::from(groups(cx)?);
    let (filters, width) = (w.extent(0)?, sizes.channels / groups * sizes.taps);
    let places = Extent::Fixed(sizes.positions[0] * sizes.positions[1]);
    if filters % groups != 0 || sizes.channels % groups != 0 {
        return Err(invalid(format!("group: {groups} do not divide {filters} filters")));
    }
    let grouped = [x.dims[0], Extent::Fixed(groups), Extent::Fixed(width), places];
    let columns = cx.reshape(&columns, &grouped)?;
    let weights = cx.reshape_to(w, &[1, groups, filters / groups, width])?;
    let product = cx.matmul(&weights, &columns)?;
    let [height, length] = sizes.positions.map(Extent::Fixed);
    let mut y = cx.reshape(&product, &[x.dims[0], Extent::Fixed(filters), height, length])?;
    if let Some(bias) = inputs.tensor_opt(3)? {
        let bias = cx.reshape_to(bias, &[filters, 1, 1])?;
        y = cx.add(&y, &bias)?;
    }
    one(y)
}

impl Sizes {
    fn of(cx: &Cx<'_>, x: &T, w: &T) -> R<Sizes> {
        let kernel = kernel_of(cx, x, w)?;
        let geometry = Geometry::of(cx, x, kernel)?;
        let extents = spatial_extents(x)?;
        let (Some(&height), Some(&width)) = (extents.first(), extents.get(1)) else {
            return Err(invalid("expected two spatial axes"));
        };
        let positions =
            [geometry.positions(0, height, false)?, geometry.positions(1, width, false)?];
        let offset_groups = cx.attr_int("offset_group", 1)?;
        let channels = x.extent(1)?;
        let offset_groups = u64::try_from(offset_groups)
            .ok()
            .filter(|groups| *groups > 0 && channels % groups == 0)
            .ok_or_else(|| invalid(format!("offset_group: got {offset_groups}")))?;
        let taps = geometry.taps(1 << 12)?;
        let samples = [offset_groups, taps, positions[0], positions[1]];
        let samples = samples.iter().fold(1u64, |product, &own| product.saturating_mul(own));
        if samples > SAMPLES_MAX {
            return Err(unsupported(format!(
                "expected at most {SAMPLES_MAX} samples, got {samples}"
            )));
        }
        Ok(Sizes { geometry, plane: [height, width], positions, channels, offset_groups, taps })
    }

    /// `[groups, taps, places]` behind the rows, and what more follows the taps.
    fn dims(&self, rows: Extent, more: &[u64]) -> Vec<Extent> {
        let places = self.positions[0] * self.positions[1];
        let behind = [self.offset_groups, self.taps].into_iter().chain(more.iter().copied());
        let behind = behind.chain([places]).map(Extent::Fixed);
        [rows].into_iter().chain(behind).collect()
    }

    /// What the windows see, `[rows, groups, channels of a group, taps * places]`.
    fn columns(&self, cx: &mut Cx<'_>, x: &T, offsets: &T, mask: Option<&T>) -> R<T> {
        let moves = cx.reshape(offsets, &self.dims(x.dims[0], &[2]))?;
        let mut axes = Vec::new();
        for axis in 0..2 {
            let own = cx.slice(&moves, 3, (axis as u64, axis as u64 + 1), 1)?;
            let own = cx.squeeze(&own, 3)?;
            let base = self.base(axis, x.dtype)?;
            axes.push(cx.add(&own, &base)?);
        }
        let mut weight = None;
        if let Some(mask) = mask {
            weight = Some(cx.reshape(mask, &self.dims(x.dims[0], &[]))?);
        }
        let each = self.channels / self.offset_groups;
        let plane = self.plane[0].saturating_mul(self.plane[1]);
        let grouped = [self.offset_groups, each, plane].map(Extent::Fixed);
        let grouped = [[x.dims[0]].as_slice(), &grouped].concat();
        let pixels = cx.reshape(x, &grouped)?;
        let mut total: Option<T> = None;
        for corner in [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] {
            let part = self.corner(cx, &pixels, [&axes[0], &axes[1]], corner, weight.as_ref())?;
            total = Some(match total {
                Some(total) => cx.add(&total, &part)?,
                None => part,
            });
        }
        total.ok_or_else(|| invalid("a window without elements"))
    }

    /// Where every tap lies without its offset, `[1, 1, taps, places]`.
    fn base(&self, axis: usize, dtype: DType) -> R<T> {
        let [height, width] = self.positions;
        let mut values = Vec::with_capacity((self.taps * height * width) as usize);
        for tap in 0..self.taps {
            let offset = self.geometry.tap(tap)[axis] as f64;
            for place in 0..height * width {
                let position = if axis == 0 { place / width } else { place % width };
                let start = position * self.geometry.strides[axis];
                values.push(start as f64 + offset - self.geometry.before[axis] as f64);
            }
        }
        number_tensor(dtype, &[1, 1, self.taps, height * width], &values)
    }

    /// One corner's share of the samples between elements; outside all is 0.
    fn corner(
        &self,
        cx: &mut Cx<'_>,
        pixels: &T,
        at: [&T; 2],
        corner: [f64; 2],
        mask: Option<&T>,
    ) -> R<T> {
        let mut weight = mask.cloned();
        let mut inside: Option<T> = None;
        let mut index: Option<T> = None;
        for axis in 0..2 {
            let low = cx.floor(at[axis])?;
            let part = cx.sub(at[axis], &low)?;
            let share = match corner[axis] == 0.0 {
                true => {
                    let rest = cx.neg(&part)?;
                    cx.add_number(&rest, 1.0)?
                }
                false => part,
            };
            weight = Some(match weight {
                Some(weight) => cx.mul(&weight, &share)?,
                None => share,
            });
            let own = cx.add_number(&low, corner[axis])?;
            let last = self.plane[axis].saturating_sub(1) as f64;
            let within = cx.clamp(&own, 0.0, last)?;
            let hit = cx.equal(&within, &own)?;
            inside = Some(match inside {
                Some(inside) => cx.logical_and(&inside, &hit)?,
                None => hit,
            });
            let within = cx.cast(&within, DType::I64)?;
            index = Some(match index {
                Some(rows) => {
                    let rows = cx.mul_number(&rows, self.plane[1] as f64)?;
                    cx.add(&rows, &within)?
                }
                None => within,
            });
        }
        let (Some(weight), Some(inside), Some(index)) = (weight, inside, index) else {
            return Err(invalid("expected two spatial axes"));
        };
        let zero = scalar(weight.dtype, 0.0)?;
        let weight = cx.select(&inside, &weight, &zero)?;
        self.gathered(cx, pixels, (&index, &weight))
    }

    /// Elements of every channel at the indices, weighed.
    fn gathered(&self, cx: &mut Cx<'_>, pixels: &T, (index, weight): (&T, &T)) -> R<T> {
        let samples = self.taps * self.positions[0] * self.positions[1];
        let one = [pixels.dims[0], pixels.dims[1], Extent::Fixed(1), Extent::Fixed(samples)];
        let index = cx.reshape(index, &one)?;
        let all = [pixels.dims[0], pixels.dims[1], pixels.dims[2], Extent::Fixed(samples)];
        let index = cx.broadcast(&index, &all)?;
        let values = cx.gather_elements(pixels, &index, 3)?;
        let weight = cx.reshape(weight, &one)?;
        cx.mul(&values, &weight)
    }
}

//! How a window moves over spatial axes: what convolutions and poolings say in their attributes.

use crate::node::Cx;
use crate::value::{Extent, R, Stop, T, invalid, unsupported};
use aimass_sdk::graph::Window;

/// Numbers beyond this are no strides, pads or kernels of a model.
const NUMBER_MAX: i64 = 1 << 31;

/// A window over the spatial axes of `[N, C, ..]`; one number an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) kernel: Vec<u64>,
    pub(super) strides: Vec<u64>,
    pub(super) dilations: Vec<u64>,
    pub(super) before: Vec<u64>,
    pub(super) after: Vec<u64>,
}

/// `auto_pad`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AutoPad {
    NotSet,
    SameUpper,
    SameLower,
    Valid,
}

impl AutoPad {
    pub(super) fn of(cx: &Cx<'_>) -> R<AutoPad> {
        Ok(match cx.attr_text("auto_pad", "NOTSET")? {
            "NOTSET" | "" => AutoPad::NotSet,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            other => return Err(invalid(format!("auto_pad: got `{other}`"))),
        })
    }

    /// Halves of a total; the odd one goes to the end that the name says.
    pub(super) fn halves(self, total: u64) -> (u64, u64) {
        match self {
            AutoPad::SameLower => (total - total / 2, total / 2),
            AutoPad::NotSet | AutoPad::SameUpper | AutoPad::Valid => (total / 2, total - total / 2),
        }
    }
}

/// Number of spatial axes of `[N, C, ..]`.
pub(super) fn spatial_rank(x: &T) -> R<usize> {
    match x.rank().checked_sub(2) {
        Some(spatial @ 1..) => Ok(spatial),
        _ => Err(invalid(format!("expected [N, C, spatial..], got rank {}", x.rank()))),
    }
}

/// Extents of the spatial axes.
pub(super) fn spatial_extents(x: &T) -> R<Vec<u64>> {
    (2..x.rank()).map(|axis| x.extent(axis)).collect()
}

/// A list attribute with one number of at least `least` an axis; `default` where it is not set.
pub(super) fn numbers(
    cx: &Cx<'_>,
    name: &str,
    len: usize,
    (least, default): (i64, u64),
) -> R<Vec<u64>> {
    let Some(values) = cx.attr_ints_opt(name)?.filter(|values| !values.is_empty()) else {
        return Ok(vec![default; len]);
    };
    if values.len() != len {
        return Err(invalid(format!("{name}: expected {len} numbers, got {}", values.len())));
    }
    let number = |&value: &i64| match value {
        _ if value < least && value < 0 => Err(unsupported(format!("{name} of {value}"))),
        _ if value < least || value > NUMBER_MAX => Err(invalid(format!("{name} of {value}"))),
        _ => Ok(value as u64),
    };
    values.iter().map(number).collect()
}

/// The required attribute `kernel_shape`.
pub(super) fn kernel_shape(cx: &Cx<'_>, spatial: usize) -> R<Vec<u64>> {
    if !cx.has("kernel_shape") {
        return Err(invalid("expected an attribute kernel_shape"));
    }
    numbers(cx, "kernel_shape", spatial, (1, 1))
}

impl Geometry {
    /// Strides and dilations of the node, without pads.
    pub(super) fn unpadded(cx: &Cx<'_>, kernel: Vec<u64>) -> R<Geometry> {
        let spatial = kernel.len();
        if kernel.iter().any(|&extent| extent == 0 || extent > NUMBER_MAX as u64) {
            return Err(invalid(format!("expected a kernel of some elements, got {kernel:?}")));
        }
        Ok(Geometry {
            strides: numbers(cx, "strides", spatial, (1, 1))?,
            dilations: numbers(cx, "dilations", spatial, (1, 1))?,
            before: vec![0; spatial],
            after: vec![0; spatial],
            kernel,
        })
    }

    /// All that the node says, pads resolved for the spatial extents of `x`.
    pub(super) fn of(cx: &Cx<'_>, x: &T, kernel: Vec<u64>) -> R<Geometry> {
        let spatial = kernel.len();
        let mut geometry = Geometry::unpadded(cx, kernel)?;
        let auto = AutoPad::of(cx)?;
        match auto {
            AutoPad::Valid => {}
            AutoPad::NotSet => {
                let pads = numbers(cx, "pads", 2 * spatial, (0, 0))?;
                let (before, after) = pads.split_at(spatial);
                (geometry.before, geometry.after) = (before.to_vec(), after.to_vec());
            }
            AutoPad::SameUpper | AutoPad::SameLower => {
                for (axis, extent) in spatial_extents(x)?.into_iter().enumerate() {
                    let total = geometry.same_pads(axis, extent);
                    (geometry.before[axis], geometry.after[axis]) = auto.halves(total);
                }
            }
        }
        Ok(geometry)
    }

    /// Elements from the first to the last of a window.
    pub(super) fn span(&self, axis: usize) -> u64 {
        (self.kernel[axis] - 1).saturating_mul(self.dilations[axis]).saturating_add(1)
    }

    /// Pads that make `ceil(extent / stride)` positions.
    fn same_pads(&self, axis: usize, extent: u64) -> u64 {
        let positions = extent.div_ceil(self.strides[axis]);
        let reach = positions.saturating_sub(1).saturating_mul(self.strides[axis]);
        reach.saturating_add(self.span(axis)).saturating_sub(extent)
    }

    /// Positions of the window along an axis; with `ceil`, one that starts within the input or the
    /// pads before it may hang over the end.
    pub(super) fn positions(&self, axis: usize, extent: u64, ceil: bool) -> R<u64> {
        let (stride, span) = (self.strides[axis], self.span(axis));
        let padded = extent.saturating_add(self.before[axis]).saturating_add(self.after[axis]);
        let Some(room) = padded.checked_sub(span) else {
            let got = format!("{extent} and pads of {}", padded - extent);
            return Err(invalid(format!("expected an extent of at least {span}, got {got}")));
        };
        let floor = room / stride + 1;
        let starts_inside = floor.saturating_mul(stride) < extent.saturating_add(self.before[axis]);
        Ok(floor + u64::from(ceil && room % stride != 0 && starts_inside))
    }

    /// Makes room behind for all positions; answers them.
    pub(super) fn reach(&mut self, extents: &[u64], ceil: bool) -> R<Vec<u64>> {
        let mut positions = Vec::with_capacity(extents.len());
        for (axis, &extent) in extents.iter().enumerate() {
            let count = self.positions(axis, extent, ceil)?;
            let end =
                (count - 1).saturating_mul(self.strides[axis]).saturating_add(self.span(axis));
            let needed = end.saturating_sub(extent.saturating_add(self.before[axis]));
            self.after[axis] = self.after[axis].max(needed);
            positions.push(count);
        }
        Ok(positions)
    }

    /// As the contract writes it.
    pub(super) fn window(&self) -> Window {
        Window {
            strides: self.strides.clone(),
            pads_before: self.before.clone(),
            pads_after: self.after.clone(),
            dilations: self.dilations.clone(),
        }
    }

    /// Number of elements in a window, if it is one that may be unrolled.
    pub(super) fn taps(&self, max: u64) -> R<u64> {
        let taps = self.kernel.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
        match taps <= max {
            true => Ok(taps),
            false => {
                Err(unsupported(format!("expected a window of at most {max} elements, got {taps}")))
            }
        }
    }

    /// Offsets of tap `index` of the window, row-major, dilated.
    pub(super) fn tap(&self, mut index: u64) -> Vec<u64> {
        let mut offsets = vec![0; self.kernel.len()];
        for axis in (0..self.kernel.len()).rev() {
            offsets[axis] = index % self.kernel[axis] * self.dilations[axis];
            index /= self.kernel[axis];
        }
        offsets
    }
}

/// Extents as an operator's dims: those of `[N, C]` of `x` and these.
pub(super) fn with_spatial(x: &T, spatial: &[u64]) -> R<Vec<Extent>> {
    let lead = x.dims.get(..2).ok_or_else(|| Stop::NotBatchable("a rank below 2".to_owned()))?;
    Ok(lead.iter().copied().chain(spatial.iter().map(|&extent| Extent::Fixed(extent))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(kernel: u64, stride: u64, dilation: u64, pads: (u64, u64)) -> Geometry {
        Geometry {
            kernel: vec![kernel],
            strides: vec![stride],
            dilations: vec![dilation],
            before: vec![pads.0],
            after: vec![pads.1],
        }
    }

    #[test]
    fn positions_round_down_or_up_but_start_inside() {
        assert_eq!(geometry(3, 2, 1, (0, 0)).positions(0, 4, false).unwrap(), 1);
        assert_eq!(geometry(3, 2, 1, (0, 0)).positions(0, 4, true).unwrap(), 2);
        assert_eq!(geometry(1, 2, 1, (0, 0)).positions(0, 2, true).unwrap(), 1);
        assert_eq!(geometry(3, 3, 1, (1, 1)).positions(0, 2, true).unwrap(), 1);
        assert!(geometry(5, 1, 2, (0, 0)).positions(0, 8, false).is_err());
    }

    #[test]
    fn a_window_that_hangs_over_the_end_gets_room() {
        let mut hanging = geometry(3, 2, 1, (0, 0));
        assert_eq!(hanging.reach(&[4], true).unwrap(), [2]);
        assert_eq!(hanging.after, [1]);
    }

    #[test]
    fn same_pads_keep_the_rounded_extent() {
        for (extent, kernel, stride, dilation) in [(7, 3, 2, 1), (8, 3, 2, 2), (5, 1, 3, 1)] {
            let mut own = geometry(kernel, stride, dilation, (0, 0));
            (own.before[0], own.after[0]) = AutoPad::SameUpper.halves(own.same_pads(0, extent));
            assert_eq!(own.positions(0, extent, false).unwrap(), extent.div_ceil(stride));
        }
        assert_eq!(AutoPad::SameUpper.halves(3), (1, 2));
        assert_eq!(AutoPad::SameLower.halves(3), (2, 1));
    }

    #[test]
    fn taps_are_row_major_and_dilated() {
        let own = Geometry {
            kernel: vec![2, 3],
            strides: vec![1, 1],
            dilations: vec![1, 2],
            before: vec![0, 0],
            after: vec![0, 0],
        };
        let taps: Vec<Vec<u64>> = (0..6).map(|tap| own.tap(tap)).collect();
        assert_eq!(taps, [[0, 0], [0, 2], [0, 4], [1, 0], [1, 2], [1, 4]]);
        assert_eq!(own.taps(6).unwrap(), 6);
        assert!(own.taps(5).is_err());
    }
}

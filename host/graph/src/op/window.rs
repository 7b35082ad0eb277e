//! How a convolution or a pooling window moves, and the extents that follow.

use super::Infer;
use crate::dim::DimRule;
use crate::{Dim, GraphError, ValueSpec};
use aimass_cpu::conv::{Axis, SPATIAL_AXES};
use aimass_tensor::Shape;

/// How a convolution or a pooling window moves; one number a spatial dimension.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// Steps in elements, at least 1.
    pub strides: Vec<u64>,
    /// Elements added before each dimension.
    pub pads_before: Vec<u64>,
    /// Elements added after each dimension; more than a last window needs are ignored.
    pub pads_after: Vec<u64>,
    /// Distance between window elements, at least 1.
    pub dilations: Vec<u64>,
}

/// Number of window positions: `(extent + pads - span) / stride + 1`, if the window fits.
pub(crate) fn window_count(extent: u64, span: u64, stride: u64, pads: u64) -> Option<u64> {
    let padded = extent.checked_add(pads)?;
    Some(padded.checked_sub(span)? / stride + 1)
}

/// Extent that windows at `extent` positions cover: `stride (extent - 1) + plus - minus`.
pub(crate) fn spread_extent(extent: u64, stride: u64, plus: u64, minus: u64) -> Option<u64> {
    let covered = extent.checked_sub(1)?.checked_mul(stride)?;
    covered.checked_add(plus)?.checked_sub(minus)
}

impl Window {
    /// Requires `[rows, channels, ..]` with one to three spatial axes, and one number of each list an
    /// axis. Answers the number of spatial axes.
    pub(super) fn check(&self, cx: &Infer<'_>, x: &ValueSpec) -> Result<usize, GraphError> {
        let spatial = x.rank().saturating_sub(2);
        if !(1..=SPATIAL_AXES).contains(&spatial) {
            return Err(GraphError::Rank { op: cx.op, expected: "3, 4 or 5", got: x.rank() });
        }
        let lists = [
            ("strides", &self.strides, 1),
            ("pads-before", &self.pads_before, 0),
            ("pads-after", &self.pads_after, 0),
            ("dilations", &self.dilations, 1),
        ];
        for (name, list, least) in lists {
            if list.len() != spatial {
                return Err(cx.argument(name, "one number a spatial dimension", &list.len()));
            }
            if let Some(number) = list.iter().find(|&&number| number < least) {
                return Err(cx.argument(name, "at least 1", number));
            }
        }
        Ok(spatial)
    }

    /// Elements from the first to the last of a window along axis `i`.
    fn span(&self, cx: &Infer<'_>, i: usize, kernel: u64) -> Result<u64, GraphError> {
        if kernel == 0 {
            return Err(cx.argument("window", "at least 1 element a dimension", &kernel));
        }
        let reach = (kernel - 1).checked_mul(self.dilations[i]);
        let span = reach.and_then(|reach| reach.checked_add(1));
        span.filter(|&span| span <= i64::MAX as u64).ok_or(GraphError::Elements { op: cx.op })
    }

    fn pads(&self, cx: &Infer<'_>, i: usize) -> Result<u64, GraphError> {
        let pads = self.pads_before[i].checked_add(self.pads_after[i]);
        let fits = pads.filter(|&pads| pads <= i64::MAX as u64 / 2);
        fits.ok_or(GraphError::Elements { op: cx.op })
    }

    /// Positions of a window of `kernel` elements along spatial axis `i` of extent `of`.
    pub(super) fn positions(
        &self,
        cx: &mut Infer<'_>,
        i: usize,
        kernel: u64,
        of: &Dim,
    ) -> Result<Dim, GraphError> {
        let (span, pads, stride) = (self.span(cx, i, kernel)?, self.pads(cx, i)?, self.strides[i]);
        let Some(extent) = of.fixed() else {
            cx.not_rows(of)?;
            return Ok(cx.dims.derive(DimRule::Window { of: of.clone(), span, stride, pads }));
        };
        let count = window_count(extent, span, stride, pads);
        count.map(Dim::Fixed).ok_or_else(|| GraphError::Shape {
            op: cx.op,
            expected: format!("an extent and pads of at least {span} for the window"),
            got: format!("{extent} and {pads}"),
        })
    }

    /// Extent that a transposed window makes of extent `of` along spatial axis `i`.
    pub(super) fn spread(
        &self,
        cx: &mut Infer<'_>,
        i: usize,
        (kernel, more): (u64, u64),
        of: &Dim,
    ) -> Result<Dim, GraphError> {
        let (span, minus, stride) = (self.span(cx, i, kernel)?, self.pads(cx, i)?, self.strides[i]);
        let plus = span.checked_add(more).ok_or(GraphError::Elements { op: cx.op })?;
        let Some(extent) = of.fixed() else {
            cx.not_rows(of)?;
            return Ok(cx.dims.derive(DimRule::Spread { of: of.clone(), stride, plus, minus }));
        };
        let extent = spread_extent(extent, stride, plus, minus).map(Dim::Fixed);
        extent.ok_or_else(|| GraphError::Shape {
            op: cx.op,
            expected: "at least 1 element, and pads within what the windows cover".to_owned(),
            got: of.to_string(),
        })
    }

    /// The axes of a kernel; `[rows, channels, input..]` and `[rows, channels, output..]`.
    pub(super) fn axes(&self, input: &Shape, output: &Shape, kernel: &[usize]) -> [Axis; 3] {
        let mut axes = [Axis::ONE; SPATIAL_AXES];
        let first = SPATIAL_AXES - kernel.len();
        for (i, axis) in axes[first..].iter_mut().enumerate() {
            *axis = Axis {
                input: input[i + 2],
                output: output[i + 2],
                kernel: kernel[i],
                stride: self.strides[i] as usize,
                dilation: self.dilations[i] as usize,
                before: self.pads_before[i] as usize,
            };
        }
        axes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_extents_are_inverse_and_never_overflow() {
        assert_eq!(window_count(7, 3, 2, 2), Some(4));
        assert_eq!(window_count(2, 3, 1, 0), None);
        assert_eq!(window_count(u64::MAX, 1, 1, 1), None);
        assert_eq!(spread_extent(4, 2, 3, 2), Some(7));
        assert_eq!(spread_extent(0, 2, 3, 2), None);
        assert_eq!(spread_extent(1, 1, 1, 2), None);
        assert_eq!(spread_extent(u64::MAX, 3, 1, 0), None);
    }
}

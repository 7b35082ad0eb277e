//! Extents of operations on images with channels last.

use super::Axis;
use crate::view::Rows;

/// Extents of an operation from `[batch, rows, columns, channels]` to
/// `[batch, rows, columns, filters]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageDims {
    /// Items.
    pub batch: usize,
    /// Vertical axis.
    pub rows: Axis,
    /// Horizontal axis.
    pub columns: Axis,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub filters: usize,
}

impl ImageDims {
    /// Pixels of the output, over all items.
    pub fn pixels(&self) -> usize {
        self.batch * self.rows.output * self.columns.output
    }

    /// Elements of the window.
    pub fn taps(&self) -> usize {
        self.rows.kernel * self.columns.kernel
    }

    /// Elements of the input.
    pub fn inputs(&self) -> usize {
        self.batch * self.rows.input * self.columns.input * self.channels
    }

    /// Elements of the output.
    pub fn outputs(&self) -> usize {
        self.pixels() * self.filters
    }

    /// # Panics
    /// If there are other numbers of elements.
    pub(super) fn check(&self, x: usize, y: usize, residual: Option<Rows<'_>>) {
        assert_eq!(x, self.inputs(), "elements of x");
        assert_eq!(y, self.outputs(), "elements of y");
        if let Some(residual) = residual {
            let extents = (residual.rows(), residual.columns());
            assert_eq!(extents, (self.pixels(), self.filters), "extents of the residual");
        }
    }
}

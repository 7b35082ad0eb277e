//! Shapes: up to eight extents, whose product is known not to overflow.

use std::fmt;
use std::ops::Deref;

/// Most dimensions that a tensor may have.
pub const RANK_MAX: usize = 8;

/// Extents of a tensor, outermost first. A scalar has rank 0.
///
/// The number of elements fits `usize` by construction, so that no later code multiplies
/// extents unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    dims: [usize; RANK_MAX],
}

/// Why a list of extents is no shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// More than [`RANK_MAX`] dimensions.
    #[error("a tensor has at most {RANK_MAX} dimensions, got {rank}")]
    RankTooLarge {
        /// Dimensions that came.
        rank: usize,
    },
    /// The product of the extents overflows.
    #[error("the number of elements of shape {dims:?} does not fit 63 bits")]
    TooManyElements {
        /// Extents that came.
        dims: Vec<usize>,
    },
}

impl Shape {
    /// The shape of one element.
    pub const SCALAR: Shape = Shape { rank: 0, dims: [1; RANK_MAX] };

    /// A shape with these extents.
    ///
    /// # Errors
    /// [`ShapeError`] beyond [`RANK_MAX`] dimensions or if the element count overflows.
    pub fn new(dims: &[usize]) -> Result<Shape, ShapeError> {
        if dims.len() > RANK_MAX {
            return Err(ShapeError::RankTooLarge { rank: dims.len() });
        }
        // Zero extents must not hide an overflow of the others: strides are products too.
        let nonzero = dims.iter().map(|&d| d.max(1));
        match nonzero.into_iter().try_fold(1usize, usize::checked_mul) {
            Some(count) if count <= isize::MAX as usize => {}
            _ => return Err(ShapeError::TooManyElements { dims: dims.to_vec() }),
        }
        let mut shape = Shape { rank: dims.len() as u8, dims: [1; RANK_MAX] };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// Number of dimensions, `0..=8`.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.iter().product()
    }

    /// Number of elements if every extent of 0 were 1: what loops over the other extents count.
    pub fn room(&self) -> usize {
        self.iter().map(|&extent| extent.max(1)).product()
    }

    /// Extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }

    /// Elements of one row, that is of everything but axis 0; 1 for rank 0 and 1.
    pub fn row_elements(&self) -> usize {
        self.iter().skip(1).product()
    }

    /// The same shape with another extent on axis 0.
    ///
    /// # Errors
    /// [`ShapeError::TooManyElements`] if the element count overflows.
    ///
    /// # Panics
    /// On a scalar, which has no axis 0.
    pub fn with_rows(&self, rows: usize) -> Result<Shape, ShapeError> {
        let mut dims = self.dims;
        dims[..self.rank as usize][0] = rows;
        Shape::new(&dims[..self.rank as usize])
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        self.dims()
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.dims(), f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.dims(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_extent_does_not_hide_an_overflow() {
        assert!(Shape::new(&[0, usize::MAX, 2]).is_err());
        let empty = Shape::new(&[0, 5]).unwrap();
        assert_eq!((empty.elements(), empty.room()), (0, 5));
        assert_eq!(Shape::SCALAR.elements(), 1);
        assert!(Shape::new(&[1; 9]).is_err());
    }
}

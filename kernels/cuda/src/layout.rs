//! Which element of each operand meets which element of the output, with numpy's broadcasting.

use crate::error::DeviceError;
use crate::memory::Slice;
use crate::parameters::{AXES_MAX, Broadcasting};

/// Elements of a value that kernels can number.
pub(crate) const ELEMENTS_MAX: u64 = 1 << 31;

/// Elements of `size` bytes that a thread moves at once, as `pack_size` in `layout.cuh`.
pub(crate) fn pack_size(size: usize) -> u32 {
    if size == 8 { 2 } else { 4 }
}

/// An operand and the bytes of its elements.
pub(crate) type Sized<'s> = (Slice<'s>, usize);

/// The pack that all of these are aligned to, or 1: elements that a thread moves at once.
pub(crate) fn common_width(pack: u32, operands: &[Sized<'_>]) -> u32 {
    let aligned = |(slice, size): &Sized<'_>| slice.is_aligned(u64::from(pack) * *size as u64);
    if operands.iter().all(aligned) { pack } else { 1 }
}

/// Groups of neighbours, and how far apart those of each operand lie along each axis.
pub(crate) struct Groups<const N: usize> {
    pub(crate) width: u32,
    pub(crate) groups: u32,
    pub(crate) extents: [u32; AXES_MAX],
    pub(crate) strides: [[u32; AXES_MAX]; N],
}

/// `N` shapes broadcast to one, neighbouring axes joined where all operands allow it. Axes are
/// numbered from the innermost outwards, and there is at least one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broadcast<const N: usize> {
    axes: usize,
    extents: [u32; AXES_MAX],
    strides: [[u32; AXES_MAX]; N],
    elements: u64,
    lengths: [u64; N],
}

impl<const N: usize> Broadcast<N> {
    /// The joint shape of operands that lie densely.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] if they do not broadcast, or have too many axes or elements.
    pub(crate) fn new(shapes: [&[usize]; N]) -> Result<Broadcast<N>, DeviceError> {
        let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
        if rank > AXES_MAX {
            return Err(DeviceError::Defect("operands of more than 8 axes"));
        }
        let mut plan = Broadcast {
            axes: 0,
            extents: [1; AXES_MAX],
            strides: [[0; AXES_MAX]; N],
            elements: 1,
            lengths: [1; N],
        };
        for axis in 0..rank {
            let own = shapes.map(|shape| match shape.len().checked_sub(axis + 1) {
                Some(index) => shape[index] as u64,
                None => 1,
            });
            plan.push(own)?;
        }
        plan.axes = plan.axes.max(1);
        Ok(plan)
    }

    /// Adds the axis around those that are there.
    fn push(&mut self, own: [u64; N]) -> Result<(), DeviceError> {
        let extent = own.iter().copied().find(|&extent| extent != 1).unwrap_or(1);
        if own.iter().any(|&own| own != 1 && own != extent) {
            return Err(DeviceError::Defect("operands whose shapes do not broadcast"));
        }
        let product = |a: u64, b: u64| a.checked_mul(b).filter(|&all| all < ELEMENTS_MAX);
        let strides: [u64; N] =
            std::array::from_fn(|j| if own[j] == 1 { 0 } else { self.lengths[j] });
        for (length, own) in self.lengths.iter_mut().zip(own) {
            *length = product(*length, own).ok_or(TOO_LARGE)?;
        }
        self.elements = product(self.elements, extent).ok_or(TOO_LARGE)?;
        if extent == 1 {
            return Ok(());
        }
        let joins = self.axes.checked_sub(1).filter(|&last| {
            let along = |j: usize| u64::from(self.strides[j][last]) * u64::from(self.extents[last]);
            (0..N).all(|j| along(j) == strides[j])
        });
        match joins {
            Some(last) => self.extents[last] *= extent as u32,
            None => {
                self.extents[self.axes] = extent as u32;
                for (own, stride) in self.strides.iter_mut().zip(strides) {
                    own[self.axes] = stride as u32;
                }
                self.axes += 1;
            }
        }
        Ok(())
    }

    /// Elements of the output.
    pub(crate) fn elements(&self) -> u64 {
        self.elements
    }

    /// Elements of each operand.
    pub(crate) fn lengths(&self) -> [u64; N] {
        self.lengths
    }

    /// What the kernel is told. It moves `pack` elements at once where the innermost axis and the
    /// alignment of the operands and of the output allow it.
    pub(crate) fn parameters(
        &self,
        pack: u32,
        operands: [Sized<'_>; N],
        out: Sized<'_>,
    ) -> Broadcasting {
        let Groups { width, groups, extents, strides: own } = self.groups(pack, operands, out);
        let mut strides = [[0; AXES_MAX]; 3];
        strides.iter_mut().zip(own).for_each(|(to, own)| *to = own);
        Broadcasting { axes: self.axes as u32, width, groups, extents, strides }
    }

    /// Axes that are left once neighbouring ones are joined.
    pub(crate) fn axes(&self) -> u32 {
        self.axes as u32
    }

    /// As [`Broadcast::parameters`], for any number of operands.
    pub(crate) fn groups(&self, pack: u32, operands: [Sized<'_>; N], out: Sized<'_>) -> Groups<N> {
        let mut width = common_width(pack, &[out]);
        for (strides, operand) in self.strides.iter().zip(operands) {
            // One element repeated is read alone.
            if strides[0] != 0 {
                width = width.min(common_width(pack, &[operand]));
            }
        }
        if !self.extents[0].is_multiple_of(width) {
            width = 1;
        }
        let (mut extents, mut strides) = (self.extents, self.strides);
        extents[0] /= width;
        for own in strides.iter_mut().filter(|own| own[0] != 0) {
            // All strides are multiples of the innermost extent.
            own[1..].iter_mut().for_each(|stride| *stride /= width);
        }
        let groups = (self.elements / u64::from(width)) as u32;
        Groups { width, groups, extents, strides }
    }
}

const TOO_LARGE: DeviceError = DeviceError::Defect("an operand of 2^31 elements or more");

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements that meet, by the arithmetic of `places` in `layout.cuh`.
    fn places(layout: &Broadcasting, pack: u32, wide: [bool; 2], i: u32) -> Vec<[u32; 2]> {
        let (mut at, mut rest) = ([0u32; 2], i);
        for axis in 0..layout.axes as usize {
            let last = axis + 1 == layout.axes as usize;
            let outer = if last { 0 } else { rest / layout.extents[axis] };
            let index = rest - outer * layout.extents[axis];
            for (at, strides) in at.iter_mut().zip(&layout.strides) {
                *at += index * strides[axis];
            }
            rest = outer;
        }
        let place = |j: usize, k: u32| if wide[j] { at[j] * pack + k } else { at[j] };
        (0..pack).map(|k| [place(0, k), place(1, k)]).collect()
    }

    #[test]
    fn every_element_meets_the_right_ones() {
        let shapes: [[&[usize]; 2]; 10] = [
            [&[], &[]],
            [&[8], &[]],
            [&[3, 4], &[4]],
            [&[3, 4], &[3, 1]],
            [&[3, 1, 4], &[5, 1]],
            [&[2, 3, 4], &[2, 1, 4]],
            [&[1, 3, 1, 8], &[2, 1, 5, 8]],
            [&[2, 3, 5], &[3, 1]],
            [&[1], &[2, 2, 2, 2, 2, 2, 2, 2]],
            [&[2, 1, 2, 1, 2, 1, 2, 4], &[1, 2, 1, 2, 1, 2, 1, 4]],
        ];
        for shapes in shapes {
            for pack in [1, 4] {
                check(shapes, pack);
            }
        }
    }

    fn check(shapes: [&[usize]; 2], pack: u32) {
        let plan = Broadcast::new(shapes).unwrap();
        let none = (Slice::none(), 4);
        let layout = plan.parameters(pack, [none; 2], none);
        let wide = [0, 1].map(|j: usize| layout.strides[j][0] != 0);
        let found: Vec<[u32; 2]> =
            (0..layout.groups).flat_map(|i| places(&layout, layout.width, wide, i)).collect();
        let rank = shapes[0].len().max(shapes[1].len());
        let padded = shapes.map(|own| [&vec![1; rank - own.len()], own].concat());
        let full: Vec<usize> = (0..rank).map(|i| padded[0][i].max(padded[1][i])).collect();
        assert_eq!(found.len(), full.iter().product::<usize>(), "{shapes:?}");
        for (i, found) in found.iter().enumerate() {
            let expected = [0, 1].map(|j: usize| {
                let (mut rest, mut at, mut stride) = (i, 0, 1);
                for axis in (0..rank).rev() {
                    let own = padded[j][axis];
                    at += if own == 1 { 0 } else { rest % full[axis] * stride };
                    stride *= own;
                    rest /= full[axis];
                }
                at as u32
            });
            assert_eq!(*found, expected, "element {i} of {shapes:?} in packs of {pack}");
        }
    }

    #[test]
    fn axes_are_joined_and_bad_shapes_refused() {
        let axes = |a: &[usize], b: &[usize]| Broadcast::new([a, b]).unwrap().axes;
        assert_eq!(axes(&[2, 3, 4], &[2, 3, 4]), 1);
        assert_eq!(axes(&[2, 3, 4], &[4]), 2);
        assert_eq!(axes(&[2, 3, 4], &[]), 1);
        assert_eq!(axes(&[2, 3, 4], &[2, 1, 1]), 2);
        assert!(Broadcast::new([&[2, 3][..], &[2]]).is_err());
        assert!(Broadcast::new([&[1; 9][..], &[]]).is_err());
        assert!(Broadcast::new([&[1 << 16, 1][..], &[1, 1 << 16]]).is_err());
        assert_eq!(Broadcast::new([&[2, 0][..], &[1]]).unwrap().elements(), 0);
        assert!(Broadcast::new([&[2, 0][..], &[3]]).is_err());
    }
}

//! Copies between places that are described by extents and strides: transposed, cut, repeated or
//! reversed values are all one of them.
//!
//! Axes that lie alike on both sides are joined, and runs are moved in words of up to 16 bytes.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Address, Form, Grid};
use crate::layout::ELEMENTS_MAX;
use crate::memory::Slice;
use crate::parameters::{AXES_MAX, ELEMENTWISE_THREADS, Strides};
use crate::queue::Queue;

/// One side of a copy: where each element lies.
#[derive(Clone, Copy, Debug)]
pub struct View<'s> {
    /// The memory that holds all of them.
    pub memory: Slice<'s>,
    /// Elements before the one at index 0 of every axis.
    pub start: usize,
    /// Elements from one index of an axis to the next; a negative number goes backwards, 0 repeats
    /// (where elements are read).
    pub strides: &'s [isize],
}

/// A copy of `extents` elements of `size` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'s> {
    /// Bytes of an element: 1, 2, 4, 8 or 16.
    pub size: usize,
    /// Elements along each axis; what is left of them after joining has at most 8 axes.
    pub extents: &'s [usize],
    /// Where they are read.
    pub from: View<'s>,
    /// Where they are written, each at a place of its own, outside of what is read.
    pub to: View<'s>,
}

/// Extents of two axes from which squares pay.
const SQUARE_EXTENT_MIN: u64 = 16;
/// Side of the squares, as in `strided.cu`.
const SIDE: u64 = 32;
/// Most blocks, which take the squares in turn: enough to fill any device.
const BLOCKS_MAX: u64 = 1 << 11;

/// Queues a copy.
///
/// # Errors
/// [`DeviceError::Defect`] if a side reaches beyond its memory, for another size, or for more than 8
/// axes that cannot be joined or 2^31 elements; a refused launch.
pub fn copy(queue: &mut Queue<'_>, copy: &Copy<'_>) -> Result<(), DeviceError> {
    let Copy { size, extents, from, to } = *copy;
    if copy.from.strides.len() != extents.len() || copy.to.strides.len() != extents.len() {
        return Err(DeviceError::Defect("a copy with another number of strides than extents"));
    }
    if !matches!(size, 1 | 2 | 4 | 8 | 16) {
        return Err(DeviceError::Defect("elements of no kernel's size"));
    }
    if extents.contains(&0) {
        return Ok(());
    }
    let addresses = [from.first(extents, size)?, to.first(extents, size)?];
    let bytes = |strides: &[isize], axis: usize| (strides[axis] as i64).saturating_mul(size as i64);
    let axes = (0..extents.len()).map(|axis| Axis {
        extent: extents[axis] as u64,
        strides: [bytes(from.strides, axis), bytes(to.strides, axis)],
    });
    let walk = Walk::new(size, axes.collect(), addresses);
    if let Some(bytes) = walk.run() {
        let [from, to] = [from, to].map(|view| view.memory.part(view.start * size, bytes));
        return queue.copy(from?, to?);
    }
    let (layout, squares) = walk.parameters()?;
    let [x, y] = addresses.map(Address);
    match squares {
        Some(squares) => {
            let blocks = queue.in_turn(squares.min(BLOCKS_MAX) as u32);
            let grid = Grid::linear(blocks, ELEMENTWISE_THREADS);
            queue.launch(&entries::StridedSquares { x, y, layout }, walk.form(), grid)
        }
        None => {
            let grid = queue.over(layout.words.into(), ELEMENTWISE_THREADS);
            queue.launch(&entries::Strided { x, y, layout }, walk.form(), grid)
        }
    }
}

impl View<'_> {
    /// The address of the first element, if all of them lie in the memory.
    fn first(&self, extents: &[usize], size: usize) -> Result<u64, DeviceError> {
        const BEYOND: DeviceError = DeviceError::Defect("a copy reaches beyond its memory");
        let (mut least, mut most) = (self.start as i128, self.start as i128);
        for (&extent, &stride) in extents.iter().zip(self.strides) {
            let reach = (extent as i128 - 1) * stride as i128;
            least += reach.min(0);
            most += reach.max(0);
        }
        let end = u64::try_from(most + 1).map_err(|_| BEYOND)?;
        if least < 0 {
            return Err(BEYOND);
        }
        self.memory.elements(end, size)?;
        Ok(self.memory.address() + (self.start * size) as u64)
    }
}

/// An axis; strides in bytes, where it is read and where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    extent: u64,
    strides: [i64; 2],
}

/// Axes from the innermost outwards, in words.
#[derive(Debug, PartialEq, Eq)]
struct Walk {
    word: u64,
    axes: Vec<Axis>,
}

impl Walk {
    fn new(size: usize, axes: Vec<Axis>, addresses: [u64; 2]) -> Walk {
        let mut axes = joined(axes);
        let mut word = size as u64;
        if let Some((inner, outer)) = axes.split_first_mut()
            && inner.strides == [size as i64; 2]
        {
            let run = inner.extent * size as u64;
            let all = [run, addresses[0], addresses[1]].into_iter();
            let strides = outer.iter().flat_map(|axis| axis.strides.map(i64::unsigned_abs));
            // The largest power of two that divides everything.
            let whole = all.chain(strides).fold(16, |word, number| word | number);
            word = (1 << whole.trailing_zeros().min(4)).max(word);
            *inner = Axis { extent: run / word, strides: [word as i64; 2] };
            axes = joined(axes);
        }
        Walk { word, axes }
    }

    /// Bytes, if all of them lie in one run on both sides.
    fn run(&self) -> Option<usize> {
        match &self.axes[..] {
            [] => Some(self.word as usize),
            [axis] if axis.strides == [self.word as i64; 2] => {
                Some((axis.extent * self.word) as usize)
            }
            _ => None,
        }
    }

    fn form(&self) -> Form {
        Form::of_size(self.word as usize).unwrap_or(Form::B128)
    }

    /// What the kernel is told, and the number of squares if it turns them round.
    fn parameters(&self) -> Result<(Strides, Option<u64>), DeviceError> {
        const AXES: DeviceError = DeviceError::Defect("a copy of more than 8 axes");
        const LARGE: DeviceError = DeviceError::Defect("a copy of 2^31 elements or more");
        let mut axes = self.axes.clone();
        let squares = self.squares(&mut axes);
        let words = axes.iter().try_fold(1u64, |all, axis| all.checked_mul(axis.extent));
        let words = words.filter(|&words| words < ELEMENTS_MAX).ok_or(LARGE)?;
        let mut layout =
            Strides { axes: axes.len() as u32, words: words as u32, ..Strides::default() };
        for (i, axis) in axes.iter().enumerate() {
            let places = (layout.extents.get_mut(i), layout.from.get_mut(i), layout.to.get_mut(i));
            let (Some(extent), Some(from), Some(to)) = places else { return Err(AXES) };
            let words = |bytes: i64| i32::try_from(bytes / self.word as i64).map_err(|_| LARGE);
            *extent = axis.extent as u32;
            *from = words(axis.strides[0])?;
            *to = words(axis.strides[1])?;
        }
        debug_assert!(axes.len() <= AXES_MAX);
        Ok((layout, squares))
    }

    /// Moves the axis along which words are read to the second place, if it is worth it.
    fn squares(&self, axes: &mut [Axis]) -> Option<u64> {
        let word = self.word as i64;
        let (inner, outer) = axes.split_first_mut()?;
        let turned = inner.strides[1] == word && ![0, word].contains(&inner.strides[0]);
        let dense = outer.iter().position(|axis| axis.strides[0] == word)?;
        let large = inner.extent.min(outer[dense].extent) >= SQUARE_EXTENT_MIN;
        if !turned || !large {
            return None;
        }
        outer[..=dense].rotate_right(1);
        let (first, others) = outer.split_first()?;
        let planes: u64 = others.iter().map(|axis| axis.extent).product();
        Some(inner.extent.div_ceil(SIDE) * first.extent.div_ceil(SIDE) * planes)
    }
}

/// Axes of more than one index, in the order of writing, joined where both sides go on alike.
fn joined(mut axes: Vec<Axis>) -> Vec<Axis> {
    axes.retain(|axis| axis.extent != 1);
    // The last axis is the innermost one of those that are written equally far apart.
    axes.reverse();
    axes.sort_by_key(|axis| axis.strides[1].unsigned_abs());
    let mut found: Vec<Axis> = Vec::with_capacity(axes.len());
    for axis in axes {
        match found.last_mut() {
            Some(last)
                if last.strides.map(|stride| stride * last.extent as i64) == axis.strides =>
            {
                last.extent *= axis.extent;
            }
            Some(_) | None => found.push(axis),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(size: usize, axes: &[(u64, i64, i64)], address: u64) -> Walk {
        let axes = axes.iter().map(|&(extent, from, to)| Axis {
            extent,
            strides: [from * size as i64, to * size as i64],
        });
        Walk::new(size, axes.collect(), [address, address])
    }

    #[test]
    fn runs_become_words_and_axes_are_joined() {
        let dense = walk(4, &[(2, 12, 12), (3, 4, 4), (4, 1, 1)], 256);
        assert_eq!(dense.run(), Some(96));
        // [2, 3, 8] to [3, 2, 8]: the run of 8 floats is two words of 16 bytes.
        let heads = walk(4, &[(3, 8, 16), (2, 24, 8), (8, 1, 1)], 256);
        assert_eq!((heads.word, heads.axes.len(), heads.axes[0].extent), (16, 3, 2));
        // Of 4 floats, one: the axis goes.
        let short = walk(4, &[(3, 4, 8), (2, 12, 4), (4, 1, 1)], 256);
        assert_eq!((short.word, short.axes.len()), (16, 2));
        assert_eq!(walk(4, &[(3, 8, 16), (2, 24, 8), (8, 1, 1)], 264).word, 8);
        assert_eq!(walk(1, &[(3, 7, 14), (2, 21, 7), (7, 1, 1)], 256).word, 1);
        // Backwards: no run.
        assert_eq!(walk(4, &[(8, -1, 1)], 256).word, 4);
        assert_eq!(walk(4, &[], 256).run(), Some(4));
    }

    #[test]
    fn matrices_are_turned_in_squares() {
        let (layout, squares) = walk(2, &[(40, 1, 33), (33, 40, 1)], 2).parameters().unwrap();
        assert_eq!(squares, Some(4));
        assert_eq!((layout.axes, layout.words), (2, 40 * 33));
        assert_eq!((layout.extents[0], layout.from[0], layout.to[0]), (33, 40, 1));
        assert_eq!((layout.extents[1], layout.from[1], layout.to[1]), (40, 1, 33));
        let thin = walk(2, &[(40, 1, 8), (8, 40, 1)], 2).parameters().unwrap();
        assert_eq!(thin.1, None);
        // [16, 5, 32] to [32, 5, 16]: the middle axis is that of the planes.
        let planes = walk(4, &[(32, 1, 80), (5, 32, 16), (16, 160, 1)], 4).parameters().unwrap();
        assert_eq!(planes.1, Some(5));
        assert_eq!((planes.0.extents[..3].to_vec(), planes.0.to[2]), (vec![16, 32, 5], 16));
        let many: Vec<(u64, i64, i64)> = (0..9).map(|i| (2, 1 << i, 3 << (8 - i))).collect();
        assert!(walk(4, &many, 4).parameters().is_err());
    }

    #[test]
    fn what_reaches_beyond_the_memory_is_refused() {
        let reach = |start, strides: &[isize]| {
            View { memory: Slice::none(), start, strides }.first(&[2, 2], 1)
        };
        assert!(reach(0, &[0, 0]).is_err());
        assert!(reach(0, &[-1, 0]).is_err());
        assert!(reach(usize::MAX, &[isize::MAX, 1]).is_err());
    }
}

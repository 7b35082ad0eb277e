//! A value with a margin.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::Form;
use crate::layout::ELEMENTS_MAX;
use crate::memory::Slice;
use crate::parameters::{ELEMENTWISE_THREADS, Margins};
use crate::queue::Queue;

/// What fills the margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode<'s> {
    /// This element.
    Constant(&'s [u8]),
    /// The nearest element.
    Edge,
    /// The value mirrored at its first and last element, which are not repeated.
    Reflect,
    /// The value over and over.
    Wrap,
}

/// A margin around a dense value.
#[derive(Clone, Copy, Debug)]
pub struct PadSpec<'s> {
    /// Bytes of an element: 1, 2, 4 or 8.
    pub size: usize,
    /// Extents of the value.
    pub shape: &'s [usize],
    /// Elements before the first one of every axis.
    pub before: &'s [usize],
    /// Elements after the last one of every axis.
    pub after: &'s [usize],
    /// What fills them.
    pub mode: PadMode<'s>,
}

/// An axis: elements of the value, and the margin before and after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    inner: u64,
    before: u64,
    after: u64,
}

/// `out` is `x` with a margin (ONNX `Pad-18` without negative pads).
///
/// # Errors
/// [`DeviceError::Defect`] for another size, a constant that is no element, a margin that has nothing
/// to repeat or reflects more than there is, or an operand that is too short; a refused launch.
pub fn pad(
    queue: &mut Queue<'_>,
    x: Slice<'_>,
    spec: &PadSpec<'_>,
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let size = spec.size;
    if spec.before.len() != spec.shape.len() || spec.after.len() != spec.shape.len() {
        return Err(DeviceError::Defect("a pad needs two numbers an axis"));
    }
    let axes: Vec<Axis> = (0..spec.shape.len()).rev().map(|axis| spec.axis(axis)).collect();
    let count = |extent: fn(&Axis) -> u64| {
        let all = axes.iter().try_fold(1u64, |all, axis| all.checked_mul(extent(axis)));
        all.filter(|&all| all < ELEMENTS_MAX).ok_or(DeviceError::Defect("a pad of 2^31 elements"))
    };
    let (read, written) = (count(|axis| axis.inner)?, count(Axis::extent)?);
    let (source, target) = (x.elements(read, size)?, out.elements(written, size)?);
    let (mode, fill) = spec.mode(&axes)?;
    if written == 0 {
        return Ok(());
    }
    let constant = matches!(spec.mode, PadMode::Constant(_));
    let aligned = [x, out].iter().fold(8, |word, slice| word | slice.address());
    let (axes, word) = in_words(joined(&axes, constant), size as u64, constant, aligned);
    let form = Form::of_size(word as usize).ok_or(NO_SIZE)?;
    let layout = layout(&axes)?;
    let kernel = entries::Pad { x: source, y: target, layout, mode, fill };
    queue.launch(&kernel, form, queue.over(layout.words.into(), ELEMENTWISE_THREADS))
}

const NO_SIZE: DeviceError = DeviceError::Defect("elements of no kernel's size");

impl PadSpec<'_> {
    fn axis(&self, axis: usize) -> Axis {
        let number = |of: &[usize]| of[axis] as u64;
        Axis { inner: number(self.shape), before: number(self.before), after: number(self.after) }
    }

    /// The mode's number in `pad.cu`, and the element repeated to 8 bytes.
    fn mode(&self, axes: &[Axis]) -> Result<(u32, u64), DeviceError> {
        let fits = |fits: fn(&Axis) -> bool, mode| match axes.iter().all(fits) {
            true => Ok((mode, 0)),
            false => Err(DeviceError::Defect("a margin of what is not there")),
        };
        match self.mode {
            PadMode::Constant(element) if element.len() != self.size => {
                Err(DeviceError::Defect("a margin of no element"))
            }
            PadMode::Constant(element) => {
                let mut fill = [0; 8];
                let bytes = element.iter().cycle().take(fill.len());
                fill.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
                Ok((0, u64::from_le_bytes(fill)))
            }
            PadMode::Edge => fits(|axis| axis.margin() == 0 || axis.inner > 0, 1),
            PadMode::Reflect => fits(|axis| axis.margin() == 0 || axis.margin() < axis.inner, 2),
            PadMode::Wrap => fits(|axis| axis.margin() == 0 || axis.inner > 0, 3),
        }
    }
}

impl Axis {
    fn extent(&self) -> u64 {
        self.inner.saturating_add(self.before).saturating_add(self.after)
    }

    fn margin(&self) -> u64 {
        self.before.max(self.after)
    }
}

/// Axes from the innermost outwards, joined with those within them that have no margin.
fn joined(axes: &[Axis], constant: bool) -> Vec<Axis> {
    let mut found: Vec<Axis> = Vec::with_capacity(axes.len());
    for axis in axes {
        match found.last_mut() {
            // A margin of whole runs is a run of the constant; other modes choose runs.
            Some(last) if last.margin() == 0 && (constant || axis.margin() == 0) => {
                let run = last.inner;
                *last = Axis {
                    inner: axis.inner * run,
                    before: axis.before * run,
                    after: axis.after * run,
                };
            }
            Some(_) if axis.extent() == 1 && axis.inner == 1 => {}
            Some(_) | None => found.push(*axis),
        }
    }
    found
}

/// The axes with the innermost in the largest words of at most 8 bytes that divide it all.
fn in_words(mut axes: Vec<Axis>, size: u64, constant: bool, aligned: u64) -> (Vec<Axis>, u64) {
    let Some(inner) = axes.first_mut().filter(|inner| constant || inner.margin() == 0) else {
        return (axes, size);
    };
    let whole = aligned | (inner.inner * size) | (inner.before * size) | (inner.after * size);
    let word = (1 << whole.trailing_zeros()).max(size);
    for number in [&mut inner.inner, &mut inner.before, &mut inner.after] {
        *number = *number * size / word;
    }
    (axes, word)
}

fn layout(axes: &[Axis]) -> Result<Margins, DeviceError> {
    const AXES: DeviceError = DeviceError::Defect("a pad of more than 8 axes");
    let mut layout = Margins { axes: axes.len() as u32, words: 1, ..Margins::default() };
    let mut stride = 1;
    for (i, axis) in axes.iter().enumerate() {
        *layout.extents.get_mut(i).ok_or(AXES)? = axis.extent() as u32;
        layout.inner[i] = axis.inner as u32;
        layout.before[i] = axis.before as u32;
        layout.strides[i] = stride;
        stride *= axis.inner as u32;
        layout.words *= axis.extent() as u32;
    }
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(inner: u64, before: u64, after: u64) -> Axis {
        Axis { inner, before, after }
    }

    #[test]
    fn axes_without_a_margin_are_joined() {
        // [2, 3, 4, 5] with margins at the axis of 3: a run of 20 elements.
        let axes = [axis(5, 0, 0), axis(4, 0, 0), axis(3, 1, 2), axis(2, 0, 0)];
        assert_eq!(joined(&axes, true), [axis(60, 20, 40), axis(2, 0, 0)]);
        assert_eq!(joined(&axes, false), [axis(20, 0, 0), axis(3, 1, 2), axis(2, 0, 0)]);
        let image = [axis(7, 1, 1), axis(6, 1, 1), axis(1, 0, 0), axis(2, 0, 0)];
        assert_eq!(joined(&image, true), [axis(7, 1, 1), axis(6, 1, 1), axis(2, 0, 0)]);
    }

    #[test]
    fn words_divide_the_value_and_its_margins() {
        let words = |axes: &[Axis], constant| in_words(axes.to_vec(), 2, constant, 8);
        assert_eq!(words(&[axis(60, 20, 40)], true), (vec![axis(15, 5, 10)], 8));
        assert_eq!(words(&[axis(6, 2, 4)], true), (vec![axis(3, 1, 2)], 4));
        assert_eq!(words(&[axis(6, 1, 1)], true), (vec![axis(6, 1, 1)], 2));
        assert_eq!(words(&[axis(4, 4, 4)], false), (vec![axis(4, 4, 4)], 2));
        assert_eq!(words(&[axis(4, 0, 0)], false), (vec![axis(1, 0, 0)], 8));
        assert_eq!(in_words(vec![axis(4, 0, 0)], 2, true, 8 | 4).1, 4);
    }
}

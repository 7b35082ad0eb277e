//! Selecting slices, elements and tuples by index.
//!
//! Indices count from 0. One that is out of range selects zeros, and the least position of one among
//! the indices goes to a fault word: eight bytes of device memory, all ones before.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Address, Form};
use crate::layout::ELEMENTS_MAX;
use crate::memory::Slice;
use crate::parameters::{AXES_MAX, Along, ELEMENTWISE_THREADS, Strides, Tuples};
use crate::queue::Queue;
use aimass_tensor::DType;

/// Indices, dense, and where a bad one is reported.
#[derive(Clone, Copy, Debug)]
pub struct Indices<'s> {
    /// Integers of 8 to 64 bits.
    pub dtype: DType,
    /// The indices.
    pub slice: Slice<'s>,
    /// The fault word.
    pub fault: Slice<'s>,
}

/// A value as `[outer, extent, inner]` elements, of which the middle axis is indexed.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    /// Product of the extents before the axis.
    pub outer: usize,
    /// Extent of the axis.
    pub extent: usize,
    /// Product of the extents behind it.
    pub inner: usize,
}

/// Indices along one axis of a value, for single elements.
#[derive(Clone, Copy, Debug)]
pub struct ElementsAt<'s> {
    /// Extents of the value that is indexed.
    pub shape: &'s [usize],
    /// Axis that the indices replace.
    pub axis: usize,
    /// Extents of the indices: as many, and but for `axis` none above those of the value.
    pub extents: &'s [usize],
}

/// Tuples of indices into the leading axes of a value, behind its batch axes, for slices.
#[derive(Clone, Copy, Debug)]
pub struct TuplesAt<'s> {
    /// Product of the batch extents.
    pub batch: usize,
    /// Extents that one tuple indexes.
    pub extents: &'s [usize],
    /// Elements behind the indexed axes.
    pub slice: usize,
    /// Tuples of one batch item.
    pub tuples: usize,
}

pub(crate) const LARGE: DeviceError = DeviceError::Defect("a value of 2^31 elements or more");
const NO_SIZE: DeviceError = DeviceError::Defect("elements of no kernel's size");

/// A number that fits a kernel.
pub(crate) fn small(number: usize) -> Result<u32, DeviceError> {
    u32::try_from(number).ok().filter(|&n| u64::from(n) < ELEMENTS_MAX).ok_or(LARGE)
}

/// A product that fits a kernel.
pub(crate) fn product(numbers: &[usize]) -> Result<u32, DeviceError> {
    let all = numbers.iter().try_fold(1usize, |all, &own| all.checked_mul(own));
    // Extents of 0 make up for large ones.
    if numbers.contains(&0) { Ok(0) } else { small(all.ok_or(LARGE)?) }
}

/// An index type's number in `indices.cuh`.
pub(crate) fn index_code(dtype: DType) -> Result<u32, DeviceError> {
    const TYPES: [DType; 8] = [
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
    ];
    let position = TYPES.iter().position(|own| *own == dtype);
    position.map(|code| code as u32).ok_or(DeviceError::Defect("indices of no integer type"))
}

impl Indices<'_> {
    /// Addresses of `count` indices and of the fault word, and the number of their type.
    pub(crate) fn of(&self, count: u32) -> Result<(Address, Address, u32), DeviceError> {
        let code = index_code(self.dtype)?;
        let size = self.dtype.size().unwrap_or(1);
        Ok((self.slice.elements(count.into(), size)?, self.fault.elements(1, 8)?, code))
    }
}

/// `out[o, i, :] = x[o, indices[i], :]` (ONNX `Gather` along the middle axis) for `count` indices;
/// elements of `size` bytes: 1, 2, 4, 8 or 16.
///
/// # Errors
/// [`DeviceError::Defect`] for another size or index type or if an operand is too short; a refused
/// launch.
pub fn gather(
    queue: &mut Queue<'_>,
    size: usize,
    (x, lanes): (Slice<'_>, Lanes),
    (indices, count): (Indices<'_>, usize),
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let Lanes { outer, extent, inner } = lanes;
    let elements = product(&[outer, count, inner])?;
    let (index, fault, index_type) = indices.of(small(count)?)?;
    let source = x.elements(product(&[outer, extent, inner])?.into(), size)?;
    let target = out.elements(elements.into(), size)?;
    if elements == 0 {
        let at = TuplesAt { batch: 1, extents: &[extent], slice: 0, tuples: count };
        return check(queue, at, indices);
    }
    let word = row_word(size, inner, &[x, out])?;
    let scale = word / size;
    let kernel = entries::Gather {
        x: source,
        indices: index,
        y: target,
        fault,
        words: elements / scale as u32,
        inner: (inner / scale) as u32,
        count: count as u32,
        extent: small(extent)?,
        index_type,
    };
    queue.launch(&kernel, word_form(word), queue.over(kernel.words.into(), ELEMENTWISE_THREADS))
}

/// `out[i, j, ..] = x[i, indices[i, j, ..], ..]` (ONNX `GatherElements-13`): `out` has the extents of
/// the indices; elements of `size` bytes: 1, 2, 4 or 8.
///
/// # Errors
/// As [`gather`], or if extents do not fit.
pub fn gather_elements(
    queue: &mut Queue<'_>,
    size: usize,
    (x, at): (Slice<'_>, ElementsAt<'_>),
    indices: Indices<'_>,
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let form = Form::of_size(size).ok_or(NO_SIZE)?;
    let n = product(at.extents)?;
    let (index, fault, index_type) = indices.of(n)?;
    let (mut layout, along) = at.layout(index_type)?;
    layout.words = n;
    let kernel = entries::GatherElements {
        x: x.elements(product(at.shape)?.into(), size)?,
        indices: index,
        y: out.elements(n.into(), size)?,
        fault,
        layout,
        along,
    };
    match n {
        0 => Ok(()),
        n => queue.launch(&kernel, form, queue.over(n.into(), ELEMENTWISE_THREADS)),
    }
}

impl ElementsAt<'_> {
    /// All axes of the indices, and what lies along the axis that they replace. In the value that one
    /// has no stride: the index does.
    pub(crate) fn layout(&self, index_type: u32) -> Result<(Strides, Along), DeviceError> {
        const NO_FIT: DeviceError = DeviceError::Defect("indices that do not fit their value");
        let ElementsAt { shape, axis, extents } = *self;
        let rank = shape.len();
        let fits = |own: usize| own == axis || extents[own] <= shape[own];
        if rank != extents.len() || rank > AXES_MAX || axis >= rank || !(0..rank).all(fits) {
            return Err(NO_FIT);
        }
        let mut layout = Strides { axes: rank as u32, ..Strides::default() };
        let mut along = Along {
            count: small(extents[axis])?,
            extent: small(shape[axis])?,
            index_type,
            ..Along::default()
        };
        let (mut from, mut to) = (1u32, 1u32);
        for (place, own) in (0..rank).rev().enumerate() {
            layout.extents[place] = small(extents[own])?;
            layout.from[place] = from as i32;
            layout.to[place] = to as i32;
            if own == axis {
                (along.index_stride, along.stride) = (from, to);
                layout.to[place] = 0;
            }
            // Only values without elements have products that do not fit.
            from = from.wrapping_mul(extents[own] as u32);
            to = to.wrapping_mul(shape[own] as u32);
        }
        Ok((layout, along))
    }
}

/// `out[b, t, :] = x[b, tuple[b, t].., :]` (ONNX `GatherND-13`); elements of `size` bytes: 1, 2, 4, 8
/// or 16.
///
/// # Errors
/// As [`gather`].
pub fn gather_tuples(
    queue: &mut Queue<'_>,
    size: usize,
    (x, at): (Slice<'_>, TuplesAt<'_>),
    indices: Indices<'_>,
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let elements = product(&[at.batch, at.tuples, at.slice])?;
    let (index, fault, _) = indices.of(at.indices()?)?;
    let source = x.elements(at.elements()?.into(), size)?;
    let target = out.elements(elements.into(), size)?;
    if elements == 0 {
        return check(queue, at, indices);
    }
    let word = row_word(size, at.slice, &[x, out])?;
    let layout = at.layout(word / size, indices.dtype)?;
    let kernel = entries::GatherTuples { x: source, indices: index, y: target, fault, layout };
    let words = u64::from(elements) / (word / size) as u64;
    queue.launch(&kernel, word_form(word), queue.over(words, ELEMENTWISE_THREADS))
}

/// Reports bad tuples: for values without elements.
pub(crate) fn check(
    queue: &mut Queue<'_>,
    at: TuplesAt<'_>,
    indices: Indices<'_>,
) -> Result<(), DeviceError> {
    let tuples = product(&[at.batch, at.tuples])?;
    let (index, fault, _) = indices.of(at.indices()?)?;
    let layout = at.layout(1, indices.dtype)?;
    match tuples {
        0 => Ok(()),
        n => {
            let grid = queue.over(n.into(), ELEMENTWISE_THREADS);
            let kernel = entries::CheckTuples { indices: index, fault, layout };
            queue.launch(&kernel, Form::Plain, grid)
        }
    }
}

impl TuplesAt<'_> {
    /// Components of all tuples.
    pub(crate) fn indices(&self) -> Result<u32, DeviceError> {
        product(&[self.batch, self.tuples, self.extents.len()])
    }

    /// Elements of the value that is indexed.
    pub(crate) fn elements(&self) -> Result<u32, DeviceError> {
        let indexed = product(self.extents)? as usize;
        product(&[self.batch, indexed, self.slice])
    }

    /// For slices of words of `scale` elements.
    pub(crate) fn layout(&self, scale: usize, dtype: DType) -> Result<Tuples, DeviceError> {
        if self.extents.is_empty() || self.extents.len() > AXES_MAX {
            return Err(DeviceError::Defect("tuples of no or of more than 8 components"));
        }
        let mut extents = [0; AXES_MAX];
        for (to, &extent) in extents.iter_mut().zip(self.extents) {
            *to = small(extent)?;
        }
        let slice = small(self.slice / scale)?;
        Ok(Tuples {
            batch: small(self.batch)?,
            tuples: small(self.tuples)?,
            components: self.extents.len() as u32,
            slice,
            item: product(self.extents)?.wrapping_mul(slice),
            index_type: index_code(dtype)?,
            extents,
        })
    }
}

/// The largest word that rows of `inner` elements consist of, where these begin.
pub(crate) fn row_word(
    size: usize,
    inner: usize,
    slices: &[Slice<'_>],
) -> Result<usize, DeviceError> {
    if !matches!(size, 1 | 2 | 4 | 8 | 16) {
        return Err(NO_SIZE);
    }
    let row = (inner * size) as u64;
    let whole = slices.iter().fold(16 | row, |whole, slice| whole | slice.address());
    Ok((1 << whole.trailing_zeros()).max(size))
}

/// The form of kernels that move words of 1, 2, 4, 8 or 16 bytes.
pub(crate) fn word_form(word: usize) -> Form {
    Form::of_size(word).unwrap_or(Form::B128)
}

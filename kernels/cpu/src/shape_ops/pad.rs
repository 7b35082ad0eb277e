//! Padding: a tensor with a margin.

use aimass_tensor::RANK_MAX;

/// What fills the margin.
#[derive(Clone, Copy, Debug)]
pub enum PadMode<'a> {
    /// This element, of `size` bytes.
    Constant(&'a [u8]),
    /// The nearest element of the tensor.
    Edge,
    /// The tensor mirrored at its first and last element, which are not repeated.
    Reflect,
}

/// A margin around a tensor.
#[derive(Clone, Copy, Debug)]
pub struct PadSpec<'a> {
    /// Bytes of an element.
    pub size: usize,
    /// Extents of the input.
    pub shape: &'a [usize],
    /// Elements before the first one of every axis.
    pub before: &'a [usize],
    /// Elements after the last one of every axis.
    pub after: &'a [usize],
    /// What fills them.
    pub mode: PadMode<'a>,
}

/// `x` with a margin (ONNX `Pad` without negative pads).
///
/// # Panics
/// If a slice has another size, a constant is no element, `Edge` has no element to repeat, or
/// `Reflect` has a margin of the axis's extent or more.
pub fn pad(x: &[u8], spec: &PadSpec, out: &mut [u8]) {
    let PadSpec { size, shape, before, after, mode } = *spec;
    let rank = shape.len();
    assert!(rank <= RANK_MAX && [before.len(), after.len()] == [rank; 2], "axes of {spec:?}");
    assert_eq!(x.len(), shape.iter().product::<usize>() * size, "bytes of {shape:?}");
    let mut full = [1; RANK_MAX];
    for axis in 0..rank {
        full[axis] = before[axis] + shape[axis] + after[axis];
        let margin = before[axis].max(after[axis]);
        match mode {
            PadMode::Constant(value) => assert_eq!(value.len(), size, "bytes of an element"),
            PadMode::Edge => assert!(margin == 0 || shape[axis] > 0, "no edge to repeat"),
            PadMode::Reflect => assert!(margin == 0 || margin < shape[axis], "{spec:?}"),
        }
    }
    assert_eq!(out.len(), full.iter().product::<usize>() * size, "bytes of the output");
    if out.is_empty() || rank == 0 {
        out.copy_from_slice(x);
        return;
    }
    let inner = rank - 1;
    for (index, row) in out.chunks_exact_mut(full[inner] * size).enumerate() {
        match source_row(spec, index, &full[..inner]) {
            Some(source) => {
                let bytes = shape[inner] * size;
                pad_row(&x[source * bytes..][..bytes], spec, row);
            }
            None => fill(row, mode, size),
        }
    }
}

/// Row of the input that row `index` of the output repeats; `None` in a constant margin.
fn source_row(spec: &PadSpec, mut index: usize, full: &[usize]) -> Option<usize> {
    let (mut row, mut stride) = (0, 1);
    for axis in (0..full.len()).rev() {
        row += stride * source(spec, axis, index % full[axis])?;
        stride *= spec.shape[axis];
        index /= full[axis];
    }
    Some(row)
}

/// Index of the input that index `i` of the output repeats along one axis.
fn source(spec: &PadSpec, axis: usize, i: usize) -> Option<usize> {
    let (before, extent) = (spec.before[axis], spec.shape[axis]);
    if (before..before + extent).contains(&i) {
        return Some(i - before);
    }
    match spec.mode {
        PadMode::Constant(_) => None,
        PadMode::Edge => Some(if i < before { 0 } else { extent - 1 }),
        PadMode::Reflect if i < before => Some(before - i),
        PadMode::Reflect => Some(2 * (extent - 1) - (i - before)),
    }
}

fn pad_row(x: &[u8], spec: &PadSpec, row: &mut [u8]) {
    let (size, axis) = (spec.size, spec.shape.len() - 1);
    let (start, end) = (spec.before[axis] * size, spec.before[axis] * size + x.len());
    row[start..end].copy_from_slice(x);
    if let PadMode::Constant(_) = spec.mode {
        fill(&mut row[..start], spec.mode, size);
        fill(&mut row[end..], spec.mode, size);
        return;
    }
    for (i, element) in row.chunks_exact_mut(size).enumerate() {
        if let Some(from) = source(spec, axis, i) {
            element.copy_from_slice(&x[from * size..][..size]);
        }
    }
}

fn fill(row: &mut [u8], mode: PadMode, size: usize) {
    if let PadMode::Constant(value) = mode {
        row.chunks_exact_mut(size).for_each(|element| element.copy_from_slice(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mode: PadMode, want: [[u8; 7]; 5]) {
        let spec = PadSpec { size: 1, shape: &[3, 3], before: &[1, 2], after: &[1, 2], mode };
        let mut out = [0u8; 35];
        pad(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &spec, &mut out);
        assert_eq!(out.as_chunks::<7>().0, want);
    }

    #[test]
    fn margins_of_every_kind() {
        let middle = [[9, 9, 1, 2, 3, 9, 9], [9, 9, 4, 5, 6, 9, 9], [9, 9, 7, 8, 9, 9, 9]];
        check(PadMode::Constant(&[9]), [[9; 7], middle[0], middle[1], middle[2], [9; 7]]);
        check(
            PadMode::Edge,
            [
                [1, 1, 1, 2, 3, 3, 3],
                [1, 1, 1, 2, 3, 3, 3],
                [4, 4, 4, 5, 6, 6, 6],
                [7, 7, 7, 8, 9, 9, 9],
                [7, 7, 7, 8, 9, 9, 9],
            ],
        );
        check(
            PadMode::Reflect,
            [
                [6, 5, 4, 5, 6, 5, 4],
                [3, 2, 1, 2, 3, 2, 1],
                [6, 5, 4, 5, 6, 5, 4],
                [9, 8, 7, 8, 9, 8, 7],
                [6, 5, 4, 5, 6, 5, 4],
            ],
        );
    }

    #[test]
    fn wider_elements_and_one_axis() {
        let spec = PadSpec {
            size: 2,
            shape: &[2],
            before: &[1],
            after: &[0],
            mode: PadMode::Constant(&[7, 8]),
        };
        let mut out = [0u8; 6];
        pad(&[1, 2, 3, 4], &spec, &mut out);
        assert_eq!(out, [7, 8, 1, 2, 3, 4]);
    }
}

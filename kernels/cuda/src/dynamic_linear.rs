//! Linear layers of 8-bit weights whose rows are quantized on the way: every 64 numbers of a row become
//! bytes of 7 bits with a scale and a zero point of their own, and products of such a block are summed in
//! integers. Bits are those of the CPU's layers, but for what [`Finish`] computes.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Address, Form, Grid};
use crate::matmul::Finish;
use crate::memory::Slice;
use crate::parameters::DynamicLayer;
use crate::queue::Queue;

/// Numbers of a row that share a scale.
pub const BLOCK: usize = 64;
/// Rows up to which the tiles are small.
const FEW_ROWS: u32 = 16;
/// Parts of the scratch memory begin at multiples of this.
const ALIGN: u64 = 256;

/// Weights `(w - zero) scale` in the layout of [`dynamic_weights`].
#[derive(Clone, Copy, Debug)]
pub struct DynamicWeights<'m> {
    /// Columns of the product.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// What [`dynamic_weights`] made.
    pub data: Slice<'m>,
}

/// What a layer reads beside its weights, and where its result goes.
#[derive(Clone, Copy, Debug)]
pub struct DynamicOperands<'m> {
    /// `[m, k]` of f32.
    pub x: Slice<'m>,
    /// `[n]` of f32, or nothing.
    pub bias: Slice<'m>,
    /// `[m, n]` of f32, or nothing.
    pub residual: Slice<'m>,
    /// `[m, n]` of f32.
    pub y: Slice<'m>,
    /// [`dynamic_scratch`] bytes, 256-byte aligned.
    pub scratch: Slice<'m>,
}

/// Bytes of each part of the weights: themselves, scales, sums of blocks.
fn weight_parts(n: u64, k: u64) -> [u64; 3] {
    let blocks = k.div_ceil(BLOCK as u64);
    [n * blocks * BLOCK as u64, n * 4, n * blocks * 4]
}

/// Weights `[n, k]` less their zero points, and the scales of the columns, as a layer reads them; in host
/// memory, to be uploaded.
///
/// # Panics
/// Unless there are `n k` weights and `n` scales.
pub fn dynamic_weights(n: usize, k: usize, weights: &[i8], scales: &[f32]) -> Vec<u8> {
    assert_eq!((weights.len(), scales.len()), (n * k, n), "weights and scales of [{n}, {k}]");
    let blocks = k.div_ceil(BLOCK);
    let mut all = Vec::with_capacity(weight_parts(n as u64, k as u64).iter().sum::<u64>() as usize);
    let mut sums = Vec::with_capacity(n * blocks * 4);
    for column in weights.chunks_exact(k.max(1)) {
        for block in column.chunks(BLOCK) {
            all.extend(block.iter().map(|&weight| weight as u8));
            all.resize(all.len() + BLOCK - block.len(), 0);
            let sum: i32 = block.iter().map(|&weight| i32::from(weight)).sum();
            sums.extend((sum as f32).to_le_bytes());
        }
    }
    all.extend(scales.iter().flat_map(|scale| scale.to_le_bytes()));
    all.extend(sums);
    all
}

/// Bytes of the quantized rows, and of their scales and zero points.
fn scratch_parts(m: u64, k: u64) -> [u64; 2] {
    let blocks = k.div_ceil(BLOCK as u64);
    let rows = m.saturating_mul(blocks);
    [
        rows.saturating_mul(BLOCK as u64).next_multiple_of(ALIGN),
        rows.saturating_mul(8).next_multiple_of(ALIGN),
    ]
}

/// Bytes of scratch memory that [`dynamic_linear`] needs for `m` rows.
pub fn dynamic_scratch(m: u32, k: u32) -> usize {
    let [bytes, scaling] = scratch_parts(m.into(), k.into());
    bytes.saturating_add(scaling) as usize
}

/// `y = finish(x w + bias, residual)` for `m` rows of `x`, quantized as the module says. Where a block of
/// a row holds a number that is not finite, its row of `y` is NaN before the finish.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short or has 2^31 elements or more, or a refused launch.
pub fn dynamic_linear(
    queue: &mut Queue<'_>,
    m: u32,
    weights: &DynamicWeights<'_>,
    operands: &DynamicOperands<'_>,
    finish: Finish,
) -> Result<(), DeviceError> {
    let DynamicWeights { n, k, data } = *weights;
    let blocks = k.div_ceil(BLOCK as u32);
    let depth = u64::from(blocks) * BLOCK as u64;
    let (m_long, n_long) = (u64::from(m), u64::from(n));
    let large = [m_long * depth, n_long * depth, m_long * n_long];
    if large.iter().any(|&numbers| numbers >= 1 << 31) {
        return Err(DeviceError::Defect("a dynamic layer of 2^31 elements or more"));
    }
    let [own, scales, sums] = weight_parts(n_long, k.into());
    let place = |start: u64, bytes: u64| data.part(start as usize, bytes as usize);
    let [bytes, scaling] = scratch_parts(m_long, k.into());
    let bytes_at = operands.scratch.part(0, bytes as usize)?;
    let scaling_at = operands.scratch.part(bytes as usize, scaling as usize)?;
    let optional = |slice: Slice<'_>, elements: u64| match slice.bytes() {
        0 => Ok(Address(0)),
        _ => slice.elements(elements, 4),
    };
    let shape = DynamicLayer {
        bytes: bytes_at.elements(m_long * depth / 4, 4)?,
        scaling: scaling_at.elements(m_long * u64::from(blocks) * 2, 4)?,
        weights: place(0, own)?.elements(own / 4, 4)?,
        scales: place(own, scales)?.elements(n_long, 4)?,
        sums: place(own + scales, sums)?.elements(sums / 4, 4)?,
        bias: optional(operands.bias, n_long)?,
        residual: optional(operands.residual, m_long * n_long)?,
        c: operands.y.elements(m_long * n_long, 4)?,
        m,
        n,
        blocks,
    };
    let rows = entries::DynamicRows {
        x: operands.x.elements(m_long * u64::from(k), 4)?,
        bytes: shape.bytes,
        scaling: shape.scaling,
        rows: m,
        k,
        blocks,
    };
    if m == 0 || n == 0 {
        return Ok(());
    }
    if blocks > 0 {
        // A warp for each block.
        queue.launch(&rows, Form::Plain, queue.over(m_long * u64::from(blocks) * 32, 256))?;
    }
    let ending = finish.into();
    // As many tiles as elements at most.
    let tiles = |rows: u32, columns: u32| m.div_ceil(rows) * n.div_ceil(columns);
    match m {
        ..=FEW_ROWS => {
            let kernel = entries::DynamicLayerFew { shape, ending };
            queue.launch(&kernel, Form::Plain, Grid::linear(tiles(16, 32), 128))
        }
        _ => {
            let kernel = entries::DynamicLayerTiles { shape, ending };
            queue.launch(&kernel, Form::Plain, Grid::linear(tiles(64, 64), 256))
        }
    }
}

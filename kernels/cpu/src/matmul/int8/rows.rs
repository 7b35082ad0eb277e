//! Rows of f32 as bytes of 7 bits, with a scale and a zero point for every block of 64.

use super::packing::{BLOCK, QUAD};
use crate::level::leveled;
use crate::view::Rows;

/// Largest byte: with it, two products with any i8 fit 16 bits, and eight with small ones.
pub(super) const BYTE_MAX: i32 = 127;
/// Adding this rounds a float of less than 2^22 to a whole number, which its low bits then hold.
const ROUNDER: f32 = 12_582_912.0;

/// Quantizes every row of `x` to `depth` bytes, zeros beyond the columns, and writes for every block
/// its scale and that times its zero point.
///
/// A block that holds a number that is not finite gets NaN for both; one that holds a number beyond
/// half the largest float may get infinity.
pub(super) fn quantize_rows(x: Rows, depth: usize, bytes: &mut [u8], scaling: &mut [[f32; 2]]) {
    let blocks = depth.div_ceil(BLOCK);
    assert_eq!((bytes.len(), scaling.len()), (x.rows() * depth, x.rows() * blocks), "rows");
    assert!(x.columns() <= depth && depth.is_multiple_of(QUAD), "columns of a row");
    for row in 0..x.rows() {
        let own = &mut scaling[row * blocks..][..blocks];
        quantize_row(x.row(row), &mut bytes[row * depth..][..depth], own);
    }
}

leveled! {
    fn quantize_row(x: &[f32], bytes: &mut [u8], scaling: &mut [[f32; 2]])
        = quantize_row_body(x, bytes, scaling);
}

#[inline(always)]
fn quantize_row_body(x: &[f32], bytes: &mut [u8], scaling: &mut [[f32; 2]]) {
    let mut wholes = x.chunks_exact(BLOCK);
    let mut outs = bytes.chunks_exact_mut(BLOCK);
    let mut all = scaling.iter_mut();
    for ((x, out), scaling) in (&mut wholes).zip(&mut outs).zip(&mut all) {
        if let (Some(x), Some(out)) = (x.first_chunk(), out.first_chunk_mut()) {
            *scaling = quantize_block(x, out);
        }
    }
    let rest = wholes.remainder();
    if let (false, Some(scaling)) = (rest.is_empty(), all.next()) {
        // Zeros change no range, for it always holds 0.
        let (mut padded, mut out) = ([0f32; BLOCK], [0u8; BLOCK]);
        padded[..rest.len()].copy_from_slice(rest);
        *scaling = quantize_block(&padded, &mut out);
        // The last block may be whole but for columns that do not exist.
        match outs.next() {
            Some(own) => own.copy_from_slice(&out),
            None => {
                let own = outs.into_remainder();
                own.copy_from_slice(&out[..own.len()]);
            }
        }
    }
}

/// Bytes of a block; its scale and that times its zero point.
#[inline(always)]
fn quantize_block(x: &[f32; BLOCK], out: &mut [u8; BLOCK]) -> [f32; 2] {
    const LANES: usize = 16;
    let (mut low, mut high, mut strange) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
    for x in x.chunks_exact(LANES) {
        for lane in 0..LANES {
            low[lane] = if x[lane] < low[lane] { x[lane] } else { low[lane] };
            high[lane] = if x[lane] > high[lane] { x[lane] } else { high[lane] };
            strange[lane] += x[lane] * 0.0;
        }
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            low[lane] = if low[lane + half] < low[lane] { low[lane + half] } else { low[lane] };
            high[lane] =
                if high[lane + half] > high[lane] { high[lane + half] } else { high[lane] };
            strange[lane] += strange[lane + half];
        }
    }
    // The last one is 0, or NaN after a number that is not finite.
    let ([low, ..], [high, ..], [strange, ..]) = (low, high, strange);
    const STEP: f32 = 1.0 / BYTE_MAX as f32;
    // The range itself may be more than a float holds.
    let scale = high * STEP - low * STEP;
    let steps = if scale >= f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
    let zero = (-low * steps).round_ties_even();
    let shift = ROUNDER + zero;
    for (out, x) in out.iter_mut().zip(x) {
        let rounded = (x * steps + shift).to_bits() as i32 - ROUNDER.to_bits() as i32;
        *out = rounded.clamp(0, BYTE_MAX) as u8;
    }
    [scale + strange, scale * zero + strange]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;

    fn quantized(x: &[f32]) -> (Vec<u8>, Vec<[f32; 2]>) {
        let depth = x.len().next_multiple_of(QUAD);
        let (mut bytes, mut scaling) = (vec![9; depth], vec![[9.0; 2]; depth.div_ceil(BLOCK)]);
        quantize_rows(Rows::new(x, 1, x.len(), x.len()), depth, &mut bytes, &mut scaling);
        (bytes, scaling)
    }

    #[test]
    fn bytes_stand_for_the_numbers_within_half_a_step() {
        let number = |i: usize| ((i * 104_729) % 1999) as f32 / 313.0 - 2.0;
        let x: Vec<f32> = (0..2 * BLOCK + 7).map(number).collect();
        let expected = quantized(&x);
        for_each_level(|level| {
            assert_eq!(quantized(&x), expected, "{level:?}");
        });
        let (bytes, scaling) = expected;
        for (i, (&x, &byte)) in x.iter().zip(&bytes).enumerate() {
            let [scale, shift] = scaling[i / BLOCK];
            let back = f32::from(byte) * scale - shift;
            assert!((back - x).abs() <= 0.5001 * scale, "{i}: {x} became {back}");
        }
    }

    #[test]
    fn extremes_keep_within_seven_bits() {
        for_each_level(|_| {
            // A zero point between two steps, so that the largest number rounds up twice.
            for low in (0..1000).map(|i| i as f32 / 100.0) {
                let (bytes, _) = quantized(&[-low, 9.95, 0.0]);
                assert!(bytes.iter().all(|&byte| i32::from(byte) <= BYTE_MAX));
            }
            let (bytes, scaling) = quantized(&[f32::MAX / 2.0, f32::MIN / 2.0]);
            assert_eq!((bytes[0], bytes[1]), (127, 0));
            assert!(scaling[0].iter().all(|x| x.is_finite()));
            assert_eq!(quantized(&[0.0, -0.0]).1, [[0.0; 2]]);
            assert_eq!(quantized(&[f32::MIN_POSITIVE; 3]).1[0][1], 0.0);
        });
    }

    #[test]
    fn what_is_not_finite_spoils_its_block_only() {
        for_each_level(|_| {
            for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = vec![1f32; BLOCK + 4];
                x[3] = strange;
                let (_, scaling) = quantized(&x);
                assert!(scaling[0].iter().all(|x| x.is_nan()), "{strange}");
                assert!(scaling[1].iter().all(|x| x.is_finite()));
            }
        });
    }
}

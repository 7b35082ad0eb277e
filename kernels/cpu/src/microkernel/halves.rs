//! AVX-512 tiles of two panels of which the second has at most half of its columns: there two rows of A
//! share a register, so that 24 columns take 24 lanes, not 32. Every element is the chain that it is in
//! any other tile.

use super::{PANEL, Tile, x86::ended};
use std::arch::x86_64::{
    __m512, __mmask8, _mm256_loadu_ps, _mm256_maskz_loadu_ps, _mm512_broadcast_f32x8,
    _mm512_castps256_ps512, _mm512_extractf32x8_ps, _mm512_fmadd_ps, _mm512_insertf32x8,
    _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_mask_storeu_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};

/// Columns of half a panel.
const HALF: usize = PANEL / 2;

/// Whether a tile is one of these.
pub(super) fn fits(tile: &Tile, rows: usize, panels: usize) -> bool {
    panels == 2 && tile.last <= HALF && rows > 1
}

/// # Safety
/// As [`super::Kernel::tile`], for a tile that [`fits`], on a processor with AVX-512 F, VL and DQ.
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
pub(super) unsafe fn tile(tile: &Tile, rows: usize) {
    macro_rules! tiles {
        ($($rows:literal as $pairs:literal),*) => {
            match rows {
                // SAFETY: the caller's promise goes on.
                $($rows => unsafe { sized::<$rows, $pairs>(tile) },)*
                _ => unreachable!("no tile of {rows} rows"),
            }
        };
    }
    tiles!(
        12 as 6, 11 as 6, 10 as 5, 9 as 5, 8 as 4, 7 as 4, 6 as 3, 5 as 3, 4 as 2, 3 as 2, 2 as 1
    );
}

/// The rows of a pair; the last row of an odd number is a pair with itself.
fn pair<const R: usize>(pair: usize) -> [usize; 2] {
    [2 * pair, (2 * pair + 1).min(R - 1)]
}

/// What the chains of two rows start from in the second panel.
///
/// # Safety
/// As many floats as the mask names lie at both places.
#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
#[inline]
unsafe fn both(mask: __mmask8, low: *const f32, high: *const f32) -> __m512 {
    // SAFETY: promised by the caller.
    unsafe {
        let (low, high) = (_mm256_maskz_loadu_ps(mask, low), _mm256_maskz_loadu_ps(mask, high));
        _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq")]
unsafe fn sized<const R: usize, const H: usize>(tile: &Tile) {
    let Tile { k, a_row, b_row, b_panel, c, c_row, accumulate, bias, .. } = *tile;
    let mask = u8::MAX >> (HALF - tile.last);
    // SAFETY: the caller promised all elements of the tile.
    unsafe {
        let mut whole: [__m512; R] = [_mm512_setzero_ps(); R];
        let mut halves: [__m512; H] = [_mm512_setzero_ps(); H];
        if accumulate {
            for (i, whole) in whole.iter_mut().enumerate() {
                *whole = _mm512_loadu_ps(c.add(i * c_row));
            }
            for (h, halves) in halves.iter_mut().enumerate() {
                let [low, high] = pair::<R>(h).map(|i| c.add(i * c_row + PANEL).cast_const());
                *halves = both(mask, low, high);
            }
        } else if !bias.is_null() {
            whole.fill(_mm512_loadu_ps(bias));
            halves.fill(both(mask, bias.add(PANEL), bias.add(PANEL)));
        }
        let mut b = tile.b;
        for segment in 0..tile.segments {
            let a = tile.a.add(segment * tile.a_segment);
            for p in 0..k {
                let first = _mm512_loadu_ps(b);
                let second = _mm512_broadcast_f32x8(_mm256_loadu_ps(b.add(b_panel)));
                for (h, halves) in halves.iter_mut().enumerate() {
                    let [i, j] = pair::<R>(h);
                    let x = _mm512_set1_ps(*a.add(i * a_row + p));
                    let y = _mm512_set1_ps(*a.add(j * a_row + p));
                    whole[i] = _mm512_fmadd_ps(x, first, whole[i]);
                    if i != j {
                        whole[j] = _mm512_fmadd_ps(y, first, whole[j]);
                    }
                    let shared = _mm512_mask_blend_ps(0xff00, x, y);
                    *halves = _mm512_fmadd_ps(shared, second, *halves);
                }
                b = b.wrapping_add(b_row);
            }
        }
        let mut sums: [[__m512; 2]; R] = [[_mm512_setzero_ps(); 2]; R];
        for (i, sums) in sums.iter_mut().enumerate() {
            let half = match i % 2 {
                0 => halves[i / 2],
                _ => _mm512_castps256_ps512(_mm512_extractf32x8_ps::<1>(halves[i / 2])),
            };
            *sums = [whole[i], half];
        }
        let masks = [u16::MAX, u16::from(mask)];
        if let Some(end) = &tile.end {
            sums = ended(end, sums, &masks);
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, &sum) in sums.iter().enumerate() {
                _mm512_mask_storeu_ps(c.add(i * c_row + j * PANEL), masks[j], sum);
            }
        }
    }
}

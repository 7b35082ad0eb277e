//! The inner loop of every product: a few rows of A times a few 16-column panels of B, held in
//! registers.
//!
//! Every element of C is one chain of fused multiply-adds in the order of `k`, whatever the tile's
//! height, width or instruction set: that is what makes rows independent of their block.
#![expect(unsafe_code, reason = "raw tiles; vector instructions")]

use crate::activation::{Ending, Finish};
use crate::level::{Level, level};

/// Columns of a panel.
pub(crate) const PANEL: usize = 16;
/// Most rows that a tile of any level has.
pub(crate) const TILE_ROWS_MAX: usize = 12;
/// Most panels that a tile of any level has.
pub(crate) const TILE_PANELS_MAX: usize = 4;

/// One tile: `C[rows, 16 panels] (+)= A[rows, k] B[k, 16 panels] (+ bias)`.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Steps of one segment.
    pub(crate) k: usize,
    /// Segments of the sums: A goes on elsewhere, B where it was.
    pub(crate) segments: usize,
    /// Floats from one segment of A to the next.
    pub(crate) a_segment: usize,
    pub(crate) a: *const f32,
    /// Floats from one row of A to the next.
    pub(crate) a_row: usize,
    pub(crate) b: *const f32,
    /// Floats from one row of B (one step of `k`) to the next.
    pub(crate) b_row: usize,
    /// Floats from one panel of B to the next.
    pub(crate) b_panel: usize,
    pub(crate) c: *mut f32,
    /// Floats from one row of C to the next.
    pub(crate) c_row: usize,
    /// What the chains start from: C itself, or else the bias, or else 0.
    pub(crate) accumulate: bool,
    /// `16 panels` floats, or null.
    pub(crate) bias: *const f32,
    /// Columns of the last panel that C and the bias have; fewer than 16 only where [`Kernel::cuts`].
    pub(crate) last: usize,
    /// Fetch the panels that follow in B while this tile computes: the next ones to be used. A hint;
    /// only the AVX-512 tiles take it.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "a hint for AVX-512"))]
    pub(crate) prefetch: bool,
    /// How the sums end, if they are complete; only where [`Kernel::ends`] says so.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for AVX-512"))]
    pub(crate) end: Option<TileEnd>,
}

/// How the sums of a tile end.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for AVX-512"))]
pub(crate) struct TileEnd {
    pub(crate) ending: Ending,
    /// What is added, as large as C; or null.
    pub(crate) residual: *const f32,
    /// Floats from one row of the residual to the next.
    pub(crate) residual_row: usize,
}

/// The tiles of one level.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// Most rows of a tile.
    pub(crate) rows_max: usize,
    tile: unsafe fn(&Tile, usize, usize),
    level: Level,
}

impl Kernel {
    /// Tiles of the level in use.
    pub(crate) fn get() -> Kernel {
        let level = level();
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Kernel { rows_max: 12, tile: x86::tile_avx512, level },
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Kernel { rows_max: 6, tile: x86::tile_avx2, level },
            #[cfg(target_arch = "aarch64")]
            Level::Neon => Kernel { rows_max: 6, tile: neon::tile, level },
            #[cfg(not(target_arch = "aarch64"))]
            Level::Neon => Kernel { rows_max: 4, tile: tile_scalar, level },
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx512 | Level::Avx2 => Kernel { rows_max: 4, tile: tile_scalar, level },
            Level::Scalar => Kernel { rows_max: 4, tile: tile_scalar, level },
        }
    }

    /// Panels that a tile of `rows` rows takes at once: 1, 2 or 4.
    pub(crate) fn panels_max(&self, rows: usize) -> usize {
        match self.level {
            Level::Avx512 if rows <= 6 => 4,
            Level::Avx512 => 2,
            Level::Avx2 | Level::Neon if rows == 1 => 4,
            Level::Avx2 | Level::Neon if rows <= 3 => 2,
            Level::Avx2 | Level::Neon | Level::Scalar => 1,
        }
    }

    /// Whether tiles may have fewer columns than their panels.
    pub(crate) fn cuts(&self) -> bool {
        self.level == Level::Avx512
    }

    /// The ending that tiles of this level apply to complete sums; `None` if nothing is left to do or
    /// it is done to rows in memory.
    pub(crate) fn ends(&self, finish: &Finish, residual: bool) -> Option<Ending> {
        match self.level {
            Level::Avx512 if residual || !finish.is_plain() => Ending::of(finish),
            Level::Avx512 | Level::Avx2 | Level::Neon | Level::Scalar => None,
        }
    }

    /// Computes one tile.
    ///
    /// # Safety
    /// `1 <= rows <= rows_max`, `panels` is 1, 2 or 4 and at most `panels_max(rows)`, all elements
    /// that the tile names are readable, and those of C are writable by this thread alone.
    #[inline(always)]
    pub(crate) unsafe fn tile(&self, tile: &Tile, rows: usize, panels: usize) {
        // SAFETY: promised by the caller; `get` chose a function for this processor.
        unsafe { (self.tile)(tile, rows, panels) }
    }

    /// Height of the next tile when `rows` are left: as equal as possible.
    #[inline]
    pub(crate) fn next_rows(&self, rows: usize) -> usize {
        rows.div_ceil(rows.div_ceil(self.rows_max).max(1))
    }

    /// Width of the next tile when `panels` are left.
    #[inline]
    pub(crate) fn next_panels(&self, rows: usize, panels: usize) -> usize {
        match self.panels_max(rows).min(panels) {
            3 => 2,
            width => width,
        }
    }
}

/// # Safety
/// As [`Kernel::tile`].
unsafe fn tile_scalar(tile: &Tile, rows: usize, panels: usize) {
    for panel in 0..panels {
        for row in 0..rows {
            // SAFETY: the caller promised all of these elements.
            unsafe {
                let c = tile.c.add(row * tile.c_row + panel * PANEL).cast::<[f32; PANEL]>();
                let mut lanes = if tile.accumulate {
                    *c
                } else if tile.bias.is_null() {
                    [0.0; PANEL]
                } else {
                    *tile.bias.add(panel * PANEL).cast()
                };
                for step in 0..tile.segments * tile.k {
                    let (segment, p) = (step / tile.k, step % tile.k);
                    let x = *tile.a.add(segment * tile.a_segment + row * tile.a_row + p);
                    let b = tile.b.add(step * tile.b_row + panel * tile.b_panel);
                    let b = &*b.cast::<[f32; PANEL]>();
                    for (lane, &b) in lanes.iter_mut().zip(b) {
                        *lane = x.mul_add(b, *lane);
                    }
                }
                *c = lanes;
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use super::Tile;
    use std::arch::aarch64::{float32x4_t, vdupq_n_f32, vfmaq_n_f32, vld1q_f32, vst1q_f32};

    /// # Safety
    /// As [`super::Kernel::tile`].
    pub(super) unsafe fn tile(tile: &Tile, rows: usize, panels: usize) {
        macro_rules! tiles {
            ($($rows:literal x $panels:literal),*) => {
                match (rows, panels) {
                    // SAFETY: the caller's promise goes on; NEON is part of the architecture.
                    $(($rows, $panels) => unsafe { sized::<$rows, $panels>(tile) },)*
                    _ => unreachable!("no tile of {rows} rows and {panels} panels"),
                }
            };
        }
        tiles!(6 x 1, 5 x 1, 4 x 1, 3 x 1, 2 x 1, 1 x 1, 3 x 2, 2 x 2, 1 x 2, 1 x 4);
    }

    /// 16 floats.
    #[target_feature(enable = "neon")]
    unsafe fn load(at: *const f32) -> [float32x4_t; 4] {
        // SAFETY: promised by the caller.
        unsafe { [0, 4, 8, 12].map(|lane| vld1q_f32(at.add(lane))) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn sized<const R: usize, const P: usize>(tile: &Tile) {
        let Tile { k, a_row, b_row, b_panel, c, c_row, accumulate, bias, .. } = *tile;
        // SAFETY: the caller promised all elements of the tile.
        unsafe {
            let mut sums = [[[vdupq_n_f32(0.0); 4]; P]; R];
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    if accumulate {
                        *sum = load(c.add(i * c_row + j * 16));
                    } else if !bias.is_null() {
                        *sum = load(bias.add(j * 16));
                    }
                }
            }
            let mut b = tile.b;
            for segment in 0..tile.segments {
                let a = tile.a.add(segment * tile.a_segment);
                for p in 0..k {
                    for j in 0..P {
                        let b = load(b.add(j * b_panel));
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let x = *a.add(i * a_row + p);
                            for (sum, &b) in sums[j].iter_mut().zip(&b) {
                                *sum = vfmaq_n_f32(*sum, b, x);
                            }
                        }
                    }
                    b = b.wrapping_add(b_row);
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, sum) in sums.iter().enumerate() {
                    for (lane, &part) in sum.iter().enumerate() {
                        vst1q_f32(c.add(i * c_row + j * 16 + lane * 4), part);
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Tile, TileEnd};
    use std::arch::x86_64::{
        __m256, __m512, _MM_HINT_T1, _mm_prefetch, _mm256_broadcast_ss, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps,
        _mm512_min_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
    };

    /// # Safety
    /// As [`super::Kernel::tile`], on a processor with AVX-512 F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn tile_avx512(tile: &Tile, rows: usize, panels: usize) {
        macro_rules! tiles {
            ($($rows:literal x $panels:literal),*) => {
                match (rows, panels) {
                    // SAFETY: the caller's promise goes on.
                    $(($rows, $panels) => unsafe { avx512::<$rows, $panels>(tile) },)*
                    _ => unreachable!("no tile of {rows} rows and {panels} panels"),
                }
            };
        }
        tiles!(
            12 x 2, 11 x 2, 10 x 2, 9 x 2, 8 x 2, 7 x 2, 6 x 2, 5 x 2, 4 x 2, 3 x 2, 2 x 2, 1 x 2,
            12 x 1, 11 x 1, 10 x 1, 9 x 1, 8 x 1, 7 x 1, 6 x 1, 5 x 1, 4 x 1, 3 x 1, 2 x 1, 1 x 1,
            6 x 4, 5 x 4, 4 x 4, 3 x 4, 2 x 4, 1 x 4
        );
    }

    /// # Safety
    /// As [`super::Kernel::tile`], on a processor with AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn tile_avx2(tile: &Tile, rows: usize, panels: usize) {
        macro_rules! tiles {
            ($($rows:literal x $panels:literal),*) => {
                match (rows, panels) {
                    // SAFETY: the caller's promise goes on.
                    $(($rows, $panels) => unsafe { avx2::<$rows, $panels>(tile) },)*
                    _ => unreachable!("no tile of {rows} rows and {panels} panels"),
                }
            };
        }
        tiles!(
            6 x 1, 5 x 1, 4 x 1, 3 x 1, 2 x 1, 1 x 1, 3 x 2, 2 x 2, 1 x 2, 1 x 4
        );
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<const R: usize, const P: usize>(tile: &Tile) {
        let Tile { k, a_row, b_row, b_panel, c, c_row, accumulate, bias, prefetch, .. } = *tile;
        // Lanes of each panel that exist in memory.
        let mut masks = [u16::MAX; P];
        masks[P - 1] >>= 16 - tile.last;
        // SAFETY: the caller promised all elements of the tile.
        unsafe {
            let mut sums: [[__m512; P]; R] = [[_mm512_setzero_ps(); P]; R];
            if accumulate {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm512_maskz_loadu_ps(masks[j], c.add(i * c_row + j * 16));
                    }
                }
            } else if !bias.is_null() {
                for sums in &mut sums {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm512_maskz_loadu_ps(masks[j], bias.add(j * 16));
                    }
                }
            }
            let mut b = tile.b;
            for segment in 0..tile.segments {
                let a = tile.a.add(segment * tile.a_segment);
                for p in 0..k {
                    let mut bs = [_mm512_setzero_ps(); P];
                    for (j, panel) in bs.iter_mut().enumerate() {
                        *panel = _mm512_loadu_ps(b.add(j * b_panel));
                    }
                    if prefetch {
                        for j in 0..P {
                            _mm_prefetch::<_MM_HINT_T1>(b.wrapping_add((P + j) * b_panel).cast());
                        }
                    }
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let x = _mm512_set1_ps(*a.add(i * a_row + p));
                        for (sum, &b) in sums.iter_mut().zip(&bs) {
                            *sum = _mm512_fmadd_ps(x, b, *sum);
                        }
                    }
                    b = b.wrapping_add(b_row);
                }
            }
            if let Some(end) = &tile.end {
                sums = ended(end, sums, &masks);
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    _mm512_mask_storeu_ps(c.add(i * c_row + j * 16), masks[j], sum);
                }
            }
        }
    }

    /// The sums of a tile at their end: what [`crate::activation::Ending::apply`] does.
    ///
    /// # Safety
    /// The residual has the tile's rows, and their columns that the masks name.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn ended<const R: usize, const P: usize>(
        end: &TileEnd,
        mut sums: [[__m512; P]; R],
        masks: &[u16; P],
    ) -> [[__m512; P]; R] {
        let TileEnd { ending, residual, residual_row } = *end;
        let [low, high] = ending.bounds.map(|bound| _mm512_set1_ps(bound));
        // Where one side is NaN, the maximum and the minimum are their second operand: the sum.
        let bounded = |sum, low, high| _mm512_min_ps(high, _mm512_max_ps(low, sum));
        if ending.swish {
            let (zero, one) = (_mm512_setzero_ps(), _mm512_set1_ps(1.0));
            let (slope, middle) = (_mm512_set1_ps(1.0 / 6.0), _mm512_set1_ps(0.5));
            for sum in sums.as_flattened_mut() {
                let gate = bounded(_mm512_fmadd_ps(*sum, slope, middle), zero, one);
                *sum = _mm512_mul_ps(*sum, gate);
            }
        } else {
            for sum in sums.as_flattened_mut() {
                *sum = bounded(*sum, low, high);
            }
        }
        if let Some((factor, summand)) = ending.scaled {
            let (factor, summand) = (_mm512_set1_ps(factor), _mm512_set1_ps(summand));
            for sum in sums.as_flattened_mut() {
                *sum = _mm512_fmadd_ps(*sum, factor, summand);
            }
        }
        if !residual.is_null() {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    let at = residual.wrapping_add(i * residual_row + j * 16);
                    // SAFETY: promised by the caller.
                    let more = unsafe { _mm512_maskz_loadu_ps(masks[j], at) };
                    *sum = _mm512_add_ps(*sum, more);
                }
            }
        }
        let [low, high] = ending.last.map(|bound| _mm512_set1_ps(bound));
        for sum in sums.as_flattened_mut() {
            *sum = bounded(*sum, low, high);
        }
        sums
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const R: usize, const P: usize>(tile: &Tile) {
        let Tile { k, a_row, b_row, b_panel, c, c_row, accumulate, bias, .. } = *tile;
        // SAFETY: the caller promised all elements of the tile.
        unsafe {
            let mut sums: [[[__m256; 2]; P]; R] = [[[_mm256_setzero_ps(); 2]; P]; R];
            if accumulate {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let c = c.add(i * c_row + j * 16);
                        *sum = [_mm256_loadu_ps(c), _mm256_loadu_ps(c.add(8))];
                    }
                }
            } else if !bias.is_null() {
                for sums in &mut sums {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let bias = bias.add(j * 16);
                        *sum = [_mm256_loadu_ps(bias), _mm256_loadu_ps(bias.add(8))];
                    }
                }
            }
            let mut b = tile.b;
            for segment in 0..tile.segments {
                let a = tile.a.add(segment * tile.a_segment);
                for p in 0..k {
                    for j in 0..P {
                        let b = b.add(j * b_panel);
                        let (low, high) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let x = _mm256_broadcast_ss(&*a.add(i * a_row + p));
                            sums[j][0] = _mm256_fmadd_ps(x, low, sums[j][0]);
                            sums[j][1] = _mm256_fmadd_ps(x, high, sums[j][1]);
                        }
                    }
                    b = b.wrapping_add(b_row);
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &[low, high]) in sums.iter().enumerate() {
                    let c = c.add(i * c_row + j * 16);
                    _mm256_storeu_ps(c, low);
                    _mm256_storeu_ps(c.add(8), high);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;

    #[test]
    fn every_tile_of_every_level_gives_the_bits_of_the_plain_chain() {
        let (k, a_row, c_row) = (37, 42, 70);
        let a: Vec<f32> =
            (0..12 * a_row).map(|i| ((i * 7919) % 211) as f32 / 105.5 - 1.0).collect();
        let b: Vec<f32> =
            (0..4 * k * 16).map(|i| ((i * 104_729) % 199) as f32 / 99.5 - 1.0).collect();
        for_each_level(|_| {
            let kernel = Kernel::get();
            for rows in 1..=kernel.rows_max {
                for panels in [1, 2, 4].into_iter().filter(|&p| p <= kernel.panels_max(rows)) {
                    let mut c = vec![0.5f32; 12 * c_row];
                    // Every other tile has its sums in two segments, 4 floats apart.
                    let split = rows % 2;
                    let tile = Tile {
                        k: if split == 1 { 18 } else { k },
                        segments: 1 + split,
                        a_segment: 22,
                        last: if kernel.cuts() { 16 - rows } else { 16 },
                        a: a.as_ptr(),
                        a_row,
                        b: b.as_ptr(),
                        b_row: 16,
                        b_panel: k * 16,
                        c: c.as_mut_ptr(),
                        c_row,
                        accumulate: rows % 2 == 0,
                        bias: b.as_ptr(),
                        prefetch: rows % 3 == 0,
                        end: None,
                    };
                    // SAFETY: the vectors above hold all rows and panels.
                    unsafe { kernel.tile(&tile, rows, panels) };
                    let columns = panels * 16 - 16 + tile.last;
                    for (i, j) in (0..rows).flat_map(|i| (0..panels * 16).map(move |j| (i, j))) {
                        if j >= columns {
                            assert_eq!(c[i * c_row + j], 0.5);
                            continue;
                        }
                        let mut want = if rows % 2 == 0 { 0.5 } else { b[j] };
                        for p in 0..tile.segments * tile.k {
                            let from = p / tile.k * 22 + p % tile.k;
                            let b = b[(j / 16 * k + p) * 16 + j % 16];
                            want = a[i * a_row + from].mul_add(b, want);
                        }
                        assert_eq!(c[i * c_row + j].to_bits(), want.to_bits());
                    }
                    assert!(c[rows * c_row..].iter().all(|&c| c == 0.5));
                }
            }
        });
    }

    #[test]
    fn a_tile_that_ends_its_sums_gives_the_bits_of_finished_rows() {
        use crate::activation::ending::tests::{EDGES, FINISHES};
        use crate::activation::finish_rows;
        use crate::view::{Rows, RowsMut};
        // Sums that start from the edges and stay there, and a residual of the same numbers.
        let (a, b) = ([0f32; 12], [0f32; 64]);
        let more: Vec<f32> = (0..12 * 70).map(|i| EDGES[i * 7 % 16]).collect();
        for_each_level(|_| {
            let kernel = Kernel::get();
            for (rows, panels, last) in [(12, 2, 16), (12, 2, 5), (6, 4, 9), (7, 1, 1)] {
                for (finish, residual) in FINISHES.iter().flat_map(|f| [(f, false), (f, true)]) {
                    let Some(ending) = kernel.ends(finish, residual) else {
                        continue;
                    };
                    let columns = panels * 16 - 16 + last;
                    let start: Vec<f32> = (0..12 * 64).map(|i| EDGES[i % 16]).collect();
                    let mut c = start.clone();
                    let ptr = if residual { more.as_ptr() } else { std::ptr::null() };
                    let tile = Tile {
                        k: 1,
                        segments: 1,
                        a_segment: 0,
                        a: a.as_ptr(),
                        a_row: 1,
                        b: b.as_ptr(),
                        b_row: 16,
                        b_panel: 16,
                        c: c.as_mut_ptr(),
                        c_row: 64,
                        accumulate: true,
                        bias: std::ptr::null(),
                        last,
                        prefetch: false,
                        end: Some(TileEnd { ending, residual: ptr, residual_row: 70 }),
                    };
                    // SAFETY: the vectors above hold all rows and panels.
                    unsafe { kernel.tile(&tile, rows, panels) };
                    // What the chain itself makes of the edges: `0 * 0 + x`.
                    let mut want: Vec<f32> = start.iter().map(|x| 0f32.mul_add(0.0, *x)).collect();
                    let view = residual.then(|| Rows::new(&more, rows, columns, 70));
                    finish_rows(finish, RowsMut::new(&mut want, rows, columns, 64), view);
                    for (i, (got, want)) in c.iter().zip(&want).enumerate() {
                        let inside = i / 64 < rows && i % 64 < columns;
                        let want = if inside { *want } else { start[i] };
                        let same = got.to_bits() == want.to_bits();
                        assert!(
                            same || got.is_nan() && want.is_nan(),
                            "{finish:?} at {i}: {got} {want}"
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn tiles_cover_all_rows_and_panels() {
        for_each_level(|_| {
            let kernel = Kernel::get();
            for total in 1..60 {
                let mut left = total;
                while left > 0 {
                    let rows = kernel.next_rows(left);
                    assert!((1..=kernel.rows_max).contains(&rows));
                    assert!([1, 2, 4].contains(&kernel.next_panels(rows, left)));
                    left -= rows;
                }
            }
        });
    }
}

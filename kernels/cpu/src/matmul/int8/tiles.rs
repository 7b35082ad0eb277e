//! The inner loop of int8 layers: a few rows of 7-bit activations times a few 16-column panels of i8.
//!
//! Integer sums of a block are exact on every path; blocks are then scaled and added in f32 in the
//! order of `k`, by the same fused operations everywhere. So every path gives the same bits.

use super::packing::{BLOCK, GROUP, PANEL, Span};
#[cfg(target_arch = "x86_64")]
use crate::level::{Level, dot_products, level};

/// Most rows and panels that a tile of any kernel has.
pub(super) const ROWS_MAX: usize = 12;
pub(super) const PANELS_MAX: usize = 4;
/// Groups of a whole block.
const GROUPS: usize = BLOCK / GROUP;

/// One tile: `C[rows, 16 panels] (+)= A[rows, k] B[k, 16 panels]`, where A is bytes with scales.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Steps of four elements, a multiple of four.
    pub(super) groups: usize,
    pub(super) a: *const u8,
    /// Bytes from one row of A to the next.
    pub(super) a_row: usize,
    /// For each block of the first row of A, its scale, and that times its zero point.
    pub(super) scaling: *const [f32; 2],
    /// Pairs from one row to the next.
    pub(super) scaling_row: usize,
    pub(super) b: *const i8,
    /// Bytes from one panel of B to the next.
    pub(super) b_panel: usize,
    /// Sums of the columns of each block, `[blocks][16]`.
    pub(super) sums: *const f32,
    /// Numbers from one panel's sums to the next.
    pub(super) sums_panel: usize,
    pub(super) c: *mut f32,
    /// Numbers from one row of C to the next.
    pub(super) c_row: usize,
    /// Whether sums go on from what is in C.
    pub(super) accumulate: bool,
    /// What complete sums are multiplied by, one number a column; null while they are not complete.
    pub(super) scales: *const f32,
    /// What is added then, one number a column, or null.
    pub(super) bias: *const f32,
    /// How many groups may be summed in 16 bits.
    pub(super) span: Span,
}

impl Tile {
    /// Groups of block `block`, of which there are `groups.div_ceil(GROUPS)`.
    #[inline(always)]
    fn block_groups(&self, block: usize) -> std::ops::Range<usize> {
        block * GROUPS..self.groups.min((block + 1) * GROUPS)
    }

    #[inline(always)]
    fn blocks(&self) -> usize {
        self.groups.div_ceil(GROUPS)
    }
}

/// The instructions that a kernel is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Scalar,
    /// Sums of products of bytes in 16 bits, as many as fit.
    Avx2,
    /// Sums of four products of bytes.
    AvxVnni,
    /// The same, twice as wide.
    Avx512Vnni,
}

/// The tiles of one path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel {
    path: Path,
}

impl Kernel {
    /// Tiles of the level in use, with the dot-product instructions that the processor has.
    pub(super) fn get() -> Kernel {
        Kernel { path: path() }
    }

    fn rows_max(&self) -> usize {
        match self.path {
            Path::Scalar | Path::Avx2 => 3,
            Path::AvxVnni => 6,
            Path::Avx512Vnni => 12,
        }
    }

    /// Height of the next tile when `rows` are left: as equal as possible.
    pub(super) fn next_rows(&self, rows: usize) -> usize {
        rows.div_ceil(rows.div_ceil(self.rows_max()).max(1))
    }

    /// Width of the tiles of a block of `rows` rows when `panels` are left.
    pub(super) fn next_panels(&self, rows: usize, panels: usize) -> usize {
        let most = match self.path {
            Path::Scalar | Path::Avx2 | Path::AvxVnni => 1,
            Path::Avx512Vnni if self.next_rows(rows) <= 6 => 4,
            Path::Avx512Vnni => 2,
        };
        match most.min(panels) {
            3 => 2,
            width => width,
        }
    }

    /// Computes one tile.
    ///
    /// # Safety
    /// `rows` and `panels` are those of `next_rows` and `next_panels` or fewer rows, all elements
    /// that the tile names are readable, and those of C are writable by this thread alone.
    pub(super) unsafe fn tile(&self, tile: &Tile, rows: usize, panels: usize) {
        // SAFETY: promised by the caller; `path` found the instructions.
        unsafe {
            match self.path {
                Path::Scalar => scalar(tile, rows, panels),
                #[cfg(target_arch = "x86_64")]
                Path::Avx2 => x86::avx2(tile, rows),
                #[cfg(target_arch = "x86_64")]
                Path::AvxVnni => x86::avx_vnni(tile, rows),
                #[cfg(target_arch = "x86_64")]
                Path::Avx512Vnni => x86::avx512_vnni(tile, rows, panels),
                #[cfg(not(target_arch = "x86_64"))]
                Path::Avx2 | Path::AvxVnni | Path::Avx512Vnni => scalar(tile, rows, panels),
            }
        }
    }

    /// Every kernel that this processor can run.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Kernel> {
        let paths = [Path::Scalar, Path::Avx2, Path::AvxVnni, Path::Avx512Vnni];
        let has = |path: &Path| match path {
            Path::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Path::AvxVnni => is_x86_feature_detected!("avxvnni") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Path::Avx512Vnni => is_x86_feature_detected!("avx512vnni"),
            #[cfg(not(target_arch = "x86_64"))]
            Path::Avx2 | Path::AvxVnni | Path::Avx512Vnni => false,
        };
        paths.into_iter().filter(has).map(|path| Kernel { path }).collect()
    }
}

#[cfg(target_arch = "x86_64")]
fn path() -> Path {
    match (level(), dot_products()) {
        (Level::Avx512, true) if is_x86_feature_detected!("avx512vnni") => Path::Avx512Vnni,
        (Level::Avx512 | Level::Avx2, true) if is_x86_feature_detected!("avxvnni") => Path::AvxVnni,
        (Level::Avx512 | Level::Avx2, _) => Path::Avx2,
        (Level::Scalar | Level::Neon, _) => Path::Scalar,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn path() -> Path {
    Path::Scalar
}

/// # Safety
/// As [`Kernel::tile`].
unsafe fn scalar(tile: &Tile, rows: usize, panels: usize) {
    for (panel, row) in (0..panels).flat_map(|panel| (0..rows).map(move |row| (panel, row))) {
        for block in 0..tile.blocks() {
            // SAFETY: the caller promised all of these elements.
            unsafe {
                let c = tile.c.add(row * tile.c_row + panel * PANEL).cast::<[f32; PANEL]>();
                let mut totals = [0f32; PANEL];
                if tile.accumulate || block > 0 {
                    totals = c.read_unaligned();
                }
                let mut sums = [0i32; PANEL];
                for group in tile.block_groups(block) {
                    let a = tile.a.add(row * tile.a_row + group * GROUP).cast::<[u8; GROUP]>();
                    let a = a.read();
                    let b = tile.b.add(panel * tile.b_panel + group * GROUP * PANEL);
                    for (sum, b) in sums.iter_mut().zip(&*b.cast::<[[i8; GROUP]; PANEL]>()) {
                        let products = a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b));
                        *sum += products.sum::<i32>();
                    }
                }
                let [scale, shift] = *tile.scaling.add(row * tile.scaling_row + block);
                let own = tile.sums.add(panel * tile.sums_panel + block * PANEL);
                let own = own.cast::<[f32; PANEL]>().read_unaligned();
                for ((total, sum), own) in totals.iter_mut().zip(sums).zip(own) {
                    *total = (-own).mul_add(shift, (sum as f32).mul_add(scale, *total));
                }
                c.write_unaligned(totals);
            }
        }
        // SAFETY: as above.
        unsafe {
            let c = tile.c.add(row * tile.c_row + panel * PANEL);
            for lane in (0..PANEL).filter(|_| !tile.scales.is_null()) {
                let (c, column) = (c.add(lane), panel * PANEL + lane);
                *c = match tile.bias.is_null() {
                    true => *c * *tile.scales.add(column),
                    false => (*c).mul_add(*tile.scales.add(column), *tile.bias.add(column)),
                };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{PANEL, Span, Tile};
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi16, _mm256_add_epi32, _mm256_cvtepi32_ps,
        _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps,
        _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_setzero_si256, _mm256_storeu_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
        _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps,
        _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
        _mm512_storeu_ps,
    };

    macro_rules! tiles {
        ($tile:ident, $rows:ident, $name:ident::<$second:literal>: $($r:literal)*) => {
            match $rows {
                // SAFETY: the caller's promise goes on.
                $($r => unsafe { $name::<$r, $second>($tile) },)*
                rows => unreachable!("no tile of {rows} rows"),
            }
        };
    }

    /// # Safety
    /// As [`super::Kernel::tile`], on a processor with AVX-512 F and VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn avx512_vnni(tile: &Tile, rows: usize, panels: usize) {
        match panels {
            1 => tiles!(tile, rows, wide::<1>: 1 2 3 4 5 6 7 8 9 10 11 12),
            2 => tiles!(tile, rows, wide::<2>: 1 2 3 4 5 6 7 8 9 10 11 12),
            _ => tiles!(tile, rows, wide::<4>: 1 2 3 4 5 6),
        }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn wide<const R: usize, const P: usize>(tile: &Tile) {
        let Tile { a, a_row, b, b_panel, c, c_row, .. } = *tile;
        for block in 0..tile.blocks() {
            // SAFETY: the caller promised all elements of the tile.
            unsafe {
                let mut sums: [[__m512i; P]; R] = [[_mm512_setzero_si512(); P]; R];
                for group in tile.block_groups(block) {
                    let b = b.add(group * 64);
                    let mut bs = [_mm512_setzero_si512(); P];
                    for (j, panel) in bs.iter_mut().enumerate() {
                        *panel = _mm512_loadu_si512(b.add(j * b_panel).cast());
                    }
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let four = a.add(i * a_row + group * 4).cast::<i32>().read_unaligned();
                        let x = _mm512_set1_epi32(four);
                        for (sum, &b) in sums.iter_mut().zip(&bs) {
                            *sum = _mm512_dpbusd_epi32(*sum, x, b);
                        }
                    }
                }
                let mut own = [_mm512_setzero_ps(); P];
                for (j, own) in own.iter_mut().enumerate() {
                    *own = _mm512_loadu_ps(tile.sums.add(j * tile.sums_panel + block * PANEL));
                }
                for (i, sums) in sums.iter().enumerate() {
                    let [scale, shift] = *tile.scaling.add(i * tile.scaling_row + block);
                    let (scale, shift) = (_mm512_set1_ps(scale), _mm512_set1_ps(shift));
                    for (j, (&sum, &own)) in sums.iter().zip(&own).enumerate() {
                        let c = c.add(i * c_row + j * PANEL);
                        let mut total = _mm512_setzero_ps();
                        if tile.accumulate || block > 0 {
                            total = _mm512_loadu_ps(c);
                        }
                        total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, total);
                        _mm512_storeu_ps(c, _mm512_fnmadd_ps(own, shift, total));
                    }
                }
            }
        }
        if tile.scales.is_null() {
            return;
        }
        // Nested loops, for closures would not have the instructions of this function.
        for i in 0..R {
            for j in 0..P {
                // SAFETY: as above.
                unsafe {
                    let c = c.add(i * c_row + j * PANEL);
                    let scale = _mm512_loadu_ps(tile.scales.add(j * PANEL));
                    let total = match tile.bias.is_null() {
                        true => _mm512_mul_ps(_mm512_loadu_ps(c), scale),
                        false => {
                            let bias = _mm512_loadu_ps(tile.bias.add(j * PANEL));
                            _mm512_fmadd_ps(_mm512_loadu_ps(c), scale, bias)
                        }
                    };
                    _mm512_storeu_ps(c, total);
                }
            }
        }
    }

    /// # Safety
    /// As [`super::Kernel::tile`], on a processor with AVX2, FMA and AVX-VNNI.
    #[target_feature(enable = "avx2,fma,avxvnni")]
    pub(super) unsafe fn avx_vnni(tile: &Tile, rows: usize) {
        tiles!(tile, rows, dot::<0>: 1 2 3 4 5 6);
    }

    #[target_feature(enable = "avx2,fma,avxvnni")]
    unsafe fn dot<const R: usize, const NONE: usize>(tile: &Tile) {
        for block in 0..tile.blocks() {
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            // SAFETY: promised by the caller.
            unsafe {
                for group in tile.block_groups(block) {
                    let b = tile.b.add(group * 64).cast::<__m256i>();
                    let bs = [_mm256_loadu_si256(b), _mm256_loadu_si256(b.add(1))];
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let x = four(tile, i, group);
                        sums[0] = _mm256_dpbusd_avx_epi32(sums[0], x, bs[0]);
                        sums[1] = _mm256_dpbusd_avx_epi32(sums[1], x, bs[1]);
                    }
                }
                end(tile, block, &sums);
            }
        }
        // SAFETY: as above.
        unsafe { scale::<R>(tile) };
    }

    /// # Safety
    /// As [`super::Kernel::tile`], on a processor with AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(tile: &Tile, rows: usize) {
        match tile.span {
            Span::One => tiles!(tile, rows, spans::<1>: 1 2 3),
            Span::Two => tiles!(tile, rows, spans::<2>: 1 2 3),
            Span::Four => tiles!(tile, rows, spans::<4>: 1 2 3),
        }
    }

    /// `SPAN` groups are summed in 16 bits, which the caller knows to hold them.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn spans<const R: usize, const SPAN: usize>(tile: &Tile) {
        let ones = _mm256_set1_epi16(1);
        for block in 0..tile.blocks() {
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            // SAFETY: promised by the caller; the groups are a multiple of four.
            unsafe {
                for first in tile.block_groups(block).step_by(SPAN) {
                    let mut short = [[_mm256_setzero_si256(); 2]; R];
                    for group in first..first + SPAN {
                        let b = tile.b.add(group * 64).cast::<__m256i>();
                        let bs = [_mm256_loadu_si256(b), _mm256_loadu_si256(b.add(1))];
                        for (i, short) in short.iter_mut().enumerate() {
                            let x = four(tile, i, group);
                            for (short, b) in short.iter_mut().zip(bs) {
                                *short = _mm256_add_epi16(*short, _mm256_maddubs_epi16(x, b));
                            }
                        }
                    }
                    for (sums, short) in sums.iter_mut().zip(&short) {
                        for (sum, &short) in sums.iter_mut().zip(short) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(short, ones));
                        }
                    }
                }
                end(tile, block, &sums);
            }
        }
        // SAFETY: as above.
        unsafe { scale::<R>(tile) };
    }

    /// Four elements of a row of A, in every lane.
    #[target_feature(enable = "avx2")]
    unsafe fn four(tile: &Tile, row: usize, group: usize) -> __m256i {
        // SAFETY: promised by the caller.
        let four =
            unsafe { tile.a.add(row * tile.a_row + group * 4).cast::<i32>().read_unaligned() };
        _mm256_set1_epi32(four)
    }

    /// Adds the sums of a block to C.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn end<const R: usize>(tile: &Tile, block: usize, sums: &[[__m256i; 2]; R]) {
        // SAFETY: promised by the caller.
        unsafe {
            let own = tile.sums.add(block * PANEL);
            let own = [_mm256_loadu_ps(own), _mm256_loadu_ps(own.add(8))];
            for (i, sums) in sums.iter().enumerate() {
                let [scale, shift] = *tile.scaling.add(i * tile.scaling_row + block);
                let (scale, shift) = (_mm256_set1_ps(scale), _mm256_set1_ps(shift));
                for (j, (&sum, own)) in sums.iter().zip(own).enumerate() {
                    let c = tile.c.add(i * tile.c_row + j * 8);
                    let mut total = _mm256_setzero_ps();
                    if tile.accumulate || block > 0 {
                        total = _mm256_loadu_ps(c);
                    }
                    total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, total);
                    _mm256_storeu_ps(c, _mm256_fnmadd_ps(own, shift, total));
                }
            }
        }
    }

    /// Scales and bias, where the sums are complete.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn scale<const R: usize>(tile: &Tile) {
        if tile.scales.is_null() {
            return;
        }
        for i in 0..R {
            for j in [0, 8] {
                // SAFETY: promised by the caller.
                unsafe {
                    let c = tile.c.add(i * tile.c_row + j);
                    let scale = _mm256_loadu_ps(tile.scales.add(j));
                    let total = match tile.bias.is_null() {
                        true => _mm256_mul_ps(_mm256_loadu_ps(c), scale),
                        false => {
                            let bias = _mm256_loadu_ps(tile.bias.add(j));
                            _mm256_fmadd_ps(_mm256_loadu_ps(c), scale, bias)
                        }
                    };
                    _mm256_storeu_ps(c, total);
                }
            }
        }
    }
}

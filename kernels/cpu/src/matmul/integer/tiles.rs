//! The inner loop of integer products: a few rows of u8 times a few 16-column panels of i8.

#[cfg(target_arch = "x86_64")]
use crate::level::{Level, dot_products, level};

/// Most rows and panels that a tile of any kernel has.
pub(super) const ROWS_MAX: usize = 12;
pub(super) const PANELS_MAX: usize = 4;

/// One tile: `C[rows, 16 panels] (+)= A[rows, 4 groups] B[4 groups, 16 panels]`.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Steps of four elements.
    pub(super) groups: usize,
    pub(super) a: *const u8,
    /// Bytes from one row of A to the next.
    pub(super) a_row: usize,
    pub(super) b: *const i8,
    /// Bytes from one panel of B to the next.
    pub(super) b_panel: usize,
    pub(super) c: *mut i32,
    /// Numbers from one row of C to the next.
    pub(super) c_row: usize,
    /// Whether sums go on from what is in C.
    pub(super) accumulate: bool,
    /// What they start from otherwise in every row: `16 panels` numbers.
    pub(super) start: *const i32,
    /// Whether pairs of products fit 16 bits.
    pub(super) narrow: bool,
}

/// The instructions that a kernel is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Scalar,
    /// Two sums of two products each, widened first; pairs of bytes where those are narrow.
    Avx2,
    /// Sums of four products of bytes.
    AvxVnni,
    /// The same, twice as wide.
    Avx512Vnni,
}

/// The tiles of one path.
#[derive(Clone, Copy)]
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
            Path::Scalar => 4,
            Path::Avx2 => 4,
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
            Path::Scalar | Path::Avx2 => 1,
            Path::AvxVnni => 1,
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
            Path::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Path::AvxVnni => is_x86_feature_detected!("avxvnni"),
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
        // SAFETY: the caller promised all of these elements.
        unsafe {
            let c = tile.c.add(row * tile.c_row + panel * 16).cast::<[i32; 16]>();
            let start = tile.start.add(panel * 16).cast::<[i32; 16]>();
            let mut sums = if tile.accumulate { c } else { start.cast_mut() }.read_unaligned();
            for group in 0..tile.groups {
                let a = tile.a.add(row * tile.a_row + group * 4).cast::<[u8; 4]>().read();
                let b = &*tile.b.add(panel * tile.b_panel + group * 64).cast::<[[i8; 4]; 16]>();
                for (sum, b) in sums.iter_mut().zip(b) {
                    let products = a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b));
                    *sum = sum.wrapping_add(products.sum());
                }
            }
            c.write_unaligned(sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Tile;
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi32, _mm256_and_si256, _mm256_dpbusd_avx_epi32,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16,
        _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi16, _mm256_srai_epi16,
        _mm256_srli_epi16, _mm256_storeu_si256, _mm512_dpbusd_epi32, _mm512_loadu_si512,
        _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    };

    macro_rules! tiles {
        ($tile:ident, $rows:ident, $panels:expr, $name:ident: $($r:literal x $p:literal),*) => {
            match ($rows, $panels) {
                // SAFETY: the caller's promise goes on.
                $(($r, $p) => unsafe { $name::<$r, $p>($tile) },)*
                (rows, panels) => unreachable!("no tile of {rows} rows and {panels} panels"),
            }
        };
    }

    /// # Safety
    /// As [`super::Kernel::tile`], on a processor with AVX-512 F and VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn avx512_vnni(tile: &Tile, rows: usize, panels: usize) {
        tiles!(tile, rows, panels, wide:
            12 x 2, 11 x 2, 10 x 2, 9 x 2, 8 x 2, 7 x 2, 6 x 2, 5 x 2, 4 x 2, 3 x 2, 2 x 2, 1 x 2,
            12 x 1, 11 x 1, 10 x 1, 9 x 1, 8 x 1, 7 x 1, 6 x 1, 5 x 1, 4 x 1, 3 x 1, 2 x 1, 1 x 1,
            6 x 4, 5 x 4, 4 x 4, 3 x 4, 2 x 4, 1 x 4
        );
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn wide<const R: usize, const P: usize>(tile: &Tile) {
        let Tile { groups, a, a_row, b, b_panel, c, c_row, accumulate, start, .. } = *tile;
        let (from, row) = if accumulate { (c.cast_const(), c_row) } else { (start, 0) };
        // SAFETY: the caller promised all elements of the tile.
        unsafe {
            let mut sums: [[__m512i; P]; R] = [[_mm512_setzero_si512(); P]; R];
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_loadu_si512(from.add(i * row + j * 16).cast());
                }
            }
            for group in 0..groups {
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
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    _mm512_storeu_si512(c.add(i * c_row + j * 16).cast(), sum);
                }
            }
        }
    }

    /// # Safety
    /// As [`super::Kernel::tile`], on a processor with AVX-VNNI.
    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) unsafe fn avx_vnni(tile: &Tile, rows: usize) {
        tiles!(tile, rows, 1, dot: 6 x 1, 5 x 1, 4 x 1, 3 x 1, 2 x 1, 1 x 1);
    }

    #[target_feature(enable = "avx2,avxvnni")]
    unsafe fn dot<const R: usize, const P: usize>(tile: &Tile) {
        // SAFETY: promised by the caller.
        unsafe {
            let mut sums = start::<R>(tile);
            for group in 0..tile.groups {
                let b = tile.b.add(group * 64).cast::<__m256i>();
                let bs = [_mm256_loadu_si256(b), _mm256_loadu_si256(b.add(1))];
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = four(tile, i, group);
                    sums[0] = _mm256_dpbusd_avx_epi32(sums[0], x, bs[0]);
                    sums[1] = _mm256_dpbusd_avx_epi32(sums[1], x, bs[1]);
                }
            }
            store(tile, &sums);
        }
    }

    /// # Safety
    /// As [`super::Kernel::tile`], on a processor with AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(tile: &Tile, rows: usize) {
        match tile.narrow {
            true => tiles!(tile, rows, 1, pairs: 4 x 1, 3 x 1, 2 x 1, 1 x 1),
            false => tiles!(tile, rows, 1, halves: 4 x 1, 3 x 1, 2 x 1, 1 x 1),
        }
    }

    /// Two products a 16-bit sum, which the caller knows to fit.
    #[target_feature(enable = "avx2")]
    unsafe fn pairs<const R: usize, const P: usize>(tile: &Tile) {
        // SAFETY: promised by the caller.
        unsafe {
            let (mut sums, ones) = (start::<R>(tile), _mm256_set1_epi16(1));
            for group in 0..tile.groups {
                let b = tile.b.add(group * 64).cast::<__m256i>();
                let bs = [_mm256_loadu_si256(b), _mm256_loadu_si256(b.add(1))];
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = four(tile, i, group);
                    for (sum, b) in sums.iter_mut().zip(bs) {
                        let two = _mm256_madd_epi16(_mm256_maddubs_epi16(x, b), ones);
                        *sum = _mm256_add_epi32(*sum, two);
                    }
                }
            }
            store(tile, &sums);
        }
    }

    /// Elements widened to 16 bits, even and odd ones apart, so that nothing overflows.
    #[target_feature(enable = "avx2")]
    unsafe fn halves<const R: usize, const P: usize>(tile: &Tile) {
        // SAFETY: promised by the caller.
        unsafe {
            let (mut sums, low) = (start::<R>(tile), _mm256_set1_epi16(0xff));
            for group in 0..tile.groups {
                let b = tile.b.add(group * 64).cast::<__m256i>();
                let bs = [_mm256_loadu_si256(b), _mm256_loadu_si256(b.add(1))];
                let even = bs.map(|b| _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b)));
                let odd = bs.map(|b| _mm256_srai_epi16::<8>(b));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = four(tile, i, group);
                    let (x_even, x_odd) = (_mm256_and_si256(x, low), _mm256_srli_epi16::<8>(x));
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x_even, even[j]));
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x_odd, odd[j]));
                    }
                }
            }
            store(tile, &sums);
        }
    }

    /// Four elements of a row of A, in every lane.
    #[target_feature(enable = "avx2")]
    unsafe fn four(tile: &Tile, row: usize, group: usize) -> __m256i {
        // SAFETY: promised by the caller.
        let four =
            unsafe { tile.a.add(row * tile.a_row + group * 4).cast::<i32>().read_unaligned() };
        _mm256_set1_epi32(four)
    }

    #[target_feature(enable = "avx2")]
    unsafe fn start<const R: usize>(tile: &Tile) -> [[__m256i; 2]; R] {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        let Tile { c, c_row, accumulate, start, .. } = *tile;
        let (from, row) = if accumulate { (c.cast_const(), c_row) } else { (start, 0) };
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: promised by the caller.
            unsafe {
                let from = from.add(i * row).cast::<__m256i>();
                *sums = [_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))];
            }
        }
        sums
    }

    #[target_feature(enable = "avx2")]
    unsafe fn store<const R: usize>(tile: &Tile, sums: &[[__m256i; 2]; R]) {
        for (i, &[low, high]) in sums.iter().enumerate() {
            // SAFETY: promised by the caller.
            unsafe {
                let c = tile.c.add(i * tile.c_row).cast::<__m256i>();
                _mm256_storeu_si256(c, low);
                _mm256_storeu_si256(c.add(1), high);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_of_every_kernel_gives_the_exact_sums() {
        let (groups, a_row, c_row) = (9, 40, 70);
        // The extremes come up often, so that 16 bits would overflow.
        let byte = |i: usize| [255u8, 0, 128, 127, 1, 254, 200][(i * 7919) % 7];
        let a: Vec<u8> = (0..12 * a_row).map(byte).collect();
        for narrow in [false, true] {
            let limit = if narrow { 64 } else { 128 };
            let b: Vec<i8> = (0..4 * groups * 64)
                .map(|i| (i32::from(byte(i / 3) as i8)).clamp(-limit, limit.min(127)) as i8)
                .collect();
            let from: Vec<i32> = (0..64).map(|j| 1000 - 31 * j).collect();
            for kernel in Kernel::all() {
                for rows in 1..=kernel.rows_max() {
                    for panels in [1, 2, 4] {
                        if kernel.next_panels(rows, panels) != panels {
                            continue;
                        }
                        let mut c = vec![7i32; 12 * c_row];
                        let tile = Tile {
                            groups,
                            a: a.as_ptr(),
                            a_row,
                            b: b.as_ptr(),
                            b_panel: groups * 64,
                            c: c.as_mut_ptr(),
                            c_row,
                            accumulate: rows % 2 == 0,
                            start: from.as_ptr(),
                            narrow,
                        };
                        // SAFETY: the vectors above hold all rows and panels.
                        unsafe { kernel.tile(&tile, rows, panels) };
                        for (i, j) in (0..rows).flat_map(|i| (0..panels * 16).map(move |j| (i, j)))
                        {
                            let term = |p: usize| {
                                let at = (j / 16 * groups + p / 4) * 64 + j % 16 * 4 + p % 4;
                                i32::from(a[i * a_row + p]) * i32::from(b[at])
                            };
                            let from = if rows % 2 == 0 { 7 } else { from[j] };
                            let want = from + (0..groups * 4).map(term).sum::<i32>();
                            assert_eq!(c[i * c_row + j], want, "{:?} {rows}x{panels}", kernel.path);
                        }
                        assert!(c[rows * c_row..].iter().all(|&c| c == 7));
                    }
                }
            }
        }
    }
}

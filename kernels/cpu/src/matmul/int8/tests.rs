use super::*;
use crate::activation::{Activation, Finish};
use crate::level::for_each_level;
use crate::pool::KernelPool;
use proptest::prelude::*;

fn number(i: usize) -> f32 {
    ((i * 104_729) % 1999) as f32 / 313.0 - 2.0
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Weights up to `limit`, a zero point and a scale for each column.
struct Layer {
    k: usize,
    n: usize,
    weights: Vec<u8>,
    zeros: Vec<u8>,
    scales: Vec<f32>,
}

impl Layer {
    fn new(k: usize, n: usize, limit: i32) -> Layer {
        let weight = |i: usize| ((i * 7919 % 256) as i32 - 128).clamp(-limit, limit.min(127)) as u8;
        let weights = (0..k * n).map(weight).collect();
        let zeros = if limit < 120 { (0..n).map(|j| (j % 7) as u8).collect() } else { Vec::new() };
        let scales = (0..n).map(|j| (j % 5 + 1) as f32 / 64.0).collect();
        Layer { k, n, weights, zeros, scales }
    }

    fn packed(&self) -> PackedInt8 {
        let Layer { weights, zeros, scales, .. } = self;
        let part = Int8Weights { n: self.n, weights, signed: true, zeros, scales };
        PackedInt8::pack(self.k, &[part]).unwrap()
    }

    fn weight(&self, p: usize, j: usize) -> f64 {
        let zero = self.zeros.get(j).map_or(0.0, |&zero| f64::from(zero as i8));
        (f64::from(self.weights[p * self.n + j] as i8) - zero) * f64::from(self.scales[j])
    }
}

fn run(team: Team<'_>, (x, m): (&[f32], usize), layer: &Layer, epilogue: &Epilogue) -> Vec<f32> {
    let (packed, mut out) = (layer.packed(), vec![7f32; m * layer.n]);
    let c = RowsMut::new(&mut out, m, layer.n, layer.n);
    matmul_int8(team, Rows::new(x, m, layer.k, layer.k), &packed, c, epilogue);
    out
}

/// Compares with the definition in 64 bits, on the bytes that the rows become.
fn check(team: Team<'_>, (m, k, n): (usize, usize, usize), limit: i32) -> Vec<u32> {
    let layer = Layer::new(k, n, limit);
    let x: Vec<f32> = (0..m * k).map(number).collect();
    let bias: Vec<f32> = (0..n).map(number).collect();
    let out = run(team, (&x, m), &layer, &Epilogue { bias: Some(&bias), ..Default::default() });
    let depth = k.next_multiple_of(packing::QUAD);
    let blocks = depth.div_ceil(BLOCK);
    let (mut bytes, mut scaling) = (vec![0; m * depth], vec![[0.0; 2]; m * blocks]);
    quantize_rows(Rows::new(&x, m, k, k), depth, &mut bytes, &mut scaling);
    for (index, &got) in out.iter().enumerate() {
        let (i, j) = (index / n, index % n);
        let (mut want, mut size) = (f64::from(bias[j]), 0f64);
        for p in 0..k {
            let [scale, shift] = scaling[i * blocks + p / BLOCK].map(f64::from);
            let term = (f64::from(bytes[i * depth + p]) * scale - shift) * layer.weight(p, j);
            want += term;
            size += term.abs();
        }
        let allowed = 2e-6 * (size + 1.0);
        assert!((f64::from(got) - want).abs() <= allowed, "[{m}, {k}, {n}] {got} for {want}");
    }
    bits(&out)
}

#[test]
fn products_have_the_same_bits_at_every_level_and_are_those_of_the_bytes() {
    let pool = KernelPool::new(3);
    let shapes =
        [(1, 1, 1), (5, 16, 16), (13, 70, 33), (2, 0, 3), (1, 0, 32), (0, 3, 2), (150, 130, 40)];
    // Wide weights, weights of 7 bits, and some of which many sums fit 16 bits.
    for (shape, limit) in shapes.into_iter().flat_map(|s| [128, 63, 20].map(|limit| (s, limit))) {
        let expected = check(Team::alone(), shape, limit);
        for_each_level(|level| {
            assert_eq!(check(pool.team(3), shape, limit), expected, "{shape:?} {level:?}");
        });
    }
    for_each_level(|_| {
        // Several blocks of k and of rows, split by rows and by panels.
        check(pool.team(3), (300, K_BLOCK + 5, 50), 63);
        check(pool.team(3), (3, 2 * K_BLOCK, 600), 128);
    });
}

#[test]
fn every_tile_of_every_kernel_gives_the_same_bits() {
    // The extremes come up often, so that 16 bits would overflow.
    let byte = |i: usize| [127u8, 0, 127, 126, 1, 127, 100][(i * 7919) % 7];
    let (groups, a_row, c_row, nothing) = (24, 128, 70, std::ptr::null());
    let a: Vec<u8> = (0..12 * a_row).map(byte).collect();
    let scaling: Vec<[f32; 2]> = (0..24).map(|i| [number(i), number(i + 50)]).collect();
    for (limit, span) in
        [(128, packing::Span::One), (64, packing::Span::Two), (32, packing::Span::Four)]
    {
        let b: Vec<i8> = (0..4 * groups * 64)
            .map(|i| {
                [-128, 127, -128, 127, 127, 1, -128][i * 31 % 7].clamp(-limit, limit.min(127)) as i8
            })
            .collect();
        let sums: Vec<f32> = (0..4 * 2 * 16).map(|i| (i * 37 % 1000) as f32 - 500.0).collect();
        let mut expected: Option<Vec<u32>> = None;
        for kernel in Kernel::all() {
            let mut all = Vec::new();
            for (rows, panels) in (1..=12).flat_map(|rows| [1, 2, 4].map(|panels| (rows, panels))) {
                let mut c = vec![0.5f32; 12 * c_row];
                // In as many tiles as this kernel needs.
                let mut row = 0;
                while row < rows {
                    let height = kernel.next_rows(rows - row);
                    let mut panel = 0;
                    while panel < panels {
                        let width = kernel.next_panels(height, panels - panel);
                        let tile = Tile {
                            groups,
                            a: a[row * a_row..].as_ptr(),
                            a_row,
                            scaling: scaling[row * 2..].as_ptr(),
                            scaling_row: 2,
                            b: b[panel * groups * 64..].as_ptr(),
                            b_panel: groups * 64,
                            sums: sums[panel * 32..].as_ptr(),
                            sums_panel: 32,
                            c: c[row * c_row + panel * 16..].as_mut_ptr(),
                            c_row,
                            accumulate: rows % 2 == 0,
                            scales: if rows % 3 == 0 {
                                nothing
                            } else {
                                sums[panel * 16..].as_ptr()
                            },
                            bias: if rows % 3 == 1 {
                                nothing
                            } else {
                                sums[panel * 16 + 5..].as_ptr()
                            },
                            span,
                        };
                        // SAFETY: the vectors above hold all rows and panels.
                        unsafe { kernel.tile(&tile, height, width) };
                        panel += width;
                    }
                    row += height;
                }
                all.extend(bits(&c));
            }
            match &expected {
                None => expected = Some(all),
                Some(expected) => assert!(*expected == all, "{kernel:?} {span:?}"),
            }
        }
    }
}

#[test]
fn a_row_alone_has_the_bits_that_it_has_among_others() {
    let layer = Layer::new(100, 50, 63);
    let x: Vec<f32> = (0..200 * 100).map(number).collect();
    let pool = KernelPool::new(2);
    let residual: Vec<f32> = (0..200 * 50).map(number).collect();
    let finish = Finish { activation: Activation::Gelu, ..Default::default() };
    let all = Rows::new(&residual, 200, 50, 50);
    let epilogue = Epilogue { bias: None, finish, residual: Some(all) };
    let together = run(pool.team(2), (&x, 200), &layer, &epilogue);
    for row in [0, 1, 99, 143, 144, 199] {
        let residual = Some(all.row_range(row..row + 1));
        let epilogue = Epilogue { residual, ..epilogue };
        let alone = run(Team::alone(), (&x[row * 100..][..100], 1), &layer, &epilogue);
        assert_eq!(bits(&alone), bits(&together[row * 50..][..50]), "row {row}");
    }
}

#[test]
fn a_row_that_is_not_finite_gives_nan_and_leaves_the_others_alone() {
    let layer = Layer::new(130, 20, 63);
    let mut x: Vec<f32> = (0..3 * 130).map(number).collect();
    let whole = run(Team::alone(), (&x, 3), &layer, &Epilogue::default());
    x[130 + 129] = f32::NEG_INFINITY;
    let spoiled = run(Team::alone(), (&x, 3), &layer, &Epilogue::default());
    assert!(spoiled[20..40].iter().all(|x| x.is_nan()));
    assert_eq!((&spoiled[..20], &spoiled[40..]), (&whole[..20], &whole[40..]));
}

proptest! {
    #[test]
    fn any_extents(m in 1usize..30, k in 0usize..150, n in 1usize..70, limit in 1i32..129) {
        check(Team::alone(), (m, k, n), limit);
    }
}

use super::*;
use crate::level::for_each_level;
use crate::pool::KernelPool;
use proptest::prelude::*;

fn value(bits: u8, signed: bool) -> i64 {
    if signed { i64::from(bits as i8) } else { i64::from(bits) }
}

fn bytes(count: usize, seed: usize) -> Vec<u8> {
    (0..count).map(|i| ((i + seed) * 7919 % 256) as u8).collect()
}

/// Compares with the definition in 64 bits, for every mixture of signs and kinds of zero points.
fn check(team: Team<'_>, m: usize, k: usize, n: usize, kinds: usize) {
    let (a, b) = (bytes(m * k, 1), bytes(k * n, 5));
    let (a_signed, b_signed) = (kinds & 1 != 0, kinds & 2 != 0);
    let (left, right): (Vec<i32>, Vec<i32>) =
        ((0..m as i32).map(|i| i % 5 - 2).collect(), (0..n as i32).map(|j| 120 + j % 9).collect());
    let zeros = [
        if kinds & 4 != 0 { ZeroPoints::Each(&left) } else { ZeroPoints::One(kinds as i32) },
        if kinds & 8 != 0 { ZeroPoints::Each(&right) } else { ZeroPoints::One(128) },
    ];
    let packed = PackedIntegers::pack(k, n, &b, b_signed);
    let mut out = vec![-1; m * n];
    let rows = IntegerRows { data: &a, rows: m, k, signed: a_signed };
    matmul_integer(team, rows, &packed, zeros, &mut out);
    for (index, &got) in out.iter().enumerate() {
        let (i, j) = (index / n, index % n);
        let term = |p: usize| {
            let x = value(a[i * k + p], a_signed) - i64::from(zeros[0].at(i));
            x * (value(b[p * n + j], b_signed) - i64::from(zeros[1].at(j)))
        };
        let want: i64 = (0..k).map(term).sum();
        assert_eq!(got, want as i32, "[{m}, {k}, {n}] kinds {kinds} at {i}, {j}");
    }
    let scales: Vec<f32> = (0..n).map(|j| (j + 1) as f32 * 0.37).collect();
    for scale in [ProductScale::One(0.11), ProductScale::Each(&scales)] {
        let mut scaled = vec![f32::NAN; m * n];
        matmul_integer_scaled(team, rows, &packed, zeros, scale, &mut scaled);
        for (index, (got, &sum)) in scaled.iter().zip(&out).enumerate() {
            let scale = match scale {
                ProductScale::One(scale) => scale,
                ProductScale::Each(all) => all[index % n],
            };
            assert_eq!(*got, sum as f32 * scale, "[{m}, {k}, {n}] kinds {kinds} at {index}");
        }
    }
}

#[test]
fn products_are_exact_at_every_level_with_any_zero_points() {
    let pool = KernelPool::new(3);
    let shapes = [(1, 1, 1), (5, 4, 16), (13, 7, 33), (2, 0, 3), (0, 3, 2), (150, 19, 40)];
    for_each_level(|_| {
        for ((m, k, n), kinds) in shapes.into_iter().flat_map(|s| (0..16).map(move |i| (s, i))) {
            check(pool.team(3), m, k, n, kinds);
        }
        // Several blocks of k and of rows, split by rows and by panels.
        check(pool.team(3), 300, K_BLOCK + 5, 50, 5);
        check(pool.team(3), 3, 2 * K_BLOCK, 600, 10);
    });
}

proptest! {
    #[test]
    fn any_extents(m in 1usize..30, k in 0usize..70, n in 1usize..70, kinds in 0usize..16) {
        check(Team::alone(), m, k, n, kinds);
    }
}

use super::*;
use crate::level::for_each_level;
use crate::pool::KernelPool;

fn numbers(count: usize) -> Vec<f64> {
    (0..count).map(|i| f64::from(((i * 7919) % 401) as u32) / 200.0 - 1.0).collect()
}

/// By the definition, in f64.
fn reference(lanes: Lanes, inverse: bool, x: &[f64]) -> Vec<f64> {
    let Lanes { outer, n, inner } = lanes;
    let mut out = vec![0.0; x.len()];
    for (o, k, i) in
        (0..outer).flat_map(|o| (0..n).flat_map(move |k| (0..inner).map(move |i| (o, k, i))))
    {
        let at = |k: usize| 2 * ((o * n + k) * inner + i);
        let (mut real, mut imaginary) = (0.0, 0.0);
        for j in 0..n {
            let turns = (j * k % n) as f64 / n as f64 * if inverse { 1.0 } else { -1.0 };
            let (sine, cosine) = (std::f64::consts::TAU * turns).sin_cos();
            let (a, b) = (x[at(j)], x[at(j) + 1]);
            real += a * cosine - b * sine;
            imaginary += a * sine + b * cosine;
        }
        let scale = if inverse { 1.0 / n as f64 } else { 1.0 };
        (out[at(k)], out[at(k) + 1]) = (real * scale, imaginary * scale);
    }
    out
}

fn check<T: Float + Into<f64>>(team: Team<'_>, lanes: Lanes, inverse: bool, tolerance: f64) {
    let x = numbers(2 * lanes.elements());
    let own: Vec<T> = x.iter().map(|&x| T::from_f64(x)).collect();
    let mut got = vec![T::from_f64(9.0); own.len()];
    fourier_transform(team, &Fourier::new(lanes.n), lanes, inverse, (&own, &mut got));
    let size = (lanes.n as f64).sqrt();
    for (index, (got, want)) in got.iter().zip(reference(lanes, inverse, &x)).enumerate() {
        let error = ((*got).into() - want).abs();
        let size = if inverse { 1.0 } else { size };
        assert!(error <= tolerance * size, "{lanes:?} {inverse} at {index}: {error}");
    }
}

#[test]
fn every_length_up_to_100_and_some_beyond_follow_the_definition() {
    let pool = KernelPool::new(2);
    for n in (0..=100).chain([128, 143, 251, 256, 400, 509, 512]) {
        for inverse in [false, true] {
            let lanes = Lanes { outer: 2, n, inner: 1 };
            check::<f32>(pool.team(2), lanes, inverse, 3e-6);
            check::<f64>(pool.team(2), lanes, inverse, 1e-13);
        }
    }
}

#[test]
fn every_axis_is_transformed() {
    let pool = KernelPool::new(3);
    for (outer, n, inner) in
        [(1, 12, 1), (40, 12, 1), (3, 7, 5), (1, 30, 40), (2, 17, 33), (0, 4, 3)]
    {
        let lanes = Lanes { outer, n, inner };
        check::<f32>(pool.team(3), lanes, false, 3e-6);
        check::<f64>(pool.team(3), lanes, true, 1e-13);
    }
}

#[test]
fn a_transform_has_the_same_bits_alone_and_among_others_and_at_every_level() {
    let pool = KernelPool::new(3);
    for n in [60, 77, 97, 512] {
        let fourier = Fourier::<f32>::new(n);
        let x: Vec<f32> = numbers(2 * n * 37).into_iter().map(|x| x as f32).collect();
        let mut first: Option<Vec<u32>> = None;
        for_each_level(|level| {
            let mut all = vec![0f32; x.len()];
            let lanes = Lanes { outer: 37, n, inner: 1 };
            fourier_transform(pool.team(3), &fourier, lanes, false, (&x, &mut all));
            let bits: Vec<u32> = all.iter().map(|x| x.to_bits()).collect();
            assert_eq!(*first.get_or_insert_with(|| bits.clone()), bits, "{n} {level:?}");
            let mut alone = vec![0f32; 2 * n];
            let (own, lanes) = (36 * 2 * n, Lanes { outer: 1, n, inner: 1 });
            let one = (&x[own..], &mut alone[..]);
            fourier_transform(Team::alone(), &fourier, lanes, false, one);
            assert_eq!(alone, all[own..]);
        });
    }
}

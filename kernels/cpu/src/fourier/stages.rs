//! Transforms in stages of small factors (Stockham's algorithm).

use super::Float;
use crate::level::leveled;

/// The factors that stages are made of, the fastest first.
const FACTORS: [usize; 7] = [4, 2, 3, 5, 7, 11, 13];

/// A length as a product of small factors.
pub(super) struct Stages<T> {
    n: usize,
    stages: Vec<Stage<T>>,
}

struct Stage<T> {
    factor: usize,
    /// Length that is left behind the stage.
    rest: usize,
    /// `e^(-2 π i p j / (factor rest))` for `p < rest` and `1 <= j < factor`, real and imaginary.
    twiddles: Vec<[T; 2]>,
    /// `e^(-2 π i j / factor)` for `j < factor`.
    roots: Vec<[T; 2]>,
}

fn root<T: Float>(numerator: usize, denominator: usize) -> [T; 2] {
    let turns = (numerator % denominator) as f64 / denominator as f64;
    let angle = -std::f64::consts::TAU * turns;
    [T::from_f64(angle.cos()), T::from_f64(angle.sin())]
}

impl<T: Float> Stages<T> {
    /// The stages of a length, if its prime factors are small.
    pub(super) fn new(n: usize) -> Option<Stages<T>> {
        let (mut rest, mut stages) = (n.max(1), Vec::new());
        for factor in FACTORS {
            while rest.is_multiple_of(factor) {
                stages.push((factor, rest / factor));
                rest /= factor;
            }
        }
        (rest == 1).then(|| Stages::of(n, &stages))
    }

    /// The stages of a power of two.
    pub(super) fn powers_of_two(n: usize) -> Stages<T> {
        let (mut rest, mut stages) = (n, Vec::new());
        while rest > 1 {
            let factor = if rest.is_multiple_of(4) { 4 } else { 2 };
            rest /= factor;
            stages.push((factor, rest));
        }
        Stages::of(n, &stages)
    }

    fn of(n: usize, stages: &[(usize, usize)]) -> Stages<T> {
        let stage = |&(factor, rest): &(usize, usize)| {
            let each = (0..rest).flat_map(|p| (1..factor).map(move |j| p * j));
            Stage {
                factor,
                rest,
                twiddles: each.map(|power| root(power, factor * rest)).collect(),
                roots: (0..factor).map(|j| root(j, factor)).collect(),
            }
        };
        Stages { n, stages: stages.iter().map(stage).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.n
    }

    pub(super) fn bytes(&self) -> usize {
        let numbers = |stage: &Stage<T>| stage.twiddles.len() + stage.roots.len();
        self.stages.iter().map(numbers).sum::<usize>() * size_of::<[T; 2]>()
    }

    /// Transforms `width` columns side by side, `[n, width]`, with as much memory to work in.
    pub(super) fn run(&self, width: usize, parts: &mut [Vec<T>; 2], spare: &mut [Vec<T>; 2]) {
        let mut stride = width;
        for stage in &self.stages {
            let ([a, b], [c, d]) = (&*parts, &mut *spare);
            stage.run(stride, [a, b], [c, d]);
            std::mem::swap(parts, spare);
            stride *= stage.factor;
        }
    }
}

impl<T: Float> Stage<T> {
    /// `y[p, j, :] = w^(p j) Σ_i x[i, p, :] e^(-2 π i i j / factor)`: `x` is `[factor, rest, stride]`,
    /// `y` is `[rest, factor, stride]`.
    fn run(&self, stride: usize, x: [&[T]; 2], y: [&mut [T]; 2]) {
        let Stage { factor, rest, .. } = *self;
        let [y_real, y_imaginary] = y;
        let block = factor * stride;
        let outs = y_real.chunks_exact_mut(block).zip(y_imaginary.chunks_exact_mut(block));
        for (p, (a, b)) in outs.enumerate().take(rest) {
            let twiddles = &self.twiddles[p * (factor - 1)..][..factor - 1];
            let from = Columns { x, first: p * stride, step: rest * stride, stride };
            match factor {
                2 => two(from, twiddles, a, b),
                3 => three(from, twiddles, a, b),
                4 => four(from, twiddles, a, b),
                _ => any(from, &self.roots, twiddles, (a, b)),
            }
        }
    }
}

/// Rows of `stride` numbers, `step` apart.
#[derive(Clone, Copy)]
struct Columns<'a, T> {
    x: [&'a [T]; 2],
    first: usize,
    step: usize,
    stride: usize,
}

impl<'a, T: Copy> Columns<'a, T> {
    #[inline(always)]
    fn row(&self, index: usize) -> [&'a [T]; 2] {
        self.x.map(|part| &part[self.first + index * self.step..][..self.stride])
    }
}

#[inline(always)]
fn times<T: Float>([a, b]: [T; 2], [c, d]: [T; 2]) -> [T; 2] {
    [a * c - b * d, a * d + b * c]
}

#[inline(always)]
fn plus<T: Float>(x: [T; 2], y: [T; 2]) -> [T; 2] {
    [x[0] + y[0], x[1] + y[1]]
}

#[inline(always)]
fn minus<T: Float>(x: [T; 2], y: [T; 2]) -> [T; 2] {
    [x[0] - y[0], x[1] - y[1]]
}

/// Cuts both parts of an output into rows.
#[inline(always)]
fn rows<T, const N: usize>(y: &mut [T], stride: usize) -> [&mut [T]; N] {
    let mut rest = y;
    std::array::from_fn(|_| {
        let (own, after) = std::mem::take(&mut rest).split_at_mut(stride);
        rest = after;
        own
    })
}

leveled! {
    fn two<T: Float>(from: Columns<'_, T>, w: &[[T; 2]], a: &mut [T], b: &mut [T])
        = two_body(from, w, a, b);
}

leveled! {
    fn three<T: Float>(from: Columns<'_, T>, w: &[[T; 2]], a: &mut [T], b: &mut [T])
        = three_body(from, w, a, b);
}

leveled! {
    fn four<T: Float>(from: Columns<'_, T>, w: &[[T; 2]], a: &mut [T], b: &mut [T])
        = four_body(from, w, a, b);
}

leveled! {
    fn any<T: Float>(
        from: Columns<'_, T>,
        roots: &[[T; 2]],
        w: &[[T; 2]],
        out: (&mut [T], &mut [T]),
    )
        = any_body(from, roots, w, out);
}

#[inline(always)]
fn two_body<T: Float>(from: Columns<'_, T>, w: &[[T; 2]], a: &mut [T], b: &mut [T]) {
    let ([x0, y0], [x1, y1]) = (from.row(0), from.row(1));
    let ([a0, a1], [b0, b1]) = (rows(a, from.stride), rows(b, from.stride));
    for q in 0..from.stride {
        let (u, v) = ([x0[q], y0[q]], [x1[q], y1[q]]);
        [a0[q], b0[q]] = plus(u, v);
        [a1[q], b1[q]] = times(minus(u, v), w[0]);
    }
}

#[inline(always)]
fn three_body<T: Float>(from: Columns<'_, T>, w: &[[T; 2]], a: &mut [T], b: &mut [T]) {
    let half = T::from_f64(-0.5);
    let sine = T::from_f64(-0.866_025_403_784_438_6);
    let ([x0, y0], [x1, y1], [x2, y2]) = (from.row(0), from.row(1), from.row(2));
    let ([a0, a1, a2], [b0, b1, b2]) = (rows(a, from.stride), rows(b, from.stride));
    for q in 0..from.stride {
        let (u, v, t) = ([x0[q], y0[q]], [x1[q], y1[q]], [x2[q], y2[q]]);
        let (sum, difference) = (plus(v, t), minus(v, t));
        [a0[q], b0[q]] = plus(u, sum);
        let middle = [u[0] + half * sum[0], u[1] + half * sum[1]];
        // The difference turned by a quarter.
        let turned = [-(sine * difference[1]), sine * difference[0]];
        [a1[q], b1[q]] = times(plus(middle, turned), w[0]);
        [a2[q], b2[q]] = times(minus(middle, turned), w[1]);
    }
}

#[inline(always)]
fn four_body<T: Float>(from: Columns<'_, T>, w: &[[T; 2]], a: &mut [T], b: &mut [T]) {
    let ([x0, y0], [x1, y1]) = (from.row(0), from.row(1));
    let ([x2, y2], [x3, y3]) = (from.row(2), from.row(3));
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (rows(a, from.stride), rows(b, from.stride));
    for q in 0..from.stride {
        let (u, v) = ([x0[q], y0[q]], [x1[q], y1[q]]);
        let (t, z) = ([x2[q], y2[q]], [x3[q], y3[q]]);
        let (even, even_rest) = (plus(u, t), minus(u, t));
        let (odd, odd_rest) = (plus(v, z), minus(v, z));
        // The rest turned by minus a quarter.
        let turned = [odd_rest[1], -odd_rest[0]];
        [a0[q], b0[q]] = plus(even, odd);
        [a1[q], b1[q]] = times(plus(even_rest, turned), w[0]);
        [a2[q], b2[q]] = times(minus(even, odd), w[1]);
        [a3[q], b3[q]] = times(minus(even_rest, turned), w[2]);
    }
}

/// Any factor, by the definition.
#[inline(always)]
fn any_body<T: Float>(
    from: Columns<'_, T>,
    roots: &[[T; 2]],
    w: &[[T; 2]],
    out: (&mut [T], &mut [T]),
) {
    let outs = out.0.chunks_exact_mut(from.stride).zip(out.1.chunks_exact_mut(from.stride));
    for (j, (a, b)) in outs.enumerate() {
        let [x, y] = from.row(0);
        a.copy_from_slice(x);
        b.copy_from_slice(y);
        for i in 1..roots.len() {
            let [x, y] = from.row(i);
            let root = roots[i * j % roots.len()];
            for q in 0..from.stride {
                [a[q], b[q]] = plus([a[q], b[q]], times([x[q], y[q]], root));
            }
        }
        if j > 0 {
            for q in 0..from.stride {
                [a[q], b[q]] = times([a[q], b[q]], w[j - 1]);
            }
        }
    }
}

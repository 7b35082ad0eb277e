//! Layers whose rows are quantized on the way, against the same numbers in f64.

use crate::reference::{Guarded, Random, close, decode, device, encode};
use aimass_cuda::dynamic_linear::{
    BLOCK, DynamicOperands, DynamicWeights, dynamic_linear, dynamic_scratch, dynamic_weights,
};
use aimass_cuda::matmul::{Activation, Finish};
use aimass_cuda::{Form, Slice};

/// `[m, n, k]`.
const SHAPES: &[[usize; 3]] = &[
    [1, 1, 1],
    [1, 33, 64],
    [5, 7, 63],
    [16, 32, 65],
    [17, 65, 129],
    [70, 64, 200],
    [130, 67, 30],
    [0, 5, 7],
    [3, 0, 7],
    [3, 4, 0],
];

/// What the numbers of a block become: `x ≈ (byte - zero) scale`.
fn quantized(x: &[f64]) -> Vec<f64> {
    let bound = |least: f64, x: &f64| if *x < least { *x } else { least };
    let low = x.iter().fold(0.0, bound) as f32;
    let high = -x.iter().map(|x| -x).fold(0.0, |least, x| bound(least, &x)) as f32;
    let step = 1.0f32 / 127.0;
    let scale = high * step - low * step;
    let steps = if scale >= f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
    let zero = (-low * steps).round_ties_even();
    let byte =
        |x: &f64| ((*x as f32 * steps) + (12_582_912.0 + zero) - 12_582_912.0).clamp(0.0, 127.0);
    let strange = if x.iter().all(|x| x.is_finite()) { 0.0 } else { f64::NAN };
    x.iter().map(|x| f64::from(byte(x) - zero) * f64::from(scale) + strange).collect()
}

struct Layer {
    shape: [usize; 3],
    x: Vec<f64>,
    weights: Vec<i8>,
    scales: Vec<f32>,
    bias: Option<Vec<f64>>,
    residual: Option<Vec<f64>>,
}

impl Layer {
    fn new(shape: [usize; 3], extra: bool) -> Layer {
        let [m, n, k] = shape;
        let mut random = Random::new((m * 31 + n * 7 + k) as u64);
        // Rows of quite different ranges.
        let x = random.floats(Form::F32, m * k);
        let x = x.iter().enumerate().map(|(i, x)| x * [1.0, 64.0, 0.0, 1e-3][i / k.max(1) % 4]);
        Layer {
            shape,
            x: x.collect(),
            weights: (0..n * k).map(|_| (random.bits() >> 30) as i8).collect(),
            scales: (0..n).map(|_| (random.float() / 64.0) as f32).collect(),
            bias: extra.then(|| random.floats(Form::F32, n)),
            residual: extra.then(|| random.floats(Form::F32, m * n)),
        }
    }

    fn expected(&self) -> Vec<f64> {
        let [m, n, k] = self.shape;
        let rows: Vec<f64> =
            self.x.chunks(k.max(1)).flat_map(|row| row.chunks(BLOCK)).flat_map(quantized).collect();
        let at = |at: usize| {
            let (row, column) = (at / n, at % n);
            let sum: f64 =
                (0..k).map(|p| rows[row * k + p] * f64::from(self.weights[column * k + p])).sum();
            let y = sum * f64::from(self.scales[column]);
            let y = y + self.bias.as_ref().map_or(0.0, |bias| bias[column]);
            match &self.residual {
                Some(residual) => y.max(0.0) + residual[at],
                None => y,
            }
        };
        (0..m * n).map(at).collect()
    }

    fn found(&self) -> Vec<f64> {
        let [m, n, k] = self.shape;
        let upload = |x: &[f64]| Guarded::new(&encode(Form::F32, x));
        let x = upload(&self.x);
        let weights = Guarded::new(&dynamic_weights(n, k, &self.weights, &self.scales));
        let (bias, residual) =
            (self.bias.as_deref().map(upload), self.residual.as_deref().map(upload));
        let optional = |memory: &'_ Option<Guarded>| {
            memory.as_ref().map_or(0, |memory| memory.slice().bytes())
        };
        assert_eq!(optional(&bias), if self.bias.is_some() { n * 4 } else { 0 });
        let scratch = Guarded::poisoned(dynamic_scratch(m as u32, k as u32));
        let y = Guarded::poisoned(m * n * 4);
        let operands = DynamicOperands {
            x: x.slice(),
            bias: bias.as_ref().map_or_else(Slice::none, |bias| bias.slice()),
            residual: residual.as_ref().map_or_else(Slice::none, |residual| residual.slice()),
            y: y.slice(),
            scratch: scratch.slice(),
        };
        let mut finish = Finish::default();
        if self.residual.is_some() {
            finish.activation = Activation::Relu;
        }
        let mut queue = device().queue().expect("a turn");
        let weights = DynamicWeights { n: n as u32, k: k as u32, data: weights.slice() };
        dynamic_linear(&mut queue, m as u32, &weights, &operands, finish).expect("launches");
        scratch.content(&mut queue);
        decode(Form::F32, &y.content(&mut queue))
    }
}

fn check(shape: [usize; 3], extra: bool) {
    let layer = Layer::new(shape, extra);
    // Zero points are subtracted in f32 from sums of numbers up to 128, which leaves little of them.
    close(&format!("{shape:?} {extra}"), &layer.found(), &layer.expected(), 5e-4);
}

pub(crate) fn draw_dynamic_linear(random: &mut Random) {
    let [m, n, k] = [20, 70, 200].map(|most| 1 + random.below(most));
    check([m, n, k], random.below(2) == 0);
}

#[test]
fn layers_are_products_of_what_their_rows_become() {
    for &shape in SHAPES {
        for extra in [false, true] {
            check(shape, extra);
        }
    }
}

#[test]
fn what_is_not_finite_spoils_its_row_alone() {
    for strange in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut layer = Layer::new([3, 5, 130], false);
        layer.x[130 + 70] = strange;
        let found = layer.found();
        assert!(found[5..10].iter().all(|y| y.is_nan()), "{strange}: {found:?}");
        assert!(found[..5].iter().chain(&found[10..]).all(|y| y.is_finite()), "{strange}");
    }
}

#[test]
fn too_short_operands_are_refused() {
    let [m, n, k] = [2, 3, 70];
    let bytes = [2 * 70 * 4, 3 * 128 + 12 + 24, 12, 24, 24, dynamic_scratch(2, 70)];
    let places = bytes.map(Guarded::poisoned);
    let mut queue = device().queue().expect("a turn");
    for short in 0..=bytes.len() {
        let slice = |place: usize| {
            let less = if short == place { 4 } else { 0 };
            places[place].slice().part(0, bytes[place] - less).expect("a part")
        };
        let weights = DynamicWeights { n, k, data: slice(1) };
        let operands = DynamicOperands {
            x: slice(0),
            bias: slice(2),
            residual: slice(3),
            y: slice(4),
            scratch: slice(5),
        };
        let done = dynamic_linear(&mut queue, m, &weights, &operands, Finish::default());
        assert_eq!(done.is_ok(), short == bytes.len(), "{short}");
    }
}

//! Linear layers with weights of 4 and 8 bits.

use crate::product::{Held, Lie};
use crate::reference::{Guarded, Random, close, encode, epsilon, outcome, rounded};
use aimass_cuda::Form;
use aimass_cuda::matmul::{Finish, Matrix, ProductEnd};
use aimass_cuda::quantized::{QuantizedWeights, WeightBits, quantized_linear};

/// `[m, n, k, group]`.
const SHAPES: &[[usize; 4]] = &[
    [1, 1, 1, 1],
    [1, 33, 64, 32],
    [1, 7, 4096, 128],
    [1, 40, 96, 1000],
    [3, 70, 256, 16],
    [8, 129, 1024, 64],
    [2, 17, 35, 7],
    [9, 30, 33, 32],
    [40, 65, 128, 32],
    [130, 140, 64, 64],
];

struct Stored {
    bits: WeightBits,
    signed: bool,
}

impl Stored {
    fn bytes(&self, values: &[u8]) -> Vec<u8> {
        match self.bits {
            WeightBits::Eight => values.to_vec(),
            WeightBits::Four => {
                let pair = |pair: &[u8]| pair[0] & 15 | pair.get(1).map_or(0, |x| (x & 15) << 4);
                values.chunks(2).map(pair).collect()
            }
        }
    }

    fn number(&self, value: u8) -> f64 {
        match (self.bits, self.signed) {
            (WeightBits::Eight, false) => value.into(),
            (WeightBits::Eight, true) => (value as i8).into(),
            (WeightBits::Four, false) => (value & 15).into(),
            (WeightBits::Four, true) => (((value << 4) as i8) >> 4).into(),
        }
    }

    fn absent_zero(&self) -> f64 {
        match (self.bits, self.signed) {
            (_, true) => 0.0,
            (WeightBits::Eight, false) => 128.0,
            (WeightBits::Four, false) => 8.0,
        }
    }
}

fn check([m, n, k, group]: [usize; 4], form: Form, stored: &Stored, zeros: bool) {
    let groups = k.div_ceil(group);
    let mut random = Random::new((m * 3 + n * 5 + k) as u64);
    let x = Held::new(&mut random, form, [1, m, k], Lie::Dense);
    let values: Vec<u8> = (0..n * k).map(|_| random.bits() as u8).collect();
    let points: Vec<u8> = (0..n * groups).map(|_| random.bits() as u8).collect();
    let scale = |_| rounded(form, (random.float() + 3.0) / 256.0);
    let scales: Vec<f64> = (0..n * groups).map(scale).collect();
    let bias = random.floats(form, n);
    let memories = [stored.bytes(&values), stored.bytes(&points)].map(|bytes| Guarded::new(&bytes));
    let scale_memory = Guarded::new(&encode(form, &scales));
    let bias_memory = Guarded::new(&encode(form, &bias));
    let weights = QuantizedWeights {
        n: n as u32,
        k: k as u32,
        group: group as u32,
        bits: stored.bits,
        signed: stored.signed,
        weights: memories[0].slice(),
        scales: scale_memory.slice(),
        scale_form: form,
        zeros: zeros.then(|| memories[1].slice()),
    };
    let found = outcome(form, m * n, |queue, out| {
        let y = Matrix::dense(out, form, m as u32, n as u32);
        let end = ProductEnd {
            bias: Some(bias_memory.slice()),
            residual: None,
            finish: Finish::default(),
        };
        quantized_linear(queue, &weights, m as u32, [&x.matrix(), &y], &end)
    });
    let weight = |row: usize, column: usize| {
        let own = row * groups + column / group;
        let zero = if zeros { stored.number(points[own]) } else { stored.absent_zero() };
        (stored.number(values[row * k + column]) - zero) * scales[own]
    };
    let mut expected = Vec::new();
    for row in 0..m {
        for (column, bias) in bias.iter().enumerate() {
            let sum: f64 = (0..k).map(|i| x.at(0, row, i) * weight(column, i)).sum();
            expected.push(sum + bias);
        }
    }
    // For more than eight rows, or weights that are not read whole, those of up to 5 are rounded to the
    // type.
    let whole = k.is_multiple_of(32) && (group.is_multiple_of(32) || group >= k);
    let weights = if m > 8 || !whole { 4.0 } else { 1.0 };
    let tolerance = epsilon(form) * weights * (k as f64).sqrt().max(2.0) + 4e-6 * (k as f64).sqrt();
    close(&format!("{m} {n} {k} {group} {form:?} {zeros}"), &found, &expected, tolerance);
}

pub(crate) fn draw_quantized_linear(random: &mut Random) {
    let (n, k) = (1 + random.below(150), 1 + random.below(300));
    let shape = [1 + random.below(20), n, k, random.of(&[1, 7, 16, 32, 64, 128, 1000])];
    let stored = Stored {
        bits: random.of(&[WeightBits::Four, WeightBits::Eight]),
        signed: random.below(2) == 0,
    };
    let form = random.of(&[Form::F32, Form::F16, Form::Bf16]);
    check(shape, form, &stored, random.below(2) == 0);
}

#[test]
fn weights_of_four_and_eight_bits_are_multiplied() {
    for form in [Form::F32, Form::F16, Form::Bf16] {
        for &shape in SHAPES {
            for bits in [WeightBits::Four, WeightBits::Eight] {
                for (signed, zeros) in [(true, false), (false, false), (true, true), (false, true)]
                {
                    check(shape, form, &Stored { bits, signed }, zeros);
                }
            }
        }
    }
}

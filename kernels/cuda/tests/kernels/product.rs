//! Products in f64, and operands that lie in every way.

use crate::reference::{Guarded, Random, encode};
use aimass_cuda::Form;
use aimass_cuda::matmul::{Activation, Finish, Matrix, ProductDims};

/// How matrices lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Rows one by one.
    Dense,
    /// Columns one by one.
    Transposed,
    /// Rows with three elements between them, from the second element of the memory on.
    Ragged,
    /// Every second element of rows.
    Spread,
    /// One matrix for all products.
    Shared,
}

pub(crate) const LIES: [Lie; 5] =
    [Lie::Dense, Lie::Transposed, Lie::Ragged, Lie::Spread, Lie::Shared];

/// Matrices on the device with what they hold.
pub(crate) struct Held {
    memory: Guarded,
    form: Form,
    start: usize,
    /// From one matrix, row, column to the next.
    pub(crate) strides: [usize; 3],
    pub(crate) content: Vec<f64>,
}

impl Held {
    pub(crate) fn new(
        random: &mut Random,
        form: Form,
        [batch, rows, columns]: [usize; 3],
        lie: Lie,
    ) -> Held {
        let (start, strides) = match lie {
            Lie::Dense => (0, [rows * columns, columns, 1]),
            Lie::Transposed => (0, [rows * columns, 1, rows]),
            Lie::Ragged => (1, [rows * (columns + 3), columns + 3, 1]),
            Lie::Spread => (0, [2 * rows * columns, 2 * columns, 2]),
            Lie::Shared => (0, [0, columns, 1]),
        };
        let reach = |count: usize, stride: usize| count.saturating_sub(1) * stride;
        let empty = batch * rows * columns == 0;
        let last = reach(batch, strides[0]) + reach(rows, strides[1]) + reach(columns, strides[2]);
        let content = random.floats(form, if empty { start } else { start + last + 1 });
        Held { memory: Guarded::new(&encode(form, &content)), form, start, strides, content }
    }

    pub(crate) fn matrix(&self) -> Matrix<'_> {
        let skipped = self.start * self.form.bytes();
        let slice = self.memory.slice();
        let [batch_stride, row_stride, column_stride] = self.strides;
        Matrix {
            data: slice.part(skipped, slice.bytes() - skipped).expect("a part"),
            form: self.form,
            batch_stride: batch_stride as u64,
            row_stride: row_stride as u32,
            column_stride: column_stride as u32,
        }
    }

    pub(crate) fn at(&self, batch: usize, row: usize, column: usize) -> f64 {
        let [b, r, c] = self.strides;
        self.content[self.start + batch * b + row * r + column * c]
    }
}

/// `finish(a b + bias, residual)`, dense.
pub(crate) fn product(
    dims: ProductDims,
    [a, b]: [&Held; 2],
    bias: Option<&[f64]>,
    residual: Option<&Held>,
    finish: &Finish,
) -> Vec<f64> {
    let [batches, m, n, k] = [dims.batch, dims.m, dims.n, dims.k].map(|extent| extent as usize);
    let mut all = Vec::with_capacity(batches * m * n);
    for batch in 0..batches {
        for row in 0..m {
            for column in 0..n {
                let term = |i: usize| a.at(batch, row, i) * b.at(batch, i, column);
                let sum: f64 = (0..k).map(term).sum();
                let x = function(finish.activation, sum + bias.map_or(0.0, |bias| bias[column]));
                let x = finish.scaled.map_or(x, |(f, s)| x * f64::from(f) + f64::from(s));
                let x = x + residual.map_or(0.0, |residual| residual.at(batch, row, column));
                all.push(function(finish.last, x));
            }
        }
    }
    all
}

fn function(activation: Activation, x: f64) -> f64 {
    let unit = |x: f64| if x.is_nan() { x } else { x.clamp(0.0, 1.0) };
    match activation {
        Activation::None => x,
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Clamp { low, high } => {
            if x.is_nan() {
                x
            } else {
                x.clamp(low.into(), high.into())
            }
        }
        Activation::LeakyRelu { alpha } => {
            if x < 0.0 {
                x * f64::from(alpha)
            } else {
                x
            }
        }
        Activation::Elu { alpha } => {
            if x < 0.0 {
                x.exp_m1() * f64::from(alpha)
            } else {
                x
            }
        }
        Activation::HardSigmoid { alpha, beta } => unit(x * f64::from(alpha) + f64::from(beta)),
        Activation::HardSwish => x * unit(x / 6.0 + 0.5),
    }
}

/// The error function by its Maclaurin series, which is exact enough below 5; 1 beyond.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for i in 1..200 {
        let i = f64::from(i);
        term *= -x * x / i;
        sum += term / (2.0 * i + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

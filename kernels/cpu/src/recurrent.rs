//! Recurrent layers in f32 (ONNX `LSTM-14`, `GRU-14`, `RNN-14`): the projections of all tokens as one
//! product, then one product and one pass over the gates a token.
//!
//! A row of the batch depends on itself alone.

use crate::level::leveled;
use crate::matmul::{Epilogue, PackedMatrix, matmul_packed};
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::vector_math::{sigmoid, tanh};
use crate::view::{Rows, RowsMut};

/// Numbers of projected tokens that are held at once.
const PROJECTED_MAX: usize = 1 << 20;

/// Which recurrence runs, with `x` and `h` projected by each gate's weights and biases added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recurrence {
    /// Gates i, o, f, c: `C = σ(f) C + σ(i) tanh(c)`, `h = σ(o) tanh(C)`.
    Lstm,
    /// Gates z, r, h: `h = (1 - σ(z)) tanh(..) + σ(z) h`, where the last gate projects `σ(r) h`.
    Gru,
    /// `h = tanh(..)`.
    Tanh,
    /// `h = max(.., 0)`.
    Relu,
}

impl Recurrence {
    /// Gates, which lie one after the other in weights and biases.
    pub fn gates(self) -> usize {
        match self {
            Recurrence::Lstm => 4,
            Recurrence::Gru => 3,
            Recurrence::Tanh | Recurrence::Relu => 1,
        }
    }
}

/// Weights of a recurrent layer as they are stored, row-major.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentWeights<'a> {
    /// Extent of the input.
    pub input: usize,
    /// Extent of the state.
    pub hidden: usize,
    /// Of the input, `[gates * hidden, input]`.
    pub w: &'a [f32],
    /// Of the state, `[gates * hidden, hidden]`.
    pub r: &'a [f32],
    /// Of the input, then of the state, `[2 * gates * hidden]`.
    pub bias: Option<&'a [f32]>,
}

/// Weights of a recurrent layer in the order in which the products read them.
///
/// Clones share the memory.
#[derive(Clone)]
pub struct PackedRecurrent {
    kind: Recurrence,
    hidden: usize,
    input: PackedMatrix,
    /// Of all gates; of a GRU those of z and r.
    state: PackedMatrix,
    /// The last gate of a GRU.
    candidate: Option<PackedMatrix>,
    /// Both biases together, `[gates * hidden]`.
    bias: Vec<f32>,
}

impl PackedRecurrent {
    /// Packs the weights.
    ///
    /// # Panics
    /// If a slice has another size than the extents say.
    pub fn pack(kind: Recurrence, weights: RecurrentWeights<'_>) -> PackedRecurrent {
        let RecurrentWeights { input, hidden, w, r, bias } = weights;
        let columns = kind.gates() * hidden;
        let bias = match bias {
            Some(bias) => {
                assert_eq!(bias.len(), 2 * columns, "elements of the bias");
                let (own, state) = bias.split_at(columns);
                own.iter().zip(state).map(|(a, b)| a + b).collect()
            }
            None => vec![0.0; columns],
        };
        assert_eq!(r.len(), columns * hidden, "weights of the state");
        let (state, candidate) = match kind {
            Recurrence::Gru => {
                let (gates, last) = r.split_at(2 * hidden * hidden);
                let candidate = PackedMatrix::pack_transposed(hidden, hidden, last);
                (PackedMatrix::pack_transposed(hidden, 2 * hidden, gates), Some(candidate))
            }
            Recurrence::Lstm | Recurrence::Tanh | Recurrence::Relu => {
                (PackedMatrix::pack_transposed(hidden, columns, r), None)
            }
        };
        let input = PackedMatrix::pack_transposed(input, columns, w);
        PackedRecurrent { kind, hidden, input, state, candidate, bias }
    }

    /// Bytes of memory that the weights take.
    pub fn bytes(&self) -> usize {
        let candidate = self.candidate.as_ref().map_or(0, PackedMatrix::bytes);
        self.input.bytes() + self.state.bytes() + candidate + size_of_val(&self.bias[..])
    }
}

/// What goes through a recurrent layer.
pub struct RecurrentRun<'a> {
    /// `[tokens, batch, input]`.
    pub x: &'a [f32],
    /// Number of tokens.
    pub tokens: usize,
    /// Rows of a token.
    pub batch: usize,
    /// Takes the last token first.
    pub reverse: bool,
    /// `[batch, hidden]`: the state before the first token, then that after the last.
    pub h: &'a mut [f32],
    /// As `h`: the cell of an LSTM, empty for other kinds.
    pub c: &'a mut [f32],
    /// `[tokens, batch, hidden]`: the state after each token.
    pub out: &'a mut [f32],
}

/// Runs a recurrent layer over all tokens.
///
/// Products are split over the threads where they are large enough. Scratch: the projections of
/// some tokens, at most 4 MiB and at least one token, and the gates of another.
///
/// # Panics
/// If a slice has another size than the extents say.
pub fn recurrent(team: Team<'_>, weights: &PackedRecurrent, run: RecurrentRun<'_>) {
    let RecurrentRun { x, tokens, batch, reverse, h, c, out } = run;
    let (hidden, input, columns) = (weights.hidden, weights.input.k(), weights.input.n());
    let state = batch * hidden;
    assert_eq!((x.len(), out.len()), (tokens * batch * input, tokens * state), "tokens");
    let cell = if weights.kind == Recurrence::Lstm { state } else { 0 };
    assert_eq!((h.len(), c.len()), (state, cell), "elements of the state");
    if out.is_empty() {
        return;
    }
    let row = batch * columns;
    let chunk = (PROJECTED_MAX / row).clamp(1, tokens);
    with_scratch(Slot::Operands, (chunk + 1) * row, |scratch| {
        let (projected, gates) = scratch.split_at_mut(chunk * row);
        let mut done = 0;
        while done < tokens {
            let count = chunk.min(tokens - done);
            let first = if reverse { tokens - done - count } else { done };
            let x = &x[first * batch * input..][..count * batch * input];
            let projected = &mut projected[..count * row];
            let epilogue = Epilogue { bias: Some(&weights.bias), ..Default::default() };
            let rows = Rows::new(x, count * batch, input, input);
            let to = RowsMut::new(projected, count * batch, columns, columns);
            matmul_packed(team, rows, &weights.input, to, &epilogue);
            for step in 0..count {
                let token = if reverse { count - 1 - step } else { step };
                let projected = &projected[token * row..][..row];
                weights.step(team, batch, projected, gates, (h, c));
                out[(first + token) * state..][..state].copy_from_slice(h);
            }
            done += count;
        }
    });
}

impl PackedRecurrent {
    /// One token: `h` and `c` become the next ones.
    fn step(
        &self,
        team: Team<'_>,
        batch: usize,
        projected: &[f32],
        gates: &mut [f32],
        (h, c): (&mut [f32], &mut [f32]),
    ) {
        let (hidden, columns) = (self.hidden, self.input.n());
        let projected = Rows::new(projected, batch, columns, columns);
        let add = |x: &[f32], w: &PackedMatrix, projected: Rows<'_>, to: RowsMut<'_>| {
            let epilogue = Epilogue { residual: Some(projected), ..Default::default() };
            matmul_packed(team, Rows::new(x, batch, hidden, hidden), w, to, &epilogue);
        };
        let Some(candidate) = &self.candidate else {
            add(h, &self.state, projected, RowsMut::new(gates, batch, columns, columns));
            match self.kind {
                Recurrence::Lstm => {
                    let rows = gates.chunks_exact(columns).zip(c.chunks_exact_mut(hidden));
                    for ((gates, c), h) in rows.zip(h.chunks_exact_mut(hidden)) {
                        lstm(gates, c, h);
                    }
                }
                // What a GRU would be without its last gate, which it always has.
                Recurrence::Tanh | Recurrence::Gru => tanh_all(gates, h),
                Recurrence::Relu => {
                    h.iter_mut()
                        .zip(gates)
                        .for_each(|(h, &mut x)| *h = if x < 0.0 { 0.0 } else { x });
                }
            }
            return;
        };
        let (gates, kept) = gates.split_at_mut(2 * batch * hidden);
        let to = RowsMut::new(gates, batch, 2 * hidden, 2 * hidden);
        add(h, &self.state, projected.column_range(0..2 * hidden), to);
        let rows = gates.chunks_exact(2 * hidden).zip(h.chunks_exact(hidden));
        for ((gates, h), kept) in rows.zip(kept.chunks_exact_mut(hidden)) {
            reset(&gates[hidden..], h, kept);
        }
        // The last gate takes the place of r.
        let to = RowsMut::new(gates, batch, 2 * hidden, 2 * hidden);
        let to = to.column_range(hidden..2 * hidden);
        add(kept, candidate, projected.column_range(2 * hidden..3 * hidden), to);
        for (gates, h) in gates.chunks_exact(2 * hidden).zip(h.chunks_exact_mut(hidden)) {
            let (z, last) = gates.split_at(hidden);
            gru(z, last, h);
        }
    }
}

leveled! {
    /// Gates i, o, f, c of one row to the next cell and state.
    fn lstm(gates: &[f32], c: &mut [f32], h: &mut [f32]) = {
        let (i, rest) = gates.split_at(h.len());
        let (o, rest) = rest.split_at(h.len());
        let (f, n) = rest.split_at(h.len());
        for ((((i, o), (f, n)), c), h) in i.iter().zip(o).zip(f.iter().zip(n)).zip(c).zip(h) {
            *c = sigmoid(*f).mul_add(*c, sigmoid(*i) * tanh(*n));
            *h = sigmoid(*o) * tanh(*c);
        }
    };
}

leveled! {
    /// `σ(r) h`.
    fn reset(r: &[f32], h: &[f32], out: &mut [f32]) = {
        for ((r, h), out) in r.iter().zip(h).zip(out) {
            *out = sigmoid(*r) * h;
        }
    };
}

leveled! {
    /// `(1 - σ(z)) tanh(n) + σ(z) h`.
    fn gru(z: &[f32], n: &[f32], h: &mut [f32]) = {
        for ((z, n), h) in z.iter().zip(n).zip(h) {
            let (z, n) = (sigmoid(*z), tanh(*n));
            *h = z.mul_add(*h, (1.0 - z) * n);
        }
    };
}

leveled! {
    fn tanh_all(x: &[f32], out: &mut [f32]) = {
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = tanh(x));
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;
    use crate::pool::KernelPool;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| (((i + 1) * (seed + 7919)) % 401) as f32 / 200.0 - 1.0).collect()
    }

    /// One token of one row by the definition, in f64.
    fn reference(
        kind: Recurrence,
        w: &RecurrentWeights<'_>,
        x: &[f32],
        h: &mut [f64],
        c: &mut [f64],
    ) {
        let hidden = w.hidden;
        let gate = |gate: usize, j: usize, h: &[f64]| {
            let (row, columns) = (gate * hidden + j, kind.gates() * hidden);
            let dot = |w: &[f32], x: &[f64]| -> f64 {
                w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()
            };
            let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            let bias = w.bias.map_or(0.0, |b| f64::from(b[row]) + f64::from(b[columns + row]));
            dot(&w.w[row * w.input..][..w.input], &x)
                + dot(&w.r[row * hidden..][..hidden], h)
                + bias
        };
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let before = h.to_vec();
        for j in 0..hidden {
            let own = |number: usize| gate(number, j, &before);
            h[j] = match kind {
                Recurrence::Lstm => {
                    c[j] = sigmoid(own(2)) * c[j] + sigmoid(own(0)) * own(3).tanh();
                    sigmoid(own(1)) * c[j].tanh()
                }
                Recurrence::Gru => {
                    let kept: Vec<f64> =
                        (0..hidden).map(|i| sigmoid(gate(1, i, &before)) * before[i]).collect();
                    let z = sigmoid(own(0));
                    (1.0 - z) * gate(2, j, &kept).tanh() + z * before[j]
                }
                Recurrence::Tanh => own(0).tanh(),
                Recurrence::Relu => own(0).max(0.0),
            };
        }
    }

    const KINDS: [Recurrence; 4] =
        [Recurrence::Lstm, Recurrence::Gru, Recurrence::Tanh, Recurrence::Relu];

    struct Outcome {
        h: Vec<f32>,
        c: Vec<f32>,
        out: Vec<f32>,
    }

    fn run(
        (kind, reverse, team): (Recurrence, bool, Team<'_>),
        w: RecurrentWeights<'_>,
        (tokens, batch): (usize, usize),
        x: &[f32],
        first: &[f32],
    ) -> Outcome {
        let state = batch * w.hidden;
        let cell = if kind == Recurrence::Lstm { state } else { 0 };
        let (mut h, mut c) = (first[..state].to_vec(), first[state..state + cell].to_vec());
        let mut out = vec![f32::NAN; tokens * state];
        let packed = PackedRecurrent::pack(kind, w);
        let (h_out, c_out) = (&mut h[..], &mut c[..]);
        let run = RecurrentRun { x, tokens, batch, reverse, h: h_out, c: c_out, out: &mut out };
        recurrent(team, &packed, run);
        Outcome { h, c, out }
    }

    #[test]
    fn every_kind_follows_its_equations_both_ways() {
        let pool = KernelPool::new(2);
        let shapes = [(1, 1, 3, 4), (5, 2, 7, 17), (3, 1, 0, 5), (0, 2, 3, 4), (4, 0, 3, 4)];
        for_each_level(|_| {
            for ((tokens, batch, input, hidden), kind) in
                shapes.into_iter().flat_map(|shape| KINDS.map(|kind| (shape, kind)))
            {
                let columns = kind.gates() * hidden;
                let (w, r) = (numbers(columns * input, 1), numbers(columns * hidden, 2));
                let (bias, x) = (numbers(2 * columns, 3), numbers(tokens * batch * input, 4));
                let first = numbers(2 * batch * hidden, 5);
                for (reverse, bias) in [(false, None), (true, Some(&bias[..]))] {
                    let w = RecurrentWeights { input, hidden, w: &w, r: &r, bias };
                    let got = run((kind, reverse, pool.team(2)), w, (tokens, batch), &x, &first);
                    for row in 0..batch {
                        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                        let own = |all: &[f32]| wide(&all[row * hidden..][..hidden]);
                        let (mut h, mut c) = (own(&first), own(&first[batch * hidden..]));
                        let near = |got: &[f32], want: &[f64]| {
                            let pairs = got.iter().zip(want);
                            pairs.for_each(|(&a, b)| assert!((f64::from(a) - b).abs() < 1e-5));
                        };
                        for step in 0..tokens {
                            let token = if reverse { tokens - 1 - step } else { step };
                            let at = token * batch + row;
                            reference(kind, &w, &x[at * input..][..input], &mut h, &mut c);
                            near(&got.out[at * hidden..][..hidden], &h);
                        }
                        near(&got.h[row * hidden..][..hidden], &h);
                        if kind == Recurrence::Lstm {
                            near(&got.c[row * hidden..][..hidden], &c);
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others_and_at_every_level() {
        let (tokens, batch, input, hidden) = (6, 3, 24, 40);
        let pool = KernelPool::new(3);
        for kind in KINDS {
            let columns = kind.gates() * hidden;
            let (w, r) = (numbers(columns * input, 1), numbers(columns * hidden, 2));
            let w = RecurrentWeights { input, hidden, w: &w, r: &r, bias: None };
            let (x, first) = (numbers(tokens * batch * input, 4), numbers(2 * batch * hidden, 5));
            let mut seen: Option<Vec<u32>> = None;
            for_each_level(|level| {
                let all = run((kind, false, pool.team(3)), w, (tokens, batch), &x, &first);
                let bits: Vec<u32> = all.out.iter().map(|x| x.to_bits()).collect();
                assert_eq!(*seen.get_or_insert_with(|| bits.clone()), bits, "{kind:?} {level:?}");
                let own: Vec<f32> = (0..tokens)
                    .flat_map(|token| x[(token * batch + 1) * input..][..input].to_vec())
                    .collect();
                let part = |start: usize| first[start..][..hidden].to_vec();
                let first = [part(hidden), part((batch + 1) * hidden)].concat();
                let alone = run((kind, false, Team::alone()), w, (tokens, 1), &own, &first);
                assert_eq!(alone.out[..hidden], all.out[hidden..2 * hidden]);
                assert_eq!(alone.h[..], all.h[hidden..2 * hidden]);
            });
        }
    }
}

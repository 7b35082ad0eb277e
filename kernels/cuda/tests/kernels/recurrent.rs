//! Recurrent layers, token by token.

use crate::reference::{Guarded, Random, close, decode, device, encode, epsilon};
use aimass_cuda::recurrent::{
    Recurrence, RecurrentOperands, RecurrentShape, TOKENS_MAX, recurrent, recurrent_scratch,
};
use aimass_cuda::{Form, Slice};

const KINDS: [Recurrence; 4] =
    [Recurrence::Lstm, Recurrence::Gru, Recurrence::Tanh, Recurrence::Relu];

/// Numbers of a layer: x, w, r, bias, first h, first c.
struct Numbers {
    x: Vec<f64>,
    w: Vec<f64>,
    r: Vec<f64>,
    bias: Option<Vec<f64>>,
    first: Option<[Vec<f64>; 2]>,
}

/// All states, then the last state and cell, by the definition.
fn expected(shape: &RecurrentShape, own: &Numbers) -> [Vec<f64>; 3] {
    let (tokens, batch) = (shape.tokens as usize, shape.batch as usize);
    let (input, hidden) = (shape.input as usize, shape.hidden as usize);
    let columns = shape.kind.gates() as usize * hidden;
    let zeros = || vec![0.0; batch * hidden];
    let [mut h, mut c] = own.first.clone().unwrap_or_else(|| [zeros(), zeros()]);
    let mut all = vec![0.0; tokens * batch * hidden];
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    for step in 0..tokens {
        let token = if shape.reverse { tokens - 1 - step } else { step };
        for row in 0..batch {
            let x = &own.x[(token * batch + row) * input..][..input];
            let before = h[row * hidden..][..hidden].to_vec();
            let gate = |gate: usize, j: usize, h: &[f64]| {
                let column = gate * hidden + j;
                let dot = |w: &[f64], x: &[f64]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
                let bias =
                    own.bias.as_ref().map_or(0.0, |bias| bias[column] + bias[columns + column]);
                dot(&own.w[column * input..][..input], x)
                    + dot(&own.r[column * hidden..][..hidden], h)
                    + bias
            };
            let kept: Vec<f64> = match shape.kind {
                Recurrence::Gru => {
                    (0..hidden).map(|j| sigmoid(gate(1, j, &before)) * before[j]).collect()
                }
                Recurrence::Lstm | Recurrence::Tanh | Recurrence::Relu => Vec::new(),
            };
            for j in 0..hidden {
                let at = row * hidden + j;
                h[at] = match shape.kind {
                    Recurrence::Lstm => {
                        let of = |number| gate(number, j, &before);
                        c[at] = sigmoid(of(2)) * c[at] + sigmoid(of(0)) * of(3).tanh();
                        sigmoid(of(1)) * c[at].tanh()
                    }
                    Recurrence::Gru => {
                        let z = sigmoid(gate(0, j, &before));
                        (1.0 - z) * gate(2, j, &kept).tanh() + z * before[j]
                    }
                    Recurrence::Tanh => gate(0, j, &before).tanh(),
                    Recurrence::Relu => gate(0, j, &before).max(0.0),
                };
                all[(token * batch + row) * hidden + j] = h[at];
            }
        }
    }
    [all, h, c]
}

fn check(form: Form, shape: &RecurrentShape, with_bias: bool, with_first: bool) {
    let mut random = Random::new(u64::from(shape.hidden));
    let columns = (shape.kind.gates() * shape.hidden) as usize;
    let (rows, state) =
        ((shape.tokens * shape.batch) as usize, (shape.batch * shape.hidden) as usize);
    // Weights of a size at which states neither vanish nor grow.
    let mut small = |n: usize, by: f64| -> Vec<f64> {
        let halves = random.floats(form, n);
        halves.iter().map(|x| crate::reference::rounded(form, x * by)).collect()
    };
    let own = Numbers {
        x: small(rows * shape.input as usize, 1.0),
        w: small(columns * shape.input as usize, 0.25),
        r: small(columns * shape.hidden as usize, 0.0625),
        bias: with_bias.then(|| small(2 * columns, 0.5)),
        first: with_first.then(|| [small(state, 0.5), small(state, 0.5)]),
    };
    let upload = |numbers: &[f64]| Guarded::new(&encode(form, numbers));
    let places = [upload(&own.x), upload(&own.w), upload(&own.r)];
    let bias = own.bias.as_deref().map(upload);
    let first = own.first.as_ref().map(|[h, c]| [upload(h), upload(c)]);
    let results = [rows * shape.hidden as usize, state, state]
        .map(|len| Guarded::poisoned(len * form.bytes()));
    let scratch = Guarded::poisoned(recurrent_scratch(form, shape));
    let optional = |memory: Option<&'_ Guarded>| memory.map(|memory| memory.slice().bytes());
    let lstm = shape.kind == Recurrence::Lstm;
    assert!(optional(bias.as_ref()).is_none_or(|bytes| bytes == 2 * columns * form.bytes()));
    let none = Slice::none();
    let operands = RecurrentOperands {
        x: places[0].slice(),
        w: places[1].slice(),
        r: places[2].slice(),
        bias: match &bias {
            Some(bias) => bias.slice(),
            None => none,
        },
        first: match &first {
            Some([h, c]) => [h.slice(), if lstm { c.slice() } else { none }],
            None => [none; 2],
        },
        out: results[0].slice(),
        last: [results[1].slice(), if lstm { results[2].slice() } else { none }],
        scratch: scratch.slice(),
    };
    let mut queue = device().queue().expect("a turn");
    recurrent(&mut queue, form, shape, &operands).expect("launches");
    scratch.content(&mut queue);
    let expected = expected(shape, &own);
    let names = ["all", "h", "c"];
    for i in 0..if lstm { 3 } else { 2 } {
        let found = decode(form, &results[i].content(&mut queue));
        let what = format!("{} of {shape:?} {form:?}", names[i]);
        close(&what, &found, &expected[i], epsilon(form).max(2e-5));
    }
}

pub(crate) fn draw_recurrent(random: &mut Random) {
    let [tokens, batch, input] = [6, 6, 40].map(|most| random.below(most) as u32);
    let (kind, reverse) = (random.of(&KINDS), random.below(2) == 0);
    let hidden = 1 + random.below(40) as u32;
    let shape = RecurrentShape { kind, reverse, tokens, batch, input, hidden };
    let form = random.of(&[Form::F32, Form::F16, Form::Bf16]);
    check(form, &shape, random.below(2) == 0, random.below(2) == 0);
}

#[test]
fn every_kind_follows_its_equations_both_ways() {
    let extents =
        [(1, 1, 3, 4), (5, 2, 7, 17), (3, 5, 0, 5), (0, 2, 3, 4), (4, 0, 3, 4), (2, 9, 33, 40)];
    for form in [Form::F32, Form::F16, Form::Bf16] {
        for kind in KINDS {
            for (tokens, batch, input, hidden) in extents {
                for extra in [false, true] {
                    let shape =
                        RecurrentShape { kind, reverse: extra, tokens, batch, input, hidden };
                    check(form, &shape, extra, extra);
                }
            }
        }
    }
}

#[test]
fn more_tokens_than_a_run_may_launch_are_refused() {
    let relu = Recurrence::Relu;
    let shape = |tokens| RecurrentShape {
        kind: relu,
        reverse: false,
        tokens,
        batch: 1,
        input: 0,
        hidden: 1,
    };
    check(Form::F32, &shape(TOKENS_MAX), false, false);
    let none = Slice::none();
    let operands = RecurrentOperands {
        x: none,
        w: none,
        r: none,
        bias: none,
        first: [none; 2],
        out: none,
        last: [none; 2],
        scratch: none,
    };
    let mut queue = device().queue().expect("a turn");
    let refused = recurrent(&mut queue, Form::F32, &shape(TOKENS_MAX + 1), &operands).unwrap_err();
    assert!(refused.to_string().contains("16,384 tokens"), "{refused}");
}

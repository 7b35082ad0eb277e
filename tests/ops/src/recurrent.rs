//! Recurrent layers against their equations.

use crate::reference::{Array, Case, check_outputs, flag, refused, text};
use aimass_tensor::{DType, Tensor};

pub(crate) const CASES: &[Case] = &[("recurrent", recurrent)];

const KINDS: [(&str, usize); 4] = [("lstm", 4), ("gru", 3), ("rnn-tanh", 1), ("rnn-relu", 1)];

struct Layer {
    kind: &'static str,
    gates: usize,
    w: Array,
    r: Array,
    bias: Array,
}

impl Layer {
    fn new(kind: &'static str, gates: usize, input: usize, hidden: usize) -> Layer {
        let random = |shape: &[usize], seed| Array::random(shape, seed).map(|x| x / 2.0);
        Layer {
            kind,
            gates,
            w: random(&[gates * hidden, input], 1),
            r: random(&[gates * hidden, hidden], 2),
            bias: random(&[2 * gates * hidden], 3),
        }
    }

    fn hidden(&self) -> usize {
        self.r.shape[1]
    }

    /// The input of gate `gate` for element `j`, from `x` and a state.
    fn gate(&self, gate: usize, j: usize, x: &[f64], h: &[f64]) -> f64 {
        let row = gate * self.hidden() + j;
        let own: f64 = x.iter().enumerate().map(|(p, x)| x * self.w.at(&[row, p])).sum();
        let state: f64 = h.iter().enumerate().map(|(p, h)| h * self.r.at(&[row, p])).sum();
        let both = self.bias.data[row] + self.bias.data[self.gates * self.hidden() + row];
        own + state + both
    }

    fn step(&self, x: &[f64], h: &mut Vec<f64>, c: &mut [f64]) {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let next = |j: usize, c: &mut [f64]| match self.kind {
            "lstm" => {
                let [i, o, f, n] = [0, 1, 2, 3].map(|gate| self.gate(gate, j, x, h));
                c[j] = sigmoid(f) * c[j] + sigmoid(i) * n.tanh();
                sigmoid(o) * c[j].tanh()
            }
            "gru" => {
                let r = |j: usize| sigmoid(self.gate(1, j, x, h));
                let kept: Vec<f64> = h.iter().enumerate().map(|(j, h)| r(j) * h).collect();
                let z = sigmoid(self.gate(0, j, x, h));
                (1.0 - z) * self.gate(2, j, x, &kept).tanh() + z * h[j]
            }
            "rnn-tanh" => self.gate(0, j, x, h).tanh(),
            _ => self.gate(0, j, x, h).max(0.0),
        };
        *h = (0..self.hidden()).map(|j| next(j, c)).collect();
    }

    /// All states, the last one, and the last cell of an LSTM.
    fn expected(&self, x: &Array, initial: &[&Array], reverse: bool) -> Vec<Array> {
        let [tokens, batch, input] = x.shape[..] else { panic!("{:?}", x.shape) };
        let hidden = self.hidden();
        let mut all = Array::new(&[tokens, batch, hidden], vec![0.0; tokens * batch * hidden]);
        let (mut last, mut cell) = (Vec::new(), Vec::new());
        for row in 0..batch {
            let first = |index: usize| match initial.get(index) {
                Some(initial) => initial.data[row * hidden..][..hidden].to_vec(),
                None => vec![0.0; hidden],
            };
            let (mut h, mut c) = (first(0), first(1));
            for step in 0..tokens {
                let token = if reverse { tokens - 1 - step } else { step };
                let at = token * batch + row;
                self.step(&x.data[at * input..][..input], &mut h, &mut c);
                all.data[at * hidden..][..hidden].copy_from_slice(&h);
            }
            last.extend(h);
            cell.extend(c);
        }
        let state = [batch, hidden];
        let mut outputs = vec![all, Array::new(&state, last)];
        if self.kind == "lstm" {
            outputs.push(Array::new(&state, cell));
        }
        outputs
    }
}

fn recurrent() {
    for (tokens, batch, input, hidden) in
        [(1, 1, 1, 1), (5, 2, 7, 17), (3, 1, 0, 5), (0, 2, 3, 4), (4, 0, 3, 4), (2, 2, 3, 0)]
    {
        for (kind, gates) in KINDS {
            let mut layer = Layer::new(kind, gates, input, hidden);
            let x = Array::random(&[tokens, batch, input], 4);
            let (h, c) = (Array::random(&[batch, hidden], 5), Array::random(&[batch, hidden], 6));
            let states = if kind == "lstm" { vec![&h, &c] } else { vec![&h] };
            for reverse in [false, true] {
                let attributes = [text("kind", kind), flag("reverse", reverse)];
                let mut inputs = vec![x.f32(), layer.w.f32(), layer.r.f32(), layer.bias.f32()];
                let expected = layer.expected(&x, &[], reverse);
                check_outputs("recurrent", &inputs, &attributes, &expected, 1e-5);
                inputs.extend(states.iter().map(|state| state.f32()));
                let expected = layer.expected(&x, &states, reverse);
                check_outputs("recurrent", &inputs, &attributes, &expected, 1e-5);
            }
            layer.bias = layer.bias.map(|_| 0.0);
            let mut inputs = vec![x.f32(), layer.w.f32(), layer.r.f32()];
            let expected = layer.expected(&x, &[], false);
            check_outputs("recurrent", &inputs, &[text("kind", kind)], &expected, 1e-5);
            inputs.extend(states.iter().map(|state| state.f32()));
            let attributes = [text("kind", kind), flag("bias", false)];
            let expected = layer.expected(&x, &states, false);
            check_outputs("recurrent", &inputs, &attributes, &expected, 1e-5);
        }
    }
    let random = |shape: &[usize]| Array::random(shape, 1).f32();
    let refuse = |inputs: &[Tensor], code: &str| {
        refused("recurrent", inputs, &[text("kind", "gru"), flag("bias", false)], code);
    };
    let (x, w, r) = (random(&[2, 1, 3]), random(&[12, 3]), random(&[12, 4]));
    let state = random(&[1, 4]);
    refuse(&[x.clone(), w.clone(), random(&[8, 4])], "shape-mismatch");
    refuse(&[x.clone(), random(&[12, 2]), r.clone()], "shape-mismatch");
    refuse(&[x.clone(), w.clone(), r.clone(), random(&[2, 4])], "shape-mismatch");
    refuse(&[x.clone(), w.clone(), r.clone(), state.clone(), state.clone()], "argument");
    refuse(&[random(&[2, 3]), w.clone(), r.clone()], "shape");
    refuse(&[x.clone(), w.clone(), Array::random(&[12, 4], 1).tensor(DType::F64)], "dtype");
    refuse(&[x.clone(), w.clone()], "input-count");
    let lstm = [text("kind", "lstm"), flag("bias", false)];
    let inputs = [x, random(&[16, 3]), random(&[16, 4]), state];
    refused("recurrent", &inputs, &lstm, "argument");
}

//! Recurrent layers.

mod activation;
mod cell;

use super::Table;
use super::quantize::is_float;
use crate::content::scalar;
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid, unsupported};
use activation::Activation;
use aimass_sdk::graph::Recurrence;
use cell::{Cell, State};

pub(super) const TABLE: Table = &[
    ("GRU", |cx, x| layer(cx, x, Kind::Gru)),
    ("LSTM", |cx, x| layer(cx, x, Kind::Lstm)),
    ("RNN", |cx, x| layer(cx, x, Kind::Rnn)),
];

/// Steps of all directions of a layer that is unrolled.
const STEPS_MAX: u64 = 4096;

/// The recurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lstm,
    Gru,
    Rnn,
}

impl Kind {
    /// Rows of the weights, in hidden sizes.
    pub(super) fn gates(self) -> u64 {
        match self {
            Kind::Lstm => 4,
            Kind::Gru => 3,
            Kind::Rnn => 1,
        }
    }

    /// Names of the functions where the node says none.
    fn functions(self) -> &'static [&'static str] {
        match self {
            Kind::Lstm => &["Sigmoid", "Tanh", "Tanh"],
            Kind::Gru => &["Sigmoid", "Tanh"],
            Kind::Rnn => &["Tanh"],
        }
    }
}

/// The tensors of a layer, `[tokens, batch, in]` and one direction an index of axis 0.
pub(super) struct Weights {
    pub(super) w: T,
    pub(super) r: T,
    pub(super) bias: Option<T>,
    pub(super) peepholes: Option<T>,
}

/// Sequences and what lies before them.
struct Sequences {
    /// `[tokens, batch, in]`.
    x: T,
    /// Tokens of each sequence, `[batch, 1]`, if they differ.
    lengths: Option<T>,
    /// `[directions, batch, hidden]` each; h, and c of an LSTM.
    initial: Vec<Option<T>>,
}

/// All that one direction of a layer does.
struct Direction<'a> {
    sequences: &'a Sequences,
    weights: &'a Weights,
    /// Index of the direction.
    index: u64,
    reverse: bool,
}

/// What one direction answers.
struct Answer {
    /// `[tokens, batch, hidden]`.
    all: T,
    /// `[batch, hidden]` each; h, and c of an LSTM.
    last: Vec<T>,
}

fn layer(cx: &mut Cx<'_>, inputs: Inputs<'_>, kind: Kind) -> R<Vec<Value>> {
    let weights = Weights {
        w: inputs.tensor(1)?.clone(),
        r: inputs.tensor(2)?.clone(),
        bias: inputs.tensor_opt(3)?.cloned(),
        peepholes: match kind {
            Kind::Lstm => inputs.tensor_opt(7)?.cloned(),
            Kind::Gru | Kind::Rnn => None,
        },
    };
    layer_of(cx, inputs, kind, &weights)
}

/// A layer with these weights; x, lengths and initial states are those of the node.
pub(super) fn layer_of(
    cx: &mut Cx<'_>,
    inputs: Inputs<'_>,
    kind: Kind,
    weights: &Weights,
) -> R<Vec<Value>> {
    let batch_first = cx.attr_flag("layout")?;
    let mut states = vec![inputs.tensor_opt(5)?];
    if kind == Kind::Lstm {
        states.push(inputs.tensor_opt(6)?);
    }
    let sequences =
        sequences(cx, (inputs.tensor(0)?, inputs.tensor_opt(4)?), &states, batch_first)?;
    run(cx, kind, &sequences, weights, batch_first)
}

/// Inputs in the order tokens, batch, ..; states in the order directions, batch, hidden.
fn sequences(
    cx: &mut Cx<'_>,
    (x, lengths): (&T, Option<&T>),
    states: &[Option<&T>],
    batch_first: bool,
) -> R<Sequences> {
    let ranks = |tensor: &T| match tensor.rank() {
        3 => Ok(()),
        rank => Err(invalid(format!("expected tensors of rank 3, got {rank}"))),
    };
    ranks(x)?;
    let tokens_first = |cx: &mut Cx<'_>, tensor: &T| match batch_first {
        true => cx.transpose(tensor, &[1, 0, 2]),
        false => Ok(tensor.clone()),
    };
    let x = tokens_first(cx, x)?;
    let mut initial = Vec::with_capacity(states.len());
    for state in states {
        initial.push(match state {
            Some(state) => {
                ranks(state)?;
                Some(tokens_first(cx, state)?)
            }
            None => None,
        });
    }
    let tokens = x.extent(0)?;
    let lengths = match lengths {
        Some(lengths) if lengths.is_known() => {
            let all = cx.ints(lengths)?.iter().all(|&own| u64::try_from(own) == Ok(tokens));
            (!all).then_some(lengths)
        }
        lengths => lengths,
    };
    let lengths = match lengths {
        Some(lengths) => Some(cx.reshape(lengths, &[x.dims[1], Extent::Fixed(1)])?),
        None => None,
    };
    Ok(Sequences { x, lengths, initial })
}

/// Runs every direction and joins what they answer.
fn run(
    cx: &mut Cx<'_>,
    kind: Kind,
    sequences: &Sequences,
    weights: &Weights,
    batch_first: bool,
) -> R<Vec<Value>> {
    let reverses: &[bool] = match cx.attr_text("direction", "forward")? {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(invalid(format!("direction: got `{other}`"))),
    };
    let found = weights.w.extent(0)?;
    if found != reverses.len() as u64 {
        let expected = reverses.len();
        return Err(invalid(format!("expected weights of {expected} directions, got {found}")));
    }
    let functions = functions(cx, kind, reverses.len())?;
    let mut answers = Vec::new();
    for (index, &reverse) in reverses.iter().enumerate() {
        let direction = Direction { sequences, weights, index: index as u64, reverse };
        answers.push(direction.run(cx, kind, &functions[index])?);
    }
    join(cx, &answers, batch_first)
}

/// The functions of every direction.
fn functions(cx: &Cx<'_>, kind: Kind, directions: usize) -> R<Vec<Vec<Activation>>> {
    let alphas = cx.attr_floats_opt("activation_alpha")?.unwrap_or_default();
    let betas = cx.attr_floats_opt("activation_beta")?.unwrap_or_default();
    let each = kind.functions();
    let names: Vec<String> = match cx.attr_texts_opt("activations")? {
        Some(names) if !names.is_empty() => {
            names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
        }
        _ => each.repeat(directions).into_iter().map(str::to_owned).collect(),
    };
    if names.len() != each.len() * directions {
        let (expected, got) = (each.len() * directions, names.len());
        return Err(invalid(format!("activations: expected {expected} names, got {got}")));
    }
    let all = activation::parse(&names, alphas, betas)?;
    Ok(all.chunks(each.len()).map(<[Activation]>::to_vec).collect())
}

/// Y, Y_h and, of an LSTM, Y_c.
fn join(cx: &mut Cx<'_>, answers: &[Answer], batch_first: bool) -> R<Vec<Value>> {
    let beside = |cx: &mut Cx<'_>, parts: Vec<&T>, axis: usize| {
        let parts: R<Vec<T>> = parts.into_iter().map(|part| cx.unsqueeze(part, axis)).collect();
        cx.concat(&parts?.iter().collect::<Vec<_>>(), axis)
    };
    let all = beside(cx, answers.iter().map(|answer| &answer.all).collect(), 1)?;
    let all = if batch_first { cx.transpose(&all, &[2, 0, 1, 3])? } else { all };
    let mut outputs: Vec<Value> = vec![all.into()];
    let states = answers.first().map_or(0, |answer| answer.last.len());
    for state in 0..states {
        let parts = answers.iter().filter_map(|answer| answer.last.get(state)).collect();
        outputs.push(beside(cx, parts, usize::from(batch_first))?.into());
    }
    outputs.truncate(cx.output_count().max(1));
    Ok(outputs)
}

impl Direction<'_> {
    /// The part of a tensor that belongs to this direction.
    fn own(&self, cx: &mut Cx<'_>, x: &T) -> R<T> {
        let part = cx.slice(x, 0, (self.index, self.index + 1), 1)?;
        match part.dims.first() {
            Some(Extent::Fixed(1)) => cx.squeeze(&part, 0),
            _ => Err(invalid("expected one index a direction")),
        }
    }

    fn run(&self, cx: &mut Cx<'_>, kind: Kind, functions: &[Activation]) -> R<Answer> {
        let (w, r) = (self.own(cx, &self.weights.w)?, self.own(cx, &self.weights.r)?);
        let bias = match &self.weights.bias {
            Some(bias) => Some(self.own(cx, bias)?),
            None => None,
        };
        let peepholes = match &self.weights.peepholes {
            Some(peepholes) => Some(self.own(cx, peepholes)?),
            None => None,
        };
        let hidden = r.extent(1)?;
        if w.rank() != 2 || r.rank() != 2 || r.extent(0)? != kind.gates().saturating_mul(hidden) {
            return Err(invalid("expected weights of [directions, gates * hidden, ..]"));
        }
        let mut initial = Vec::new();
        for state in &self.sequences.initial {
            initial.push(match state {
                Some(state) => self.own(cx, state)?,
                None => {
                    let zero = scalar(self.sequences.x.dtype, 0.0)?;
                    cx.broadcast(&zero, &[self.sequences.x.dims[1], Extent::Fixed(hidden)])?
                }
            });
        }
        let cell = Cell {
            kind,
            r,
            bias,
            peepholes,
            functions,
            clip: cx.attr_float_opt("clip")?.map(f64::from),
            couples: kind == Kind::Lstm && cx.attr_flag("input_forget")?,
            late_reset: kind == Kind::Gru && cx.attr_flag("linear_before_reset")?,
            hidden,
        };
        match cell.recurrence().filter(|_| self.sequences.lengths.is_none()) {
            Some(recurrence) => self.native(cx, recurrence, &w, &cell, &initial),
            None => self.unroll(cx, &w, &cell, initial),
        }
    }

    /// The contract's op, or steps where this host has no code for it.
    fn native(
        &self,
        cx: &mut Cx<'_>,
        recurrence: Recurrence,
        w: &T,
        cell: &Cell<'_>,
        initial: &[T],
    ) -> R<Answer> {
        let states: Vec<&T> = initial.iter().collect();
        let weights = (w, &cell.r, cell.bias.as_ref());
        let x = &self.sequences.x;
        match cx.recurrent(recurrence, x, weights, &states, self.reverse) {
            Ok(mut outputs) if outputs.len() == initial.len() + 1 => {
                let last = outputs.split_off(1);
                match outputs.pop() {
                    Some(all) => Ok(Answer { all, last }),
                    None => Err(invalid("a layer without outputs")),
                }
            }
            Ok(_) => self.unroll(cx, w, cell, initial.to_vec()),
            Err(stop) if super::quantize::is_unsupported(&stop) => {
                self.unroll(cx, w, cell, initial.to_vec())
            }
            Err(stop) => Err(stop),
        }
    }

    /// One step a token.
    fn unroll(&self, cx: &mut Cx<'_>, w: &T, cell: &Cell<'_>, initial: Vec<T>) -> R<Answer> {
        let x = &self.sequences.x;
        let tokens = x.extent(0)?;
        if tokens > STEPS_MAX || !is_float(x.dtype) {
            let message = format!("expected at most {STEPS_MAX} tokens, got {tokens}");
            return Err(unsupported(message));
        }
        let projected = cell.project(cx, x, w)?;
        let recalls = cell.recalls(cx)?;
        let mut state = State(initial);
        let mut all: Vec<T> = Vec::new();
        for step in 0..tokens {
            let token = if self.reverse { tokens - 1 - step } else { step };
            let own = cx.slice(&projected, 0, (token, token + 1), 1)?;
            let own = cx.squeeze(&own, 0)?;
            let next = cell.step(cx, &recalls, &own, &state)?;
            let (next, seen) = self.masked(cx, token, &state, next)?;
            all.push(cx.unsqueeze(&seen, 0)?);
            state = next;
        }
        if self.reverse {
            all.reverse();
        }
        let hidden = Extent::Fixed(cell.hidden);
        let all = match all.is_empty() {
            true => {
                let zero = scalar(x.dtype, 0.0)?;
                cx.broadcast(&zero, &[x.dims[0], x.dims[1], hidden])?
            }
            false => cx.concat(&all.iter().collect::<Vec<_>>(), 0)?,
        };
        Ok(Answer { all, last: state.0 })
    }

    /// Sequences that ended keep their state and answer zeros.
    fn masked(&self, cx: &mut Cx<'_>, token: u64, old: &State, new: State) -> R<(State, T)> {
        let Some(lengths) = &self.sequences.lengths else {
            let seen = new.0[0].clone();
            return Ok((new, seen));
        };
        let token = scalar(lengths.dtype, token as f64)?;
        let goes_on = cx.less(&token, lengths)?;
        let mut kept = Vec::with_capacity(new.0.len());
        for (old, new) in old.0.iter().zip(&new.0) {
            kept.push(cx.select(&goes_on, new, old)?);
        }
        let zero = scalar(self.sequences.x.dtype, 0.0)?;
        let seen = cx.select(&goes_on, &new.0[0], &zero)?;
        Ok((State(kept), seen))
    }
}

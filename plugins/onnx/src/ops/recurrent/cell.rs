//! One step of a recurrent layer.

use super::Kind;
use super::activation::Activation;
use crate::node::Cx;
use crate::value::{R, T, invalid};
use aimass_sdk::graph::Recurrence;

/// What a step hands to the next, `[batch, hidden]` each: h, and c of an LSTM.
#[derive(Debug, Clone)]
pub(super) struct State(pub(super) Vec<T>);

/// Weights that a state meets.
pub(super) struct Recall {
    r: T,
    bias: Option<T>,
}

impl Recall {
    /// What the state brings.
    fn of(&self, cx: &mut Cx<'_>, h: &T) -> R<T> {
        cx.linear(h, &self.r, self.bias.as_ref(), true)
    }
}

/// The recurrent half of one direction.
pub(super) struct Cell<'a> {
    pub(super) kind: Kind,
    /// `[gates * hidden, hidden]`.
    pub(super) r: T,
    /// `[2 * gates * hidden]`: of the inputs, then of the state.
    pub(super) bias: Option<T>,
    /// `[3 * hidden]`: of input, output and forget gate.
    pub(super) peepholes: Option<T>,
    pub(super) functions: &'a [Activation],
    /// Bound of what enters a function.
    pub(super) clip: Option<f64>,
    /// The forget gate is what the input gate leaves.
    pub(super) couples: bool,
    /// The reset gate acts behind the product.
    pub(super) late_reset: bool,
    pub(super) hidden: u64,
}

impl Cell<'_> {
    /// The contract's recurrence, if this is one.
    pub(super) fn recurrence(&self) -> Option<Recurrence> {
        use Activation::{Relu, Sigmoid, Tanh};
        if self.clip.is_some() || self.peepholes.is_some() || self.couples {
            return None;
        }
        match (self.kind, self.functions) {
            (Kind::Gru, [Sigmoid, Tanh]) if !self.late_reset => Some(Recurrence::Gru),
            (Kind::Lstm, [Sigmoid, Tanh, Tanh]) => Some(Recurrence::Lstm),
            (Kind::Rnn, [Tanh]) => Some(Recurrence::RnnTanh),
            (Kind::Rnn, [Relu]) => Some(Recurrence::RnnRelu),
            _ => None,
        }
    }

    /// What the inputs of all steps bring, `[tokens, batch, gates * hidden]`.
    pub(super) fn project(&self, cx: &mut Cx<'_>, x: &T, w: &T) -> R<T> {
        let bias = self.bias(cx, 0)?;
        cx.linear(x, w, bias.as_ref(), true)
    }

    /// Half of the bias.
    fn bias(&self, cx: &mut Cx<'_>, half: u64) -> R<Option<T>> {
        let Some(bias) = &self.bias else { return Ok(None) };
        let width = self.kind.gates().saturating_mul(self.hidden);
        if bias.rank() != 1 || bias.extent(0)? != 2 * width {
            return Err(invalid(format!("expected a bias of {} numbers", 2 * width)));
        }
        cx.slice(bias, 0, (half * width, (half + 1) * width), 1).map(Some)
    }

    /// The weights that the state meets: of all gates at once, or of the last one by itself.
    pub(super) fn recalls(&self, cx: &mut Cx<'_>) -> R<Vec<Recall>> {
        let gates = self.kind.gates();
        let parts = match self.kind == Kind::Gru && !self.late_reset {
            true => vec![(0, 2), (2, 3)],
            false => vec![(0, gates)],
        };
        let bias = self.bias(cx, 1)?;
        let mut recalls = Vec::with_capacity(parts.len());
        for (from, to) in parts {
            let rows = (from * self.hidden, to * self.hidden);
            let bias = match &bias {
                Some(bias) => Some(cx.slice(bias, 0, rows, 1)?),
                None => None,
            };
            recalls.push(Recall { r: cx.slice(&self.r, 0, rows, 1)?, bias });
        }
        Ok(recalls)
    }

    /// Gate `index` of `[batch, gates * hidden]`.
    fn gate(&self, cx: &mut Cx<'_>, gates: &T, index: u64) -> R<T> {
        cx.slice(gates, 1, (index * self.hidden, (index + 1) * self.hidden), 1)
    }

    fn activate(&self, cx: &mut Cx<'_>, x: &T, function: usize) -> R<T> {
        let x = match self.clip {
            Some(clip) => cx.clamp(x, -clip, clip)?,
            None => x.clone(),
        };
        let function = self.functions.get(function);
        function.copied().ok_or_else(|| invalid("a function is missing"))?.apply(cx, &x)
    }

    /// The state after a token, of which `x` is the projection, `[batch, gates * hidden]`.
    pub(super) fn step(
        &self,
        cx: &mut Cx<'_>,
        recalls: &[Recall],
        x: &T,
        state: &State,
    ) -> R<State> {
        let [first, rest @ ..] = recalls else { return Err(invalid("weights are missing")) };
        match (self.kind, state.0.as_slice()) {
            (Kind::Lstm, [h, c]) => {
                let recalled = first.of(cx, h)?;
                self.lstm(cx, x, &recalled, c)
            }
            (Kind::Gru, [h]) => {
                let recalled = first.of(cx, h)?;
                self.gru(cx, x, (&recalled, rest.first()), h)
            }
            (Kind::Rnn, [h]) => {
                let recalled = first.of(cx, h)?;
                let sum = cx.add(x, &recalled)?;
                Ok(State(vec![self.activate(cx, &sum, 0)?]))
            }
            _ => Err(invalid("a state is missing")),
        }
    }

    /// Gates in the order input, output, forget, cell.
    fn lstm(&self, cx: &mut Cx<'_>, x: &T, recalled: &T, c: &T) -> R<State> {
        let gates = cx.add(x, recalled)?;
        let peek = |cx: &mut Cx<'_>, gate: &T, index: u64, c: &T| {
            let Some(peepholes) = &self.peepholes else { return Ok(gate.clone()) };
            let rows = (index * self.hidden, (index + 1) * self.hidden);
            let own = cx.slice(peepholes, 0, rows, 1)?;
            let seen = cx.mul(c, &own)?;
            cx.add(gate, &seen)
        };
        let input = self.gate(cx, &gates, 0)?;
        let input = peek(cx, &input, 0, c)?;
        let input = self.activate(cx, &input, 0)?;
        let forget = match self.couples {
            true => {
                let rest = cx.neg(&input)?;
                cx.add_number(&rest, 1.0)?
            }
            false => {
                let forget = self.gate(cx, &gates, 2)?;
                let forget = peek(cx, &forget, 2, c)?;
                self.activate(cx, &forget, 0)?
            }
        };
        let fresh = self.gate(cx, &gates, 3)?;
        let fresh = self.activate(cx, &fresh, 1)?;
        let (kept, added) = (cx.mul(&forget, c)?, cx.mul(&input, &fresh)?);
        let c = cx.add(&kept, &added)?;
        let output = self.gate(cx, &gates, 1)?;
        let output = peek(cx, &output, 1, &c)?;
        let output = self.activate(cx, &output, 0)?;
        let bent =
            self.functions.get(2).copied().ok_or_else(|| invalid("a function is missing"))?;
        let bent = bent.apply(cx, &c)?;
        Ok(State(vec![cx.mul(&output, &bent)?, c]))
    }

    /// Gates in the order update, reset, hidden.
    fn gru(
        &self,
        cx: &mut Cx<'_>,
        x: &T,
        (recalled, last): (&T, Option<&Recall>),
        h: &T,
    ) -> R<State> {
        let gate = |cx: &mut Cx<'_>, index: u64| {
            let (own, recalled) = (self.gate(cx, x, index)?, self.gate(cx, recalled, index)?);
            let sum = cx.add(&own, &recalled)?;
            self.activate(cx, &sum, 0)
        };
        let (update, reset) = (gate(cx, 0)?, gate(cx, 1)?);
        let remembered = match last {
            None => {
                let recalled = self.gate(cx, recalled, 2)?;
                cx.mul(&reset, &recalled)?
            }
            Some(last) => {
                let open = cx.mul(&reset, h)?;
                last.of(cx, &open)?
            }
        };
        let fresh = self.gate(cx, x, 2)?;
        let fresh = cx.add(&fresh, &remembered)?;
        let fresh = self.activate(cx, &fresh, 1)?;
        // (1 - z) * fresh + z * h
        let change = cx.sub(h, &fresh)?;
        let kept = cx.mul(&update, &change)?;
        Ok(State(vec![cx.add(&fresh, &kept)?]))
    }
}

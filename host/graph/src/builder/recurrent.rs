//! Builder methods: recurrent layers.

use super::GraphBuilder;
use crate::op::{Op, Recurrence, Recurrent};
use crate::{GraphError, ValueId};

/// Values of one direction of a recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentValues<'a> {
    /// `[tokens, batch, in]`.
    pub x: ValueId,
    /// `[gates * hidden, in]`; gates i, o, f, c of an LSTM and z, r, h of a GRU.
    pub w: ValueId,
    /// `[gates * hidden, hidden]`.
    pub r: ValueId,
    /// `[2 * gates * hidden]`, of the input and then of the state; none for zeros.
    pub bias: Option<ValueId>,
    /// Nothing for zeros, or the first state `[batch, hidden]` and of an LSTM the first cell.
    pub initial: &'a [ValueId],
}

impl GraphBuilder {
    /// A recurrent layer (one direction of ONNX `LSTM-14`, `GRU-14` with `linear_before_reset = 0`,
    /// `RNN-14`) in f32 or narrower; with `reverse` the last token comes first. Answers the states
    /// after all tokens, `[tokens, batch, hidden]`, the last state `[batch, hidden]`, and of an LSTM
    /// the last cell.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or extent, a wrong number of initial values, or rows.
    pub fn recurrent(
        &mut self,
        kind: Recurrence,
        values: RecurrentValues<'_>,
        reverse: bool,
    ) -> Result<Vec<ValueId>, GraphError> {
        let RecurrentValues { x, w, r, bias, initial } = values;
        let op = Recurrent { kind, reverse, bias: bias.is_some(), packed: None };
        let mut inputs = vec![x, w, r];
        inputs.extend(bias);
        inputs.extend_from_slice(initial);
        self.push(Op::Recurrent(op), &inputs)
    }
}

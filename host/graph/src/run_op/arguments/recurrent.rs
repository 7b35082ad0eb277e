//! Recurrent layers.

use super::{Arguments, wrong};
use crate::{GraphBuilder, Recurrence, RecurrentValues, RunError, ValueId};

/// Adds the layer. `bias` false says that the fourth input is an initial value.
pub(super) fn build(b: &mut GraphBuilder, a: &Arguments<'_>) -> Result<Vec<ValueId>, RunError> {
    let kind = match a.text("kind")? {
        Some("lstm") => Recurrence::Lstm,
        Some("gru") => Recurrence::Gru,
        Some("rnn-tanh") => Recurrence::Tanh,
        Some("rnn-relu") => Recurrence::Relu,
        other => {
            let got = other.unwrap_or("nothing");
            return Err(wrong("kind", "lstm, gru, rnn-tanh or rnn-relu", &got));
        }
    };
    let got = a.inputs.len();
    let Some(([x, w, r], rest)) = a.inputs.split_first_chunk() else {
        return Err(RunError::InputCount { expected: 3, got });
    };
    let biased = a.flag_or("bias", true)? && !rest.is_empty();
    let (bias, initial) = rest.split_at(usize::from(biased));
    let bias = bias.first().copied();
    let values = RecurrentValues { x: *x, w: *w, r: *r, bias, initial };
    Ok(b.recurrent(kind, values, a.flag("reverse")?)?)
}

//! Recurrent layers.

use super::{Node, Site, extent, float_form};
use crate::device::call::{DeviceCall, Lowered};
use crate::op::Recurrent;
use aimass_cpu::recurrent::Recurrence as Kind;
use aimass_cuda::recurrent::{
    Recurrence, RecurrentOperands, RecurrentShape, recurrent as launch_recurrent, recurrent_scratch,
};
use aimass_cuda::{DeviceError, Slice};
use aimass_tensor::Shape;

/// What is known when a plan is compiled.
#[derive(Clone, Copy)]
struct Layer {
    kind: Recurrence,
    reverse: bool,
    bias: bool,
}

impl Layer {
    fn shape(self, x: &Shape, r: &Shape) -> Result<RecurrentShape, DeviceError> {
        let of = |shape: &Shape, axis: usize| extent(&shape[axis..=axis]);
        Ok(RecurrentShape {
            kind: self.kind,
            reverse: self.reverse,
            tokens: of(x, 0)?,
            batch: of(x, 1)?,
            input: of(x, 2)?,
            hidden: of(r, 1)?,
        })
    }

    /// The slice of an input, if it is there.
    fn optional<'m>(call: &DeviceCall<'m, '_, '_>, input: usize) -> Slice<'m> {
        call.inputs.get(input).map_or_else(Slice::none, |value| value.slice)
    }
}

/// Tokens one after the other, each a launch or two.
pub(super) fn recurrent(site: &Site<'_>, op: &Recurrent, node: Node<'_>) -> Option<Lowered> {
    let form = float_form(site.spec(node.inputs[0]).dtype)?;
    if op.packed.is_some() {
        return None;
    }
    let kind = match op.kind {
        Kind::Lstm => Recurrence::Lstm,
        Kind::Gru => Recurrence::Gru,
        Kind::Tanh => Recurrence::Tanh,
        Kind::Relu => Recurrence::Relu,
    };
    let layer = Layer { kind, reverse: op.reverse, bias: op.bias };
    let lowered = Lowered::new(move |call| {
        let shape = layer.shape(&call.inputs[0].shape, &call.inputs[2].shape)?;
        let first = 3 + usize::from(layer.bias);
        let last =
            |output: usize| call.outputs.get(output).map_or_else(Slice::none, |value| value.slice);
        let operands = RecurrentOperands {
            x: call.inputs[0].slice,
            w: call.inputs[1].slice,
            r: call.inputs[2].slice,
            bias: if layer.bias { Layer::optional(call, 3) } else { Slice::none() },
            first: [Layer::optional(call, first), Layer::optional(call, first + 1)],
            out: call.outputs[0].slice,
            last: [last(1), last(2)],
            scratch: call.scratch,
        };
        launch_recurrent(call.queue, form, &shape, &operands)
    });
    Some(lowered.with_scratch(move |inputs, _| {
        // A shape that the device does not take is refused by the launch.
        layer.shape(&inputs[0], &inputs[2]).map_or(0, |shape| recurrent_scratch(form, &shape))
    }))
}

//! Choice between two values, element by element, with numpy's broadcasting.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::Form;
use crate::layout::{Broadcast, pack_size};
use crate::memory::Slice;
use crate::parameters::ELEMENTWISE_THREADS;
use crate::queue::Queue;

/// Operands of [`select`], dense: bools (0 is false, anything else true) and two values of one
/// element size, each with its shape.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'s> {
    /// Bytes of an element of `x`, `y` and the result: 1, 2, 4 or 8.
    pub size: usize,
    /// Bools.
    pub condition: (Slice<'s>, &'s [usize]),
    /// Taken where the condition is true.
    pub x: (Slice<'s>, &'s [usize]),
    /// Taken where it is false.
    pub y: (Slice<'s>, &'s [usize]),
    /// The result, of the joint shape; it may be in the place of `x` or `y` of that shape.
    pub out: Slice<'s>,
}

/// `out = condition ? x : y`.
///
/// # Errors
/// [`DeviceError::Defect`] for another size, shapes that do not broadcast or an operand that is too
/// short; a refused launch.
pub fn select(queue: &mut Queue<'_>, choice: &Choice<'_>) -> Result<(), DeviceError> {
    let Choice { size, condition, x, y, out } = *choice;
    let form = Form::of_size(size).ok_or(DeviceError::Defect("elements of no kernel's size"))?;
    let plan = Broadcast::new([condition.1, x.1, y.1])?;
    let lengths = plan.lengths();
    let slices = [(condition.0, 1), (x.0, size), (y.0, size)];
    let layout = plan.parameters(pack_size(size), slices, (out, size));
    let kernel = entries::Select {
        condition: condition.0.elements(lengths[0], 1)?,
        x: x.0.elements(lengths[1], size)?,
        y: y.0.elements(lengths[2], size)?,
        out: out.elements(plan.elements(), size)?,
        layout,
    };
    match plan.elements() {
        0 => Ok(()),
        _ => queue.launch(&kernel, form, queue.over(layout.groups.into(), ELEMENTWISE_THREADS)),
    }
}

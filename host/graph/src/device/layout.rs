//! Where everything lies in the working memory during one run.

use super::program::{DeviceStep, Program};
use crate::RunError;
use crate::graph::ValueId;
use aimass_tensor::{DType, Shape};

/// Parts begin at multiples of this, as allocations of the driver do.
const ALIGN: usize = 256;
/// Bytes of one step's fault word.
pub(super) const FAULT_BYTES: usize = 8;

/// A part of the working memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) start: usize,
    pub(super) bytes: usize,
}

/// Offsets of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Slots, then results.
    pub(super) regions: Vec<Part>,
    pub(super) inputs: Vec<Part>,
    pub(super) states: Vec<Part>,
    pub(super) faults: Part,
    pub(super) scratch: Part,
    pub(super) total: usize,
}

impl Layout {
    /// For these shapes, by value.
    ///
    /// # Errors
    /// [`RunError::Dims`] if something takes too many bytes.
    pub(super) fn new(program: &Program, shapes: &[Shape]) -> Result<Layout, RunError> {
        let mut end = 0usize;
        let mut place = |bytes: usize| {
            let start = end;
            end = bytes
                .checked_next_multiple_of(ALIGN)
                .and_then(|bytes| start.checked_add(bytes))
                .ok_or_else(|| too_large("the working memory"))?;
            Ok::<Part, RunError>(Part { start, bytes })
        };
        let bytes =
            |value: ValueId| value_bytes(program.dtypes[value.index()], &shapes[value.index()]);
        let mut regions = Vec::new();
        for values in &program.memory.slots {
            let mut size = 0;
            for &value in values {
                size = size.max(bytes(value)?);
            }
            regions.push(place(size)?);
        }
        for &result in &program.memory.results {
            regions.push(place(bytes(result)?)?);
        }
        let mut uploaded = |values: &[Option<ValueId>]| {
            let each = values.iter().map(|value| match value {
                Some(value) => place(bytes(*value)?),
                None => Ok(Part::default()),
            });
            each.collect::<Result<Vec<Part>, RunError>>()
        };
        let (inputs, states) =
            (uploaded(&program.uploads.inputs)?, uploaded(&program.uploads.states)?);
        let faults = place(program.faults * FAULT_BYTES)?;
        let mut most = 0;
        for step in &program.steps {
            if let DeviceStep::Launch { lowered, inputs, outputs, .. } = step
                && let Some(scratch) = &lowered.scratch
            {
                let of = |values: &[ValueId]| -> Vec<Shape> {
                    values.iter().map(|value| shapes[value.index()]).collect()
                };
                most = most.max(scratch(&of(inputs), &of(outputs)));
            }
        }
        let scratch = place(most)?;
        Ok(Layout { regions, inputs, states, faults, scratch, total: end })
    }
}

/// Bytes of a value.
pub(super) fn value_bytes(dtype: DType, shape: &Shape) -> Result<usize, RunError> {
    dtype.bytes_for(shape.elements()).ok_or_else(|| too_large(&format!("{dtype} {shape}")))
}

fn too_large(what: &str) -> RunError {
    RunError::Dims { what: what.to_owned(), reason: "takes too many bytes" }
}

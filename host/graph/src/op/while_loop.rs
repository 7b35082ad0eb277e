//! A region that is run again while a condition holds.

use super::region::{Outside, SubGraph};
use super::{Call, Infer, OpRule, region_arguments};
use crate::{GraphError, RunError, ValueSpec};
use aimass_tensor::{BufferMut, DType, Shape};

/// Runs `body` while `condition` holds, at most `max` times (StableHLO `while`, ONNX `Loop-13`).
///
/// | value    | shape                                          | dtype     |
/// |----------|------------------------------------------------|-----------|
/// | carried  | any; as `body` answers them                    | any       |
/// | captures | those of `condition`, then those of `body`     | any       |
/// | outputs  | as carried                                     | as carried |
///
/// Both regions take the carried values as params. An iteration reads one set of buffers and writes
/// another; none is allocated on the way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct While {
    pub(crate) condition: SubGraph,
    pub(crate) body: SubGraph,
    pub(crate) carried: usize,
    pub(crate) max: u64,
}

/// Requires outputs of a region to be of the types of its params, as a loop hands them on.
pub(super) fn carries(
    cx: &Infer<'_>,
    body: &SubGraph,
    carried: usize,
    params: usize,
) -> Result<(), GraphError> {
    if body.outputs().len() < carried || body.inputs().len() < params {
        let expected = format!("at least {carried} outputs and {params} inputs");
        let got = format!("{} and {}", body.outputs().len(), body.inputs().len());
        return Err(cx.argument("body", &expected, &got));
    }
    let captures = body.inputs().len() - params;
    for (param, output) in body.inputs().skip(captures).zip(body.outputs()).take(carried) {
        if param != output {
            let text = |(dtype, dims): (DType, &[crate::Dim])| {
                ValueSpec::new(dtype, dims.to_vec()).to_string()
            };
            let (expected, got) = (text(param), text(output));
            return Err(GraphError::Shape { op: cx.op, expected, got });
        }
    }
    Ok(())
}

impl While {
    /// Inputs of the condition and of the body: captures, then carried values.
    pub(crate) fn arguments<T: Clone>(&self, x: &[T]) -> [Vec<T>; 2] {
        let (carried, captures) = x.split_at(self.carried.min(x.len()));
        let own = self.condition.inputs().len().saturating_sub(self.carried);
        let (condition, body) = captures.split_at(own.min(captures.len()));
        [condition, body].map(|captures| [captures, carried].concat())
    }
}

impl OpRule for While {
    fn name(&self) -> &'static str {
        "while-loop"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let all: Vec<ValueSpec> = x.iter().map(|x| (*x).clone()).collect();
        let mut outputs = self.condition.outputs();
        match (outputs.next(), outputs.next()) {
            (Some((DType::Bool, [])), None) => {}
            (Some((dtype, dims)), None) => {
                let got = ValueSpec::new(dtype, dims.to_vec()).to_string();
                let expected = format!("{} []", DType::Bool);
                return Err(GraphError::Shape { op: cx.op, expected, got });
            }
            _ => return Err(cx.argument("condition", "one output", &"another number")),
        }
        if self.body.outputs().len() != self.carried {
            let expected = format!("{} outputs, as many as carried values", self.carried);
            return Err(cx.argument("body", &expected, &self.body.outputs().len()));
        }
        carries(cx, &self.body, self.carried, self.carried)?;
        let [condition, body] = self.arguments(&all);
        Outside::bind(cx, &self.condition, &condition, false)?;
        Outside::bind(cx, &self.body, &body, false)?;
        let carried = all.into_iter().take(self.carried);
        Ok(carried.map(|x| ValueSpec::new(x.dtype, x.dims)).collect())
    }

    fn regions(&self) -> Vec<&SubGraph> {
        vec![&self.condition, &self.body]
    }

    fn regions_mut(&mut self) -> Vec<&mut SubGraph> {
        vec![&mut self.condition, &mut self.body]
    }

    fn prepared_bytes(&self) -> u64 {
        self.regions().iter().map(|region| region.weights_bytes()).sum()
    }

    fn scratch_bytes(&self, inputs: &[Shape], exact: bool) -> Result<u64, RunError> {
        let [condition, body] = self.arguments(inputs);
        let own = self.condition.bytes(&condition, exact)?;
        let own = own.saturating_add(self.body.bytes(&body, exact)?);
        // Carried values exist twice: what an iteration reads and what it writes.
        let params = self.body.inputs().skip(body.len().saturating_sub(self.carried));
        let bytes = params.zip(inputs).map(|((dtype, _), shape)| {
            dtype.bytes_for(shape.elements()).map_or(u64::MAX, |bytes| bytes as u64)
        });
        Ok(bytes.fold(own, |sum, bytes| sum.saturating_add(bytes.saturating_mul(2))))
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        let [condition, body] = self.arguments(inputs);
        let once = self.condition.flops(&condition).saturating_add(self.body.flops(&body));
        once.saturating_mul(self.max)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (shapes, bytes) = region_arguments(call.inputs)?;
        let [condition_shapes, body_shapes] = self.arguments(&shapes);
        let mut condition = self.condition.nested(&condition_shapes)?;
        let mut body = self.body.nested(&body_shapes)?;
        let mut carried = Carried::new(&bytes[..self.carried]);
        let mut done = 0;
        while done < self.max {
            let current = [&read(&carried.now)[..], &bytes[self.carried..]].concat();
            let [condition_bytes, body_bytes] = self.arguments(&current);
            condition.run(call.team, &condition_bytes)?;
            let (holds, _) = condition.output(0, &condition_bytes)?;
            if holds.first().is_none_or(|&byte| byte == 0) {
                break;
            }
            body.run(call.team, &body_bytes)?;
            for (index, next) in carried.next.iter_mut().enumerate() {
                copy(body.output(index, &body_bytes)?.0, next.as_mut_slice())?;
            }
            carried.turn();
            done += 1;
        }
        for (out, value) in call.outputs.iter_mut().zip(&carried.now) {
            copy(value.as_slice(), out.bytes)?;
        }
        condition.end();
        body.end();
        Ok(())
    }
}

/// Values that go from iteration to iteration.
pub(super) struct Carried {
    pub(super) now: Vec<BufferMut>,
    pub(super) next: Vec<BufferMut>,
}

impl Carried {
    pub(super) fn new(initial: &[&[u8]]) -> Carried {
        let copied = |bytes: &&[u8]| {
            let mut buffer = BufferMut::uninit(bytes.len());
            buffer.as_mut_slice().copy_from_slice(bytes);
            buffer
        };
        let next = initial.iter().map(|bytes| BufferMut::uninit(bytes.len())).collect();
        Carried { now: initial.iter().map(copied).collect(), next }
    }

    pub(super) fn turn(&mut self) {
        std::mem::swap(&mut self.now, &mut self.next);
    }
}

/// The bytes that an iteration reads.
pub(super) fn read(values: &[BufferMut]) -> Vec<&[u8]> {
    values.iter().map(BufferMut::as_slice).collect()
}

/// Copies a value whose size was agreed on.
pub(super) fn copy(from: &[u8], to: &mut [u8]) -> Result<(), RunError> {
    if from.len() != to.len() {
        return Err(RunError::Internal("a region answered another size"));
    }
    to.copy_from_slice(from);
    Ok(())
}

//! One of two regions, by a condition.

use super::region::{Outside, SubGraph};
use super::{Call, Infer, OpRule, region_arguments};
use crate::dim::DimRule;
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_tensor::{DType, Shape};

/// Runs `then` where the condition holds, `otherwise` where not (StableHLO `if`).
///
/// | value     | shape                                     | dtype            |
/// |-----------|-------------------------------------------|------------------|
/// | condition | `[]`                                      | bool             |
/// | captures  | those of `then`, then those of `otherwise`| any              |
/// | outputs   | those of the regions                      | those of the regions |
///
/// Outputs of both regions have the same dtypes, ranks and known extents. Other extents may differ:
/// such an extent is found while the plan runs, and memory is reserved for the larger one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IfElse {
    pub(crate) then: SubGraph,
    pub(crate) otherwise: SubGraph,
}

impl IfElse {
    pub(crate) fn split<'a, T>(&self, x: &'a [T]) -> (&'a [T], &'a [T]) {
        let captures = x.get(1..).unwrap_or_default();
        captures.split_at(self.then.inputs().len().min(captures.len()))
    }
}

impl OpRule for IfElse {
    fn name(&self) -> &'static str {
        "if-else"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], "a bool condition", |d| d == DType::Bool)?;
        if x[0].rank() != 0 {
            return Err(GraphError::Rank { op: cx.op, expected: "0", got: x[0].rank() });
        }
        let all: Vec<ValueSpec> = x.iter().map(|x| (*x).clone()).collect();
        let (left, right) = self.split(&all);
        let mut left = Outside::bind(cx, &self.then, left, true)?;
        let mut right = Outside::bind(cx, &self.otherwise, right, true)?;
        let (then, otherwise) = (self.then.outputs(), self.otherwise.outputs());
        if then.len() != otherwise.len() {
            let expected = format!("{} outputs, as the first region has", then.len());
            return Err(cx.argument("otherwise", &expected, &otherwise.len()));
        }
        let mut outputs = Vec::with_capacity(then.len());
        for ((dtype, then), (other, otherwise)) in then.zip(otherwise) {
            let (a, b) = (left.dims(cx, then), right.dims(cx, otherwise));
            let unlike = || GraphError::Shape {
                op: cx.op,
                expected: ValueSpec::new(dtype, a.clone()).to_string(),
                got: ValueSpec::new(other, b.clone()).to_string(),
            };
            if dtype != other || a.len() != b.len() {
                return Err(unlike());
            }
            let mut dims = Vec::with_capacity(a.len());
            for (a, b) in a.iter().zip(&b) {
                dims.push(match (a, b) {
                    _ if a == b => a.clone(),
                    (Dim::Fixed(_), Dim::Fixed(_))
                    | (Dim::Batch | Dim::Ragged(_), _)
                    | (_, Dim::Batch | Dim::Ragged(_)) => return Err(unlike()),
                    (Dim::Dynamic(_), Dim::Dynamic(_) | Dim::Fixed(_))
                    | (Dim::Fixed(_), Dim::Dynamic(_)) => {
                        let most = cx.dims.derive(DimRule::Larger(a.clone(), b.clone()));
                        cx.dims.measured(&most)
                    }
                });
            }
            outputs.push(ValueSpec::new(dtype, dims));
        }
        Ok(outputs)
    }

    fn measures(&self) -> bool {
        true
    }

    fn regions(&self) -> Vec<&SubGraph> {
        vec![&self.then, &self.otherwise]
    }

    fn regions_mut(&mut self) -> Vec<&mut SubGraph> {
        vec![&mut self.then, &mut self.otherwise]
    }

    fn prepared_bytes(&self) -> u64 {
        self.regions().iter().map(|region| region.weights_bytes()).sum()
    }

    fn scratch_bytes(&self, inputs: &[Shape], _: bool) -> Result<u64, RunError> {
        let (left, right) = self.split(inputs);
        // One of them is not run: its extents count as bounds, which no check refuses.
        Ok(self.then.bytes(left, false)?.max(self.otherwise.bytes(right, false)?))
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        let (left, right) = self.split(inputs);
        self.then.flops(left).max(self.otherwise.flops(right))
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let holds = call.inputs[0].bytes.first().is_some_and(|&byte| byte != 0);
        let (left, right) = self.split(call.inputs);
        let (region, arguments) = match holds {
            true => (&self.then, left),
            false => (&self.otherwise, right),
        };
        let (shapes, bytes) = region_arguments(arguments)?;
        let mut nested = region.nested(&shapes)?;
        nested.run(call.team, &bytes)?;
        for (index, out) in call.outputs.iter_mut().enumerate() {
            let (found, shape) = nested.output(index, &bytes)?;
            out.shape = shape;
            let own = out.bytes.get_mut(..found.len());
            own.ok_or(RunError::Internal("a region answered more than its bound"))?
                .copy_from_slice(found);
        }
        nested.end();
        Ok(())
    }
}

//! Non-maximum suppression, padded to the extent that is known beforehand or not.

use super::{Call, Infer, OpRule};
use crate::dim::DimRule;
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::suppression::{Detections, Suppression, non_max_suppression};
use aimass_tensor::{DType, Shape};

/// Boxes that survive, class by class in the order of their choice (ONNX `NonMaxSuppression-11`).
///
/// | tensor   | shape                                              | dtype          |
/// |----------|----------------------------------------------------|----------------|
/// | `boxes`  | `[batches, boxes, 4]`                              | f16, bf16, f32 |
/// | `scores` | `[batches, classes, boxes]`                        | as `boxes`     |
/// | indices  | `[batches * classes * min(max_per_class, boxes), 3]` | i64          |
/// | count    | `[]`                                               | i64            |
///
/// Indices are rows of batch, class and box; those from `count` on are 0. Without `padded` there are
/// only as many rows as count, and there is no output of that name. A candidate has a score
/// above `score`; it is dropped if it overlaps a chosen box by more than `iou`. Rows are refused: how
/// many indices count would depend on all of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NonMaxSuppression {
    pub(crate) options: Suppression,
    pub(crate) padded: bool,
}

impl OpRule for NonMaxSuppression {
    fn name(&self) -> &'static str {
        match self.padded {
            true => "non-max-suppression-padded",
            false => "non-max-suppression",
        }
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (boxes, scores) = (x[0], x[1]);
        cx.f32_or_narrower(boxes)?;
        cx.alike(boxes, scores)?;
        for value in [boxes, scores] {
            if value.rank() != 3 {
                return Err(GraphError::Rank { op: cx.op, expected: "3", got: value.rank() });
            }
            for dim in &value.dims {
                cx.not_rows(dim)?;
            }
        }
        cx.dims.same(cx.op, &boxes.dims[2], &Dim::Fixed(4))?;
        let batches = cx.dims.same(cx.op, &boxes.dims[0], &scores.dims[0])?;
        let all = cx.dims.same(cx.op, &boxes.dims[1], &scores.dims[2])?;
        let most = cx.dims.strided(&all, 0, self.options.max_per_class as u64, 1);
        let factors = [batches, scores.dims[1].clone(), most];
        let fixed: Option<Vec<u64>> = factors.iter().map(Dim::fixed).collect();
        let rows = match fixed {
            Some(extents) => extents
                .into_iter()
                .try_fold(1, u64::checked_mul)
                .map(Dim::Fixed)
                .ok_or(GraphError::Elements { op: cx.op })?,
            None => cx.dims.derive(DimRule::Product(1, factors.to_vec())),
        };
        if !self.padded {
            let rows = cx.dims.measured(&rows);
            return Ok(vec![ValueSpec::new(DType::I64, vec![rows, Dim::Fixed(3)])]);
        }
        let indices = ValueSpec::new(DType::I64, vec![rows, Dim::Fixed(3)]);
        Ok(vec![indices, ValueSpec::new(DType::I64, Vec::new())])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        // Each candidate may be compared with every chosen box of its class.
        let chosen = (outputs[0][0] as u64).checked_div(inputs[1][0] as u64 * inputs[1][1] as u64);
        let each = chosen.unwrap_or(0).saturating_mul(16).saturating_add(32);
        (inputs[1].elements() as u64).saturating_mul(each)
    }

    fn widens(&self) -> bool {
        true
    }

    fn measures(&self) -> bool {
        !self.padded
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (boxes, scores) = (&call.inputs[0], &call.inputs[1]);
        let Some((indices, count)) = call.outputs.split_first_mut() else {
            return Err(super::DTYPE_DEFECT);
        };
        let all = Detections {
            batches: scores.shape[0],
            classes: scores.shape[1],
            boxes: scores.shape[2],
            corners: boxes.numbers(),
            scores: scores.numbers(),
        };
        let found = non_max_suppression(call.team, self.options, all, indices.numbers());
        match count {
            [count] => count.numbers::<i64>()[0] = found as i64,
            _ => indices.shape = Shape::new(&[found, 3]).map_err(|_| super::DTYPE_DEFECT)?,
        }
        Ok(())
    }
}

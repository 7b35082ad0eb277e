//! Normalization of channels (axis 1).

use super::{Call, Infer, OpRule, widened};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::channel_norm::{BatchNorm as Stored, GroupNorm as Grouped, Statistics};
use aimass_cpu::channel_norm::{batch_norm, group_norm};
use aimass_tensor::{DType, Shape};

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias` with stored statistics, `[channels]` each
/// (ONNX `BatchNormalization-15`). `x` is `[rows, channels, ..]` of floats, as are the others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BatchNorm {
    pub(crate) epsilon: f32,
}

/// As layer norm, over groups of channels and all that follows them; scale and bias `[channels]`
/// (ONNX `GroupNormalization-21`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupNorm {
    pub(crate) groups: u32,
    pub(crate) epsilon: f32,
}

/// Checks `x: [rows, channels, ..]`, and that all that follows is `[channels]` of its dtype.
fn check(cx: &mut Infer<'_>, x: &[&ValueSpec], epsilon: f32) -> Result<Vec<ValueSpec>, GraphError> {
    let (x, vectors) = (x[0], &x[1..]);
    cx.dtype(x, "f16, bf16, f32 or f64", |d| {
        matches!(d, DType::F16 | DType::Bf16 | DType::F32 | DType::F64)
    })?;
    cx.rank_at_least(x, 2, "at least 2")?;
    for vector in vectors {
        if vector.dtype != x.dtype {
            let (left, right) = (x.dtype, vector.dtype);
            return Err(GraphError::DTypes { op: cx.op, left, right });
        }
        if vector.rank() != 1 {
            return Err(GraphError::Rank { op: cx.op, expected: "1", got: vector.rank() });
        }
        cx.dims.same(cx.op, &vector.dims[0], &x.dims[1])?;
    }
    if epsilon.is_nan() || epsilon < 0.0 {
        return Err(cx.argument("epsilon", "a number of at least 0", &epsilon));
    }
    Ok(vec![ValueSpec::new(x.dtype, x.dims.clone())])
}

impl OpRule for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        check(cx, x, self.epsilon)
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        2 * inputs[0].elements() as u64
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        match call.inputs[0].dtype {
            DType::F32 => self.compute::<f32>(call),
            DType::F64 => self.compute::<f64>(call),
            _ => return widened(call, |call| self.run(call)),
        }
        Ok(())
    }
}

impl BatchNorm {
    fn compute<T: Statistics>(&self, call: &mut Call<'_, '_>) {
        let vector = |i: usize| call.inputs[i].numbers::<T>();
        let norm = Stored {
            scale: vector(1),
            bias: vector(2),
            mean: vector(3),
            variance: vector(4),
            epsilon: self.epsilon,
        };
        let inner = call.inputs[0].shape[2..].iter().product();
        batch_norm(&norm, inner, call.inputs[0].numbers(), call.outputs[0].numbers());
    }
}

impl OpRule for GroupNorm {
    fn name(&self) -> &'static str {
        "group-norm"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let dims = check(cx, x, self.epsilon)?;
        let channels = x[0].dims[1].fixed();
        let groups = u64::from(self.groups);
        if groups == 0 || channels.is_none_or(|channels| !channels.is_multiple_of(groups)) {
            let expected = format!("at least 1, dividing a known extent {}", x[0].dims[1]);
            return Err(cx.argument("groups", &expected, &groups));
        }
        Ok(dims)
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        6 * inputs[0].elements() as u64
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        match call.inputs[0].dtype {
            DType::F32 => self.compute::<f32>(call),
            DType::F64 => self.compute::<f64>(call),
            _ => return widened(call, |call| self.run(call)),
        }
        Ok(())
    }
}

impl GroupNorm {
    fn compute<T: Statistics>(&self, call: &mut Call<'_, '_>) {
        let norm = Grouped {
            groups: self.groups as usize,
            scale: call.inputs[1].numbers::<T>(),
            bias: call.inputs[2].numbers(),
            epsilon: self.epsilon,
        };
        let inner = call.inputs[0].shape[2..].iter().product();
        group_norm(&norm, inner, call.inputs[0].numbers(), call.outputs[0].numbers());
    }
}

//! The same elements under other dimensions, and repetition of extents of 1.

use super::{Call, Infer, Op, OpRule};
use crate::dim::{DimRule, Dims};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::shape_ops::broadcast_to;

/// The same elements, row-major, under other dimensions. `Dynamic("")` stands for the extent that
/// is left over. A batch or ragged dimension stays axis 0 and keeps its rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reshape {
    pub(crate) dims: Vec<Dim>,
}

/// Repeats extents of 1 to `dims`, aligned at the last axis (numpy `broadcast_to`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Broadcast {
    pub(crate) dims: Vec<Dim>,
}

/// Fixed factor and unknown factors of a product of extents.
fn factors<'a>(
    op: &'static str,
    dims: impl Iterator<Item = &'a Dim>,
) -> Result<(u64, Vec<Dim>), GraphError> {
    let (mut fixed, mut unknown) = (1u64, Vec::new());
    for dim in dims {
        match dim.fixed() {
            Some(extent) => {
                fixed = fixed.checked_mul(extent).ok_or(GraphError::Elements { op })?;
            }
            None => unknown.push(dim.clone()),
        }
    }
    Ok((fixed, unknown))
}

fn is_inferred(dim: &Dim) -> bool {
    matches!(dim, Dim::Dynamic(name) if name.is_empty())
}

impl OpRule for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
        let rows = x.dims.first().filter(|dim| dim.is_rows());
        if rows.is_some() && rows != self.dims.first() {
            let dim = rows.cloned().unwrap_or(Dim::Batch);
            return Err(GraphError::DimClass { op: cx.op, dim, other: self.dims.first().cloned() });
        }
        if rows.is_none()
            && let Some(dim) = self.dims.iter().find(|dim| dim.is_rows())
        {
            return Err(GraphError::DimClass { op: cx.op, dim: dim.clone(), other: None });
        }
        let known: Vec<Dim> = self.dims.iter().filter(|dim| !is_inferred(dim)).cloned().collect();
        cx.declared(&known, &[x])?;
        // Row extents cancel, so that what is left is one row.
        let skip = usize::from(rows.is_some());
        let (mut factor, mut above) = factors(cx.op, x.dims.iter().skip(skip))?;
        let (divisor, mut below) = factors(cx.op, known.iter().skip(skip))?;
        above.retain(|dim| match below.iter().position(|other| other == dim) {
            Some(index) => {
                below.remove(index);
                false
            }
            None => true,
        });
        let wrong = || GraphError::Shape {
            op: cx.op,
            expected: format!("as many elements as {}", Dims(&x.dims)),
            got: Dims(&self.dims).to_string(),
        };
        let mut dims = self.dims.clone();
        match self.dims.iter().filter(|dim| is_inferred(dim)).count() {
            0 if above.is_empty() && below.is_empty() => {
                if factor != divisor {
                    return Err(wrong());
                }
            }
            0 => {
                let left = cx.dims.derive(DimRule::Product(factor, above));
                let right = cx.dims.derive(DimRule::Product(divisor, below));
                cx.dims.check(cx.op, &left, &right);
            }
            1 => {
                let slot = self.dims.iter().position(is_inferred).ok_or_else(wrong)?;
                if divisor != 0 && factor.is_multiple_of(divisor) && below.is_empty() {
                    factor /= divisor;
                    dims[slot] = match (factor, above.len()) {
                        (_, 0) => Dim::Fixed(factor),
                        (1, 1) => above.remove(0),
                        (_, _) => cx.dims.derive(DimRule::Product(factor, above)),
                    };
                } else if above.is_empty() && below.is_empty() {
                    return Err(wrong());
                } else {
                    let rule = DimRule::Quotient { factor, above, divisor, below };
                    dims[slot] = cx.dims.derive(rule);
                }
            }
            _ => return Err(cx.argument("dims", "at most one inferred extent", &Dims(&self.dims))),
        }
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn flops(&self, _: &[aimass_tensor::Shape], _: &[aimass_tensor::Shape]) -> u64 {
        0
    }

    fn renamed(&self, names: &dyn Fn(&Dim) -> Dim) -> Option<Op> {
        let dims = self.dims.iter().map(names).collect();
        Some(Op::Reshape(Reshape { dims }))
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        call.outputs[0].bytes.copy_from_slice(call.inputs[0].bytes);
        Ok(())
    }

    fn moves_no_bytes(&self, _: &ValueSpec, _: &ValueSpec) -> bool {
        true
    }
}

impl OpRule for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
        cx.declared(&self.dims, &[x])?;
        if x.rank() > self.dims.len() {
            return Err(GraphError::Rank {
                op: cx.op,
                expected: "at most those of dims",
                got: x.rank(),
            });
        }
        let lead = self.dims.len() - x.rank();
        for (from, to) in x.dims.iter().zip(&self.dims[lead..]) {
            if *from != Dim::Fixed(1) && from != to {
                // A dynamic extent may be 1 or the target's.
                let both = cx.dims.broadcast(cx.op, from, to)?;
                cx.dims.same(cx.op, &both, to)?;
            }
        }
        Ok(vec![ValueSpec::new(x.dtype, self.dims.clone())])
    }

    fn renamed(&self, names: &dyn Fn(&Dim) -> Dim) -> Option<Op> {
        let dims = self.dims.iter().map(names).collect();
        Some(Op::Broadcast(Broadcast { dims }))
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        broadcast_to(call.team, size, x.bytes, &x.shape, &out.shape, out.bytes);
        Ok(())
    }

    fn moves_no_bytes(&self, x: &ValueSpec, out: &ValueSpec) -> bool {
        x.dims == out.dims
    }
}

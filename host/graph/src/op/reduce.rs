//! Reductions over axes.

use super::{Call, Infer, NUMERIC, OpRule, is_numeric, with_integer, with_number};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::double;
use aimass_cpu::reduce::{
    IntReduction, Lanes, Reduction, arg_max, arg_min, reduce, reduce_bool, reduce_int,
};
use aimass_cpu::shape_ops::transpose;
use aimass_cpu::view::numbers;
use aimass_tensor::{BufferMut, DType, Shape};

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReduceKind {
    Sum,
    Mean,
    Prod,
    Max,
    Min,
}

/// Reduces `axes` (all of them if the list is empty); of numbers, sums and products of integers
/// wrapping. The mean takes floats only; max and min of bools are "any" and "all".
///
/// A reduced axis holds no rows, except for max and min, which then make a plan run alone. `keep` leaves reduced axes with extent 1. An empty lane gives 0
/// (sum), 1 (product), NaN (mean), or the dtype's lowest and highest number (max, min).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reduce {
    pub(crate) kind: ReduceKind,
    pub(crate) axes: Vec<u32>,
    pub(crate) keep: bool,
}

/// Index of the first largest or smallest element along an axis: numbers to i64. NaN wins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArgExtreme {
    pub(crate) axis: u32,
    pub(crate) keep: bool,
    pub(crate) largest: bool,
}

/// Output dimensions when these axes are reduced, perhaps `rows` among them.
fn reduced(
    cx: &Infer<'_>,
    x: &ValueSpec,
    axes: &[u32],
    (keep, rows): (bool, bool),
) -> Result<Vec<Dim>, GraphError> {
    if axes.len() > x.rank() {
        return Err(cx.argument("axes", "each axis once", &axes.len()));
    }
    let mut gone = vec![axes.is_empty(); x.rank()];
    for &axis in axes {
        gone[cx.axis(axis, x.rank())?] = true;
    }
    let mut dims = Vec::with_capacity(x.rank());
    for (dim, gone) in x.dims.iter().zip(gone) {
        if gone && !rows {
            cx.not_rows(dim)?;
        }
        match (gone, keep) {
            (false, _) => dims.push(dim.clone()),
            (true, true) => dims.push(Dim::Fixed(1)),
            (true, false) => {}
        }
    }
    Ok(dims)
}

/// The reduced axes as one middle axis, if they touch.
fn lanes(shape: &[usize], gone: &[bool]) -> Option<Lanes> {
    let start = gone.iter().position(|&gone| gone).unwrap_or(shape.len());
    let len = gone[start..].iter().take_while(|&&gone| gone).count();
    let touch = !gone[start + len..].contains(&true);
    touch.then(|| Lanes::of(shape, start..start + len))
}

impl ReduceKind {
    fn float(self) -> Reduction {
        match self {
            ReduceKind::Sum => Reduction::Sum,
            ReduceKind::Mean => Reduction::Mean,
            ReduceKind::Prod => Reduction::Prod,
            ReduceKind::Max => Reduction::Max,
            ReduceKind::Min => Reduction::Min,
        }
    }

    fn integer(self) -> Result<IntReduction, RunError> {
        match self {
            ReduceKind::Sum => Ok(IntReduction::Sum),
            ReduceKind::Prod => Ok(IntReduction::Prod),
            ReduceKind::Max => Ok(IntReduction::Max),
            ReduceKind::Min => Ok(IntReduction::Min),
            ReduceKind::Mean => Err(super::DTYPE_DEFECT),
        }
    }
}

impl OpRule for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "reduce-sum",
            ReduceKind::Mean => "reduce-mean",
            ReduceKind::Prod => "reduce-prod",
            ReduceKind::Max => "reduce-max",
            ReduceKind::Min => "reduce-min",
        }
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        match self.kind {
            ReduceKind::Mean => cx.float(x[0])?,
            ReduceKind::Sum | ReduceKind::Prod => cx.dtype(x[0], NUMERIC, is_numeric)?,
            ReduceKind::Max | ReduceKind::Min => {
                let known = |d| is_numeric(d) || d == DType::Bool;
                let expected = "bool, an integer of 8 to 64 bits or a float of 16 to 64 bits";
                cx.dtype(x[0], expected, known)?;
            }
        }
        // What takes extremes of all rows runs alone, unless the compiler replaces it.
        let rows = matches!(self.kind, ReduceKind::Max | ReduceKind::Min);
        let dims = reduced(cx, x[0], &self.axes, (self.keep, rows))?;
        Ok(vec![ValueSpec::new(x[0].dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        inputs[0].elements() as u64
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        let gone: Vec<bool> = (0..x.shape.rank() as u32)
            .map(|axis| self.axes.is_empty() || self.axes.contains(&axis))
            .collect();
        let moved;
        let (bytes, lanes) = match lanes(&x.shape, &gone) {
            Some(lanes) => (x.bytes, lanes),
            None => {
                // Axes that do not touch: the reduced ones go last.
                let axes = 0..x.shape.rank();
                let order: Vec<usize> = axes
                    .clone()
                    .filter(|&axis| !gone[axis])
                    .chain(axes.filter(|&axis| gone[axis]))
                    .collect();
                let n =
                    order.iter().filter(|&&axis| gone[axis]).map(|&axis| x.shape[axis]).product();
                let mut buffer = BufferMut::uninit(x.bytes.len());
                transpose(call.team, size, x.bytes, &x.shape, &order, buffer.as_mut_slice());
                moved = buffer;
                (moved.as_slice(), Lanes { outer: out.shape.elements(), n, inner: 1 })
            }
        };
        match (x.dtype, self.kind) {
            (DType::F32, kind) => {
                reduce(call.team, kind.float(), lanes, numbers(bytes), out.numbers());
            }
            (DType::F64, kind) => {
                double::reduce(kind.float(), lanes, numbers(bytes), out.numbers());
            }
            (DType::Bool, kind) => reduce_bool(kind == ReduceKind::Max, lanes, bytes, out.bytes),
            (dtype, kind) => with_integer!(dtype, T => {
                reduce_int::<T>(kind.integer()?, lanes, numbers(bytes), out.numbers());
            }, else return Err(super::DTYPE_DEFECT)),
        }
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }
}

impl OpRule for ArgExtreme {
    fn name(&self) -> &'static str {
        if self.largest { "arg-max" } else { "arg-min" }
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], NUMERIC, is_numeric)?;
        let axis = cx.lane_axis(self.axis, x[0])?;
        if x[0].dims[axis] == Dim::Fixed(0) {
            return Err(cx.argument("axis", "an extent above 0", &0));
        }
        let dims = reduced(cx, x[0], &[self.axis], (self.keep, false))?;
        Ok(vec![ValueSpec::new(DType::I64, dims)])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        inputs[0].elements() as u64
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let axis = self.axis as usize;
        let lanes = Lanes::of(&x.shape, axis..axis + 1);
        if lanes.n == 0 {
            let reason = "the axis has no elements";
            return Err(RunError::Dims { what: self.name().to_owned(), reason });
        }
        with_number!(x.dtype, T => match self.largest {
            true => arg_max::<T>(lanes, x.numbers(), out.numbers()),
            false => arg_min::<T>(lanes, x.numbers(), out.numbers()),
        }, else return Err(super::DTYPE_DEFECT));
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }
}

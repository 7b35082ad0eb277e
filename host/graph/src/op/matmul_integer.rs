//! Matrix products of 8-bit integers.

use super::matmul::{pairs, product_dims};
use super::{Arg, Call, Infer, Op, OpRule, last_extent, row_count};
use crate::prepared::{Prepared, Source};
use crate::{Dim, GraphError, PlanError, RunError, ValueSpec};
use aimass_cpu::elementwise::Broadcast;
use aimass_cpu::matmul::{
    IntegerRows, PackedIntegers, ProductScale, ZeroPoints, matmul_integer, matmul_integer_scaled,
};
use aimass_cpu::view::numbers_mut;
use aimass_tensor::{DType, Shape};

/// `Σ (x - x_zero) (y - y_zero)` over the last axis of `x` and the last but one of `y`, leading axes
/// broadcast (ONNX `MatMulInteger-10`); exact modulo 2^32.
///
/// | tensor   | shape                            | dtype    |
/// |----------|----------------------------------|----------|
/// | `x`      | `[.., m, k]` or `[k]`            | u8 or i8 |
/// | `y`      | `[.., k, n]` or `[k]`            | u8 or i8 |
/// | `x_zero` | `[]`, `[1]`, `[m]`, `[.., m, 1]` | as `x`   |
/// | `y_zero` | `[]`, `[1]`, `[n]`, `[.., 1, n]` | as `y`   |
/// | output   | `[.., m, n]`                     | i32      |
///
/// A constant matrix `y` is packed when the plan is compiled. Each output row depends on its row
/// and its zero point only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MatMulInteger {
    pub(crate) x_zero: bool,
    pub(crate) y_zero: bool,
    /// What becomes of the sums; the compiler pulls conversions into the op.
    pub(crate) end: IntegerEnd,
    /// The matrix `y`, which then is no input any more.
    pub(crate) packed: Option<Prepared<PackedIntegers>>,
}

/// How the sums of a product of integers leave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntegerEnd {
    /// As they are.
    I32,
    /// As f32.
    F32,
    /// As f32 times the last input: one number, or one a column.
    Scaled,
}

fn is_byte(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::I8)
}

/// Requires zero points of all, or one a row (else one a column) of a side.
fn check_zero(
    cx: &mut Infer<'_>,
    zero: &ValueSpec,
    of: &ValueSpec,
    rows: bool,
) -> Result<(), GraphError> {
    cx.alike(of, zero)?;
    let one = |dim: &Dim| *dim == Dim::Fixed(1);
    let expected = match rows {
        true => "zero points of [], [1], [m] or [.., m, 1]",
        false => "zero points of [], [1], [n] or [.., 1, n]",
    };
    let wrong = || {
        let expected = format!("{expected} for {of}");
        Err(GraphError::Shape { op: cx.op, expected, got: zero.to_string() })
    };
    if zero.dims.iter().all(one) {
        return Ok(());
    }
    let rank = of.rank();
    if rank < 2 {
        return wrong();
    }
    let (own, other) = if rows { (rank - 2, rank - 1) } else { (rank - 1, rank - 2) };
    if zero.rank() == 1 {
        return cx.dims.same(cx.op, &zero.dims[0], &of.dims[own]).map(drop);
    }
    if zero.rank() != rank || !one(&zero.dims[other]) {
        return wrong();
    }
    for axis in (0..rank).filter(|&axis| axis != other) {
        cx.dims.same(cx.op, &zero.dims[axis], &of.dims[axis])?;
    }
    Ok(())
}

/// Zero points of one side as numbers.
struct Zeros(Vec<i32>);

impl Zeros {
    fn of(zero: Option<&Arg<'_>>) -> Zeros {
        let Some(zero) = zero else { return Zeros(vec![0]) };
        let number = |&bits: &u8| match zero.dtype {
            DType::I8 => i32::from(bits as i8),
            _ => i32::from(bits),
        };
        Zeros(zero.bytes.iter().map(number).collect())
    }

    /// One for each of `rows` rows, where they are not all the same.
    fn repeated(self, rows: usize) -> Zeros {
        match self.0.len() {
            1 => self,
            _ => Zeros(self.0.iter().copied().cycle().take(rows).collect()),
        }
    }

    /// Those of matrix number `index`, which has `len` rows (or columns).
    fn item(&self, index: usize, len: usize) -> ZeroPoints<'_> {
        match &self.0[..] {
            &[zero] => ZeroPoints::One(zero),
            all if all.len() == len => ZeroPoints::Each(all),
            all => ZeroPoints::Each(&all[index * len..][..len]),
        }
    }
}

impl MatMulInteger {
    /// The zero points among inputs of which the first `skip` are the matrices.
    pub(crate) fn zeros<T: Copy>(&self, inputs: &[T], skip: usize) -> [Option<T>; 2] {
        let at = |index: usize| inputs.get(index).copied();
        let x_zero = if self.x_zero { at(skip) } else { None };
        let y_zero = if self.y_zero { at(skip + usize::from(self.x_zero)) } else { None };
        [x_zero, y_zero]
    }
}

impl OpRule for MatMulInteger {
    fn name(&self) -> &'static str {
        "matmul-integer"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        for value in &x[..2] {
            cx.dtype(value, "u8 or i8", is_byte)?;
        }
        let dims = product_dims(cx, x[0], x[1])?;
        let [x_zero, y_zero] = self.zeros(x, 2);
        if let Some(zero) = x_zero {
            check_zero(cx, zero, x[0], true)?;
        }
        if let Some(zero) = y_zero {
            check_zero(cx, zero, x[1], false)?;
        }
        Ok(vec![ValueSpec::new(DType::I32, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        2 * (outputs[0].elements() as u64).saturating_mul(last_extent(&inputs[0]) as u64)
    }

    fn prepared(&self, inputs: &[Source<'_>]) -> Result<Option<(Op, Vec<usize>)>, PlanError> {
        let (y, Some(known)) = (inputs[1].spec, inputs[1].known()) else { return Ok(None) };
        if y.rank() != 2 {
            return Ok(None);
        }
        let signed = y.dtype == DType::I8;
        let packed = Prepared::of("integers", &[known], || {
            let tensor = known.load()?;
            let (k, n) = (tensor.shape()[0], tensor.shape()[1]);
            Ok(PackedIntegers::pack(k, n, tensor.bytes(), signed))
        })?;
        let op = MatMulInteger { packed: Some(packed), ..self.clone() };
        let kept = (0..inputs.len()).filter(|&input| input != 1).collect();
        Ok(Some((Op::MatMulInteger(op), kept)))
    }

    fn prepared_bytes(&self) -> u64 {
        self.packed.as_ref().map_or(0, |packed| packed.bytes() as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let x = &call.inputs[0];
        let (k, rows, rank) = (last_extent(&x.shape), row_count(&x.shape), x.shape.rank());
        let m = if rank > 1 { x.shape[rank - 2] } else { 1 };
        let all = IntegerRows { data: x.bytes, rows, k, signed: x.dtype == DType::I8 };
        let skip = if self.packed.is_some() { 1 } else { 2 };
        let [x_zero, y_zero] = self.zeros(&[0, 1, 2, 3, 4][..call.inputs.len()], skip);
        let zero = |input: Option<usize>| Zeros::of(input.map(|input| &call.inputs[input]));
        let (left, right) = (zero(x_zero), zero(y_zero));
        let scale = match (self.end, call.inputs.last()) {
            (IntegerEnd::Scaled, Some(scale)) => Some(scale.numbers::<f32>()),
            (IntegerEnd::F32, _) => Some(&[1.0][..]),
            (IntegerEnd::I32 | IntegerEnd::Scaled, _) => None,
        };
        let (team, out) = (call.team, &mut call.outputs[0]);
        let multiply = |rows: IntegerRows<'_>, packed: &_, zeros, out: &mut [u8]| match scale {
            None => matmul_integer(team, rows, packed, zeros, numbers_mut(out)),
            Some(scale) => {
                let scale = match scale {
                    &[scale] => ProductScale::One(scale),
                    all => ProductScale::Each(all),
                };
                matmul_integer_scaled(team, rows, packed, zeros, scale, numbers_mut(out));
            }
        };
        if let Some(packed) = &self.packed {
            let left = left.repeated(rows);
            let zeros = [left.item(0, rows), right.item(0, packed.n())];
            multiply(all, packed, zeros, out.bytes);
            return Ok(());
        }
        let y = &call.inputs[1];
        let n = if y.shape.rank() > 1 { last_extent(&y.shape) } else { 1 };
        let lead = |shape: &Shape| Shape::new(&shape[..shape.rank().saturating_sub(2)]);
        let (Ok(xs), Ok(ys)) = (lead(&x.shape), lead(&y.shape)) else {
            return Err(RunError::Internal("leading extents overflow"));
        };
        let Some(plan) = Broadcast::new([&xs, &ys]) else {
            return Err(RunError::Internal("shapes that do not broadcast were inferred"));
        };
        let matrices = out.bytes.chunks_exact_mut((m * n * size_of::<i32>()).max(1));
        for ((i, j), out) in pairs(&plan, &xs, &ys).into_iter().zip(matrices) {
            let own = &y.bytes[j * k * n..][..k * n];
            let packed = PackedIntegers::pack(k, n, own, y.dtype == DType::I8);
            let rows = IntegerRows { data: &x.bytes[i * m * k..][..m * k], rows: m, ..all };
            multiply(rows, &packed, [left.item(i, m), right.item(j, n)], out);
        }
        Ok(())
    }
}

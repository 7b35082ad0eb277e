//! Ops that make each element from the elements at its place.

use super::{Node, Site, float_form};
use crate::device::call::Lowered;
use crate::op::{
    Arithmetic, Binary, BinaryKind, BitKind, Cast, Clamp, Compare, Logic, Op, Select, Unary,
    UnaryKind, is_integer, with_integer,
};
use aimass_cuda::binary::{self, Operands};
use aimass_cuda::cast::{cast as launch_cast, castable};
use aimass_cuda::fused::Function as Fused;
use aimass_cuda::select::{Choice, select as launch_select};
use aimass_cuda::unary::{
    FloatTest, IntUnary, Unary as Function, unary as launch_unary, unary_int, unary_test,
};
use aimass_tensor::DType;

/// What an elementwise op computes within a larger kernel, for a first operand of this dtype; none for
/// other ops, and where its own kernel computes something else.
pub(in crate::device) fn function(op: &Op, dtype: DType) -> Option<Fused> {
    match op {
        Op::Unary(op) => match integer_function(op.kind).filter(|_| !dtype.is_float()) {
            Some(function) => Some(Fused::IntUnary(function)),
            None => {
                test(op.kind).map(Fused::Test).or_else(|| own_function(op.kind).map(Fused::Unary))
            }
        },
        Op::Binary(op) => Some(match op.kind {
            BinaryKind::Arithmetic(op) => Fused::Arithmetic(arithmetic(op)),
            BinaryKind::Logic(op) => Fused::Logical(logical(op)),
            BinaryKind::Bits(op) => Fused::Bits(bits(op)),
            BinaryKind::Compare(op) => Fused::Compare(comparison(op)),
        }),
        Op::Clamp(op) => match is_integer(dtype) {
            true => whole_bounds(op, dtype).map(Fused::IntUnary),
            false => Some(Fused::Unary(float_bounds(op))),
        },
        Op::Select(_) => Some(Fused::Select),
        Op::Cast(op) => Some(Fused::Cast(op.dtype)),
        _ => None,
    }
}

pub(super) fn unary(site: &Site<'_>, op: &Unary, node: Node<'_>) -> Option<Lowered> {
    let dtype = site.spec(node.inputs[0]).dtype;
    if let Some(function) = integer_function(op.kind).filter(|_| !dtype.is_float()) {
        return Some(whole(function, dtype));
    }
    let form = float_form(dtype)?;
    if let Some(test) = test(op.kind) {
        return Some(Lowered::new(move |call| {
            let (x, y) = (&call.inputs[0], &call.outputs[0]);
            unary_test(call.queue, test, form, (x.slice, y.slice), y.elements())
        }));
    }
    let function = own_function(op.kind)?;
    Some(Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        launch_unary(call.queue, function, form, (x.slice, y.slice), y.elements())
    }))
}

fn whole(function: IntUnary, dtype: DType) -> Lowered {
    Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        unary_int(call.queue, function, dtype, (x.slice, y.slice), y.elements())
    })
}

/// The function of a float.
fn own_function(kind: UnaryKind) -> Option<Function> {
    use UnaryKind as K;
    Some(match kind {
        K::Neg => Function::Negate,
        K::Abs => Function::Abs,
        K::Sign => Function::Sign,
        K::Exp => Function::Exp,
        K::Log => Function::Log,
        K::Sqrt => Function::Sqrt,
        K::Rsqrt => Function::ReciprocalSqrt,
        K::Reciprocal => Function::Reciprocal,
        K::Sin => Function::Sin,
        K::Cos => Function::Cos,
        K::Tan => Function::Tan,
        K::Asin => Function::Asin,
        K::Acos => Function::Acos,
        K::Atan => Function::Atan,
        K::Sinh => Function::Sinh,
        K::Cosh => Function::Cosh,
        K::Tanh => Function::Tanh,
        K::Asinh => Function::Asinh,
        K::Acosh => Function::Acosh,
        K::Atanh => Function::Atanh,
        K::Erf => Function::Erf,
        K::Floor => Function::Floor,
        K::Ceil => Function::Ceil,
        K::Round => Function::Round,
        K::Sigmoid => Function::Sigmoid,
        K::Relu => Function::Relu,
        K::Silu => Function::Silu,
        K::Softplus => Function::Softplus,
        K::Gelu => Function::Gelu,
        K::GeluTanh => Function::GeluTanh,
        K::HardSwish => Function::HardSwish,
        K::LeakyRelu { alpha } => Function::LeakyRelu { alpha },
        K::Elu { alpha } => Function::Elu { alpha },
        K::HardSigmoid { alpha, beta } => Function::HardSigmoid { alpha, beta },
        K::LogicalNot | K::BitNot | K::IsNan | K::IsInf => return None,
    })
}

/// The function of an integer or bool, if it has one.
fn integer_function(kind: UnaryKind) -> Option<IntUnary> {
    let functions = [
        (UnaryKind::Neg, IntUnary::Negate),
        (UnaryKind::Abs, IntUnary::Abs),
        (UnaryKind::Sign, IntUnary::Sign),
        (UnaryKind::Relu, IntUnary::Relu),
        (UnaryKind::BitNot, IntUnary::Invert),
        (UnaryKind::LogicalNot, IntUnary::Not),
    ];
    functions.into_iter().find(|(own, _)| *own == kind).map(|(_, function)| function)
}

fn test(kind: UnaryKind) -> Option<FloatTest> {
    let tests = [(UnaryKind::IsNan, FloatTest::IsNan), (UnaryKind::IsInf, FloatTest::IsInf)];
    tests.into_iter().find(|(own, _)| *own == kind).map(|(_, test)| test)
}

pub(super) fn binary(site: &Site<'_>, op: &Binary, node: Node<'_>) -> Option<Lowered> {
    let dtype = site.spec(node.inputs[0]).dtype;
    if !binary::is_numeric(dtype) && dtype != DType::Bool {
        return None;
    }
    let kind = op.kind;
    Some(Lowered::new(move |call| {
        let (a, b) = (&call.inputs[0], &call.inputs[1]);
        let both = Operands {
            dtype,
            a: (a.slice, &a.shape),
            b: (b.slice, &b.shape),
            out: call.outputs[0].slice,
        };
        match kind {
            BinaryKind::Arithmetic(op) => binary::arithmetic(call.queue, arithmetic(op), &both),
            BinaryKind::Logic(op) => binary::logical(call.queue, logical(op), &both),
            BinaryKind::Bits(op) => binary::bitwise(call.queue, bits(op), &both),
            BinaryKind::Compare(op) => binary::compare(call.queue, comparison(op), &both),
        }
    }))
}

fn arithmetic(op: Arithmetic) -> binary::Arithmetic {
    match op {
        Arithmetic::Add => binary::Arithmetic::Add,
        Arithmetic::Sub => binary::Arithmetic::Sub,
        Arithmetic::Mul => binary::Arithmetic::Mul,
        Arithmetic::Div => binary::Arithmetic::Div,
        Arithmetic::Rem => binary::Arithmetic::Rem,
        Arithmetic::Pow => binary::Arithmetic::Pow,
        Arithmetic::Maximum => binary::Arithmetic::Max,
        Arithmetic::Minimum => binary::Arithmetic::Min,
    }
}

fn logical(op: Logic) -> binary::Logical {
    match op {
        Logic::And => binary::Logical::And,
        Logic::Or => binary::Logical::Or,
        Logic::Xor => binary::Logical::Xor,
    }
}

fn bits(op: BitKind) -> binary::BitOp {
    match op {
        BitKind::And => binary::BitOp::And,
        BitKind::Or => binary::BitOp::Or,
        BitKind::Xor => binary::BitOp::Xor,
        BitKind::ShiftLeft => binary::BitOp::ShiftLeft,
        BitKind::ShiftRight => binary::BitOp::ShiftRight,
    }
}

fn comparison(op: Compare) -> binary::Comparison {
    match op {
        Compare::Equal => binary::Comparison::Equal,
        Compare::NotEqual => binary::Comparison::NotEqual,
        Compare::Less => binary::Comparison::Less,
        Compare::LessEqual => binary::Comparison::LessEqual,
        Compare::Greater => binary::Comparison::Greater,
        Compare::GreaterEqual => binary::Comparison::GreaterEqual,
    }
}

/// Bounds of integers; they saturate to the dtype, so that the comparison is exact.
#[expect(clippy::unnecessary_cast, reason = "T may be i64")]
fn whole_bounds(op: &Clamp, dtype: DType) -> Option<IntUnary> {
    let (low, high) = with_integer!(dtype, T => {
        (op.low.ceil() as T as i64, op.high.floor() as T as i64)
    }, else return None);
    Some(IntUnary::Clamp { low, high })
}

fn float_bounds(op: &Clamp) -> Function {
    Function::Clamp { low: op.low as f32, high: op.high as f32 }
}

pub(super) fn clamp(site: &Site<'_>, op: &Clamp, node: Node<'_>) -> Option<Lowered> {
    let dtype = site.spec(node.inputs[0]).dtype;
    if is_integer(dtype) {
        return whole_bounds(op, dtype).map(|bounds| whole(bounds, dtype));
    }
    let form = float_form(dtype)?;
    let function = float_bounds(op);
    Some(Lowered::new(move |call| {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        launch_unary(call.queue, function, form, (x.slice, y.slice), y.elements())
    }))
}

pub(super) fn select(site: &Site<'_>, _: &Select, node: Node<'_>) -> Option<Lowered> {
    let size = site.spec(node.inputs[1]).dtype.size().filter(|size| *size <= 8)?;
    Some(Lowered::new(move |call| {
        let [condition, x, y] =
            [0, 1, 2].map(|i: usize| (call.inputs[i].slice, &call.inputs[i].shape[..]));
        let out = call.outputs[0].slice;
        launch_select(call.queue, &Choice { size, condition, x, y, out })
    }))
}

pub(super) fn cast(site: &Site<'_>, op: &Cast, node: Node<'_>) -> Option<Lowered> {
    let (from, to) = (site.spec(node.inputs[0]).dtype, op.dtype);
    castable(from, to).then(|| {
        Lowered::new(move |call| {
            let (x, y) = (&call.inputs[0], &call.outputs[0]);
            launch_cast(call.queue, (x.slice, from), (y.slice, to), y.elements())
        })
    })
}

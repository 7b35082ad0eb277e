//! Elementwise ops of two arguments of one dtype, with numpy broadcasting.

use super::{Call, Infer, NUMERIC, OpRule, RowForm, is_integer, is_numeric};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::elementwise::{self, BitOp, Broadcast, Comparison, Logical, Operands};
use aimass_tensor::DType;

/// Arithmetic on numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Pow,
    Maximum,
    Minimum,
}

/// Connectives of bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// Bitwise ops on integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BitKind {
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// Comparisons, which answer bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Which op of two arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryKind {
    Arithmetic(Arithmetic),
    Logic(Logic),
    Bits(BitKind),
    Compare(Compare),
}

/// `z = f(x, y)`, element by element.
///
/// | tensor | shape                       | dtype                       |
/// |--------|-----------------------------|-----------------------------|
/// | `x`    | any                         | number, bool or integer     |
/// | `y`    | broadcasts with `x`         | as `x`                      |
/// | output | broadcast of both           | as `x`; bool if it compares |
///
/// A row dimension meets itself or an extent of 1, else rows would mix.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binary {
    pub(crate) kind: BinaryKind,
}

impl Arithmetic {
    pub(crate) fn kernel(self) -> elementwise::Binary {
        match self {
            Arithmetic::Add => elementwise::Binary::Add,
            Arithmetic::Sub => elementwise::Binary::Sub,
            Arithmetic::Mul => elementwise::Binary::Mul,
            Arithmetic::Div => elementwise::Binary::Div,
            Arithmetic::Rem => elementwise::Binary::Rem,
            Arithmetic::Pow => elementwise::Binary::Pow,
            Arithmetic::Maximum => elementwise::Binary::Max,
            Arithmetic::Minimum => elementwise::Binary::Min,
        }
    }
}

impl Logic {
    fn kernel(self) -> Logical {
        match self {
            Logic::And => Logical::And,
            Logic::Or => Logical::Or,
            Logic::Xor => Logical::Xor,
        }
    }
}

impl BitKind {
    fn kernel(self) -> BitOp {
        match self {
            BitKind::And => BitOp::And,
            BitKind::Or => BitOp::Or,
            BitKind::Xor => BitOp::Xor,
            BitKind::ShiftLeft => BitOp::ShiftLeft,
            BitKind::ShiftRight => BitOp::ShiftRight,
        }
    }
}

impl Compare {
    fn kernel(self) -> Comparison {
        match self {
            Compare::Equal => Comparison::Equal,
            Compare::NotEqual => Comparison::NotEqual,
            Compare::Less => Comparison::Less,
            Compare::LessEqual => Comparison::LessEqual,
            Compare::Greater => Comparison::Greater,
            Compare::GreaterEqual => Comparison::GreaterEqual,
        }
    }
}

impl OpRule for Binary {
    fn name(&self) -> &'static str {
        match self.kind {
            BinaryKind::Arithmetic(Arithmetic::Add) => "add",
            BinaryKind::Arithmetic(Arithmetic::Sub) => "sub",
            BinaryKind::Arithmetic(Arithmetic::Mul) => "mul",
            BinaryKind::Arithmetic(Arithmetic::Div) => "div",
            BinaryKind::Arithmetic(Arithmetic::Rem) => "rem",
            BinaryKind::Arithmetic(Arithmetic::Pow) => "pow",
            BinaryKind::Arithmetic(Arithmetic::Maximum) => "maximum",
            BinaryKind::Arithmetic(Arithmetic::Minimum) => "minimum",
            BinaryKind::Logic(Logic::And) => "logical-and",
            BinaryKind::Logic(Logic::Or) => "logical-or",
            BinaryKind::Logic(Logic::Xor) => "logical-xor",
            BinaryKind::Bits(BitKind::And) => "bit-and",
            BinaryKind::Bits(BitKind::Or) => "bit-or",
            BinaryKind::Bits(BitKind::Xor) => "bit-xor",
            BinaryKind::Bits(BitKind::ShiftLeft) => "shift-left",
            BinaryKind::Bits(BitKind::ShiftRight) => "shift-right",
            BinaryKind::Compare(Compare::Equal) => "equal",
            BinaryKind::Compare(Compare::NotEqual) => "not-equal",
            BinaryKind::Compare(Compare::Less) => "less",
            BinaryKind::Compare(Compare::LessEqual) => "less-equal",
            BinaryKind::Compare(Compare::Greater) => "greater",
            BinaryKind::Compare(Compare::GreaterEqual) => "greater-equal",
        }
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, y) = (x[0], x[1]);
        if x.dtype != y.dtype {
            return Err(GraphError::DTypes { op: cx.op, left: x.dtype, right: y.dtype });
        }
        let out = match self.kind {
            BinaryKind::Arithmetic(_) => {
                cx.dtype(x, NUMERIC, is_numeric)?;
                x.dtype
            }
            BinaryKind::Logic(_) => {
                cx.dtype(x, "bool", |d| d == DType::Bool)?;
                x.dtype
            }
            BinaryKind::Bits(_) => {
                cx.dtype(x, "an integer of 8 to 64 bits", is_integer)?;
                x.dtype
            }
            BinaryKind::Compare(_) => {
                let known = |d| is_numeric(d) || d == DType::Bool;
                cx.dtype(x, "bool, an integer of 8 to 64 bits or a float of 16 to 64 bits", known)?;
                DType::Bool
            }
        };
        let dims = cx.dims.broadcast_all(cx.op, &x.dims, &y.dims)?;
        Ok(vec![ValueSpec::new(out, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, y, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let Some(plan) = Broadcast::new([&x.shape, &y.shape]) else {
            return Err(RunError::Internal("shapes that do not broadcast were inferred"));
        };
        let both = Operands { dtype: x.dtype, a: x.bytes, b: y.bytes };
        let known = match self.kind {
            BinaryKind::Arithmetic(kind) if x.dtype == DType::F32 => {
                let (shapes, out): ([&[usize]; 2], _) =
                    ([&x.shape, &y.shape], out.numbers::<f32>());
                let (x, y) = (x.numbers::<f32>(), y.numbers::<f32>());
                elementwise::binary_split(call.team, kind.kernel(), shapes, x, y, out);
                true
            }
            BinaryKind::Arithmetic(kind) => {
                elementwise::binary_typed(kind.kernel(), &plan, &both, out.bytes)
            }
            BinaryKind::Logic(kind) => {
                elementwise::logical(kind.kernel(), &plan, x.bytes, y.bytes, out.bytes);
                true
            }
            BinaryKind::Bits(kind) => {
                elementwise::bitwise_typed(kind.kernel(), &plan, &both, out.bytes)
            }
            BinaryKind::Compare(kind) => {
                elementwise::compare_typed(kind.kernel(), &plan, &both, out.bytes)
            }
        };
        if known { Ok(()) } else { Err(super::DTYPE_DEFECT) }
    }

    fn widens(&self) -> bool {
        true
    }

    fn row_form(&self) -> Option<RowForm> {
        match self.kind {
            BinaryKind::Arithmetic(kind) => Some(RowForm::Binary(kind)),
            BinaryKind::Logic(_) | BinaryKind::Bits(_) | BinaryKind::Compare(_) => None,
        }
    }
}

//! Functions of two numbers, element by element, with numpy's broadcasting.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Address, Form, is_signed};
use crate::layout::{Broadcast, pack_size};
use crate::memory::Slice;
use crate::parameters::{Broadcasting, ELEMENTWISE_THREADS};
use crate::queue::Queue;
use aimass_tensor::DType;

/// Arithmetic of two numbers of one type; in the order of `enum Arithmetic` in `binary.cu`.
///
/// Integer overflow wraps; an integer divided by 0 gives 0, as does its remainder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Arithmetic {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a b`.
    Mul,
    /// `a / b`; integers round towards 0.
    Div,
    /// Remainder with the sign of `a` (C `fmod`).
    Rem,
    /// `a` to the power `b`; an integer to a negative power rounds towards 0.
    Pow,
    /// The larger; NaN if either is.
    Max,
    /// The smaller; NaN if either is.
    Min,
}

/// Comparison of two numbers; false if one is NaN, but for `NotEqual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the relation's usual name")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Operation on the bits of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOp {
    /// `a & b`.
    And,
    /// `a | b`.
    Or,
    /// `a ^ b`.
    Xor,
    /// `a << b`; 0 from the width of the type on.
    ShiftLeft,
    /// `a >> b`, keeping the sign; 0 or -1 from the width of the type on.
    ShiftRight,
}

/// Connective of two bools: 0 is false, anything else true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    /// Both.
    And,
    /// At least one.
    Or,
    /// Exactly one.
    Xor,
}

/// Operation on integers of one size; in the order of `enum Whole` in `binary.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Whole {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
    ShiftRightSigned,
    Larger,
    LargerSigned,
    Smaller,
    SmallerSigned,
    Both,
    Any,
    One,
    Quotient,
    QuotientSigned,
    Remainder,
    RemainderSigned,
    Power,
    PowerSigned,
}

/// The outcomes of a comparison, as bits: less, equal, greater; bit 0 is that one is no number.
const LESS: u32 = 2;
const EQUAL: u32 = 4;
const GREATER: u32 = 8;

impl Arithmetic {
    /// Whether the code of floats is long.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, Arithmetic::Rem | Arithmetic::Pow)
    }
}

impl Whole {
    pub(crate) fn of_arithmetic(op: Arithmetic, signed: bool) -> Whole {
        let either = |signed_op: Whole, unsigned: Whole| if signed { signed_op } else { unsigned };
        match op {
            Arithmetic::Add => Whole::Add,
            Arithmetic::Sub => Whole::Sub,
            Arithmetic::Mul => Whole::Mul,
            Arithmetic::Div => either(Whole::QuotientSigned, Whole::Quotient),
            Arithmetic::Rem => either(Whole::RemainderSigned, Whole::Remainder),
            Arithmetic::Pow => either(Whole::PowerSigned, Whole::Power),
            Arithmetic::Max => either(Whole::LargerSigned, Whole::Larger),
            Arithmetic::Min => either(Whole::SmallerSigned, Whole::Smaller),
        }
    }

    pub(crate) fn of_bits(op: BitOp, signed: bool) -> Whole {
        match (op, signed) {
            (BitOp::And, _) => Whole::And,
            (BitOp::Or, _) => Whole::Or,
            (BitOp::Xor, _) => Whole::Xor,
            (BitOp::ShiftLeft, _) => Whole::ShiftLeft,
            (BitOp::ShiftRight, false) => Whole::ShiftRight,
            (BitOp::ShiftRight, true) => Whole::ShiftRightSigned,
        }
    }

    pub(crate) fn of_logical(op: Logical) -> Whole {
        match op {
            Logical::And => Whole::Both,
            Logical::Or => Whole::Any,
            Logical::Xor => Whole::One,
        }
    }

    /// Whether the code is long.
    pub(crate) fn is_long(self) -> bool {
        self as u32 >= Whole::Quotient as u32
    }
}

impl Comparison {
    /// The form of the kernel, the outcomes for which the answer is yes, and the bit to invert; none
    /// for a dtype that has no kernel.
    pub(crate) fn parameters(self, dtype: DType) -> Option<(Form, u32, u64)> {
        let holds = match self {
            Comparison::Equal => EQUAL,
            Comparison::NotEqual => !EQUAL,
            Comparison::Less => LESS,
            Comparison::LessEqual => LESS | EQUAL,
            Comparison::Greater => GREATER,
            Comparison::GreaterEqual => GREATER | EQUAL,
        };
        let integer =
            || if dtype == DType::Bool { Some(Form::B8) } else { Form::of_integer(dtype) };
        let form = Form::of_float(dtype).or_else(integer)?;
        // Without its first bit inverted a negative integer would be larger than others.
        let flip = if is_signed(dtype) { 1 << (8 * form.bytes() - 1) } else { 0 };
        Some((form, holds, flip))
    }
}

/// Two operands of one dtype, dense, and where the result goes: the elements of their joint shape.
///
/// The result may be in the place of an operand that has the joint shape and elements of its size.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'s> {
    /// Dtype of both.
    pub dtype: DType,
    /// The first, and its shape.
    pub a: (Slice<'s>, &'s [usize]),
    /// The second, and its shape.
    pub b: (Slice<'s>, &'s [usize]),
    /// The result, of the same dtype or of bool.
    pub out: Slice<'s>,
}

const NO_KERNEL: DeviceError = DeviceError::Defect("no kernel for two operands of this dtype");

/// Whether [`arithmetic`] and [`compare`] have a kernel: f16, bf16, f32, integers of 8 to 64 bits
/// (and bool, to compare).
pub fn is_numeric(dtype: DType) -> bool {
    Form::of_float(dtype).is_some() || Form::of_integer(dtype).is_some()
}

/// `out = op(a, b)`; floats in f32, rounded once.
///
/// # Errors
/// [`DeviceError::Defect`] for another dtype (see [`is_numeric`]), shapes that do not broadcast or an
/// operand that is too short; a refused launch.
pub fn arithmetic(
    queue: &mut Queue<'_>,
    op: Arithmetic,
    operands: &Operands<'_>,
) -> Result<(), DeviceError> {
    if let Some(form) = Form::of_float(operands.dtype) {
        // The long functions have one copy of code, for single elements.
        let single = op.is_long();
        let size = form.bytes();
        let Some((layout, a, b)) = operands.layout(size, size, single)? else { return Ok(()) };
        let y = operands.out.elements(layout.elements(), size)?;
        let kernel = entries::Binary { a, b, y, layout, op: op as u32 };
        return queue.launch(&kernel, form, queue.over(layout.groups.into(), ELEMENTWISE_THREADS));
    }
    let form = Form::of_integer(operands.dtype).ok_or(NO_KERNEL)?;
    whole_numbers(queue, Whole::of_arithmetic(op, is_signed(operands.dtype)), form, operands)
}

/// `out = a op b` as bools, 0 or 1.
///
/// # Errors
/// As [`arithmetic`].
pub fn compare(
    queue: &mut Queue<'_>,
    op: Comparison,
    operands: &Operands<'_>,
) -> Result<(), DeviceError> {
    let (form, holds, flip) = op.parameters(operands.dtype).ok_or(NO_KERNEL)?;
    let Some((layout, a, b)) = operands.layout(form.bytes(), 1, false)? else { return Ok(()) };
    let y = operands.out.elements(layout.elements(), 1)?;
    let kernel = entries::Compare { a, b, y, layout, holds, flip };
    queue.launch(&kernel, form, queue.over(layout.groups.into(), ELEMENTWISE_THREADS))
}

/// `out = a op b` on the bits of integers.
///
/// # Errors
/// As [`arithmetic`].
pub fn bitwise(
    queue: &mut Queue<'_>,
    op: BitOp,
    operands: &Operands<'_>,
) -> Result<(), DeviceError> {
    let whole = Whole::of_bits(op, is_signed(operands.dtype));
    let form = Form::of_integer(operands.dtype).ok_or(NO_KERNEL)?;
    whole_numbers(queue, whole, form, operands)
}

/// `out = a op b` on bools.
///
/// # Errors
/// As [`arithmetic`].
pub fn logical(
    queue: &mut Queue<'_>,
    op: Logical,
    operands: &Operands<'_>,
) -> Result<(), DeviceError> {
    match operands.dtype {
        DType::Bool => whole_numbers(queue, Whole::of_logical(op), Form::B8, operands),
        _ => Err(NO_KERNEL),
    }
}

fn whole_numbers(
    queue: &mut Queue<'_>,
    op: Whole,
    form: Form,
    operands: &Operands<'_>,
) -> Result<(), DeviceError> {
    let single = op.is_long();
    let size = form.bytes();
    let Some((layout, a, b)) = operands.layout(size, size, single)? else { return Ok(()) };
    let y = operands.out.elements(layout.elements(), size)?;
    let kernel = entries::BinaryWhole { a, b, y, layout, op: op as u32 };
    queue.launch(&kernel, form, queue.over(layout.groups.into(), ELEMENTWISE_THREADS))
}

impl Operands<'_> {
    /// Where elements of `size` bytes lie whose results have `out` bytes; none without elements.
    fn layout(
        &self,
        size: usize,
        out: usize,
        single: bool,
    ) -> Result<Option<(Broadcasting, Address, Address)>, DeviceError> {
        let plan = Broadcast::new([self.a.1, self.b.1])?;
        let [a, b] = plan.lengths();
        let (a, b) = (self.a.0.elements(a, size)?, self.b.0.elements(b, size)?);
        let pack = if single { 1 } else { pack_size(size) };
        let layout = plan.parameters(pack, [(self.a.0, size), (self.b.0, size)], (self.out, out));
        Ok((plan.elements() > 0).then_some((layout, a, b)))
    }
}

//! Functions of one number, element by element.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Form, is_signed};
use crate::layout::{common_width, pack_size};
use crate::memory::Slice;
use crate::parameters::ELEMENTWISE_THREADS;
use crate::queue::Queue;
use aimass_tensor::DType;

/// A function of one float, computed in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "those without a line are named after their function")]
pub enum Unary {
    Abs,
    Negate,
    /// 1, -1, or the zero or NaN itself.
    Sign,
    Sqrt,
    ReciprocalSqrt,
    Reciprocal,
    Floor,
    Ceil,
    /// To the nearest, halves to even.
    Round,
    Exp,
    Tanh,
    Sigmoid,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// `x / 2 (1 + erf(x / sqrt 2))`.
    Gelu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    Silu,
    /// `x min(max(x / 6 + 1 / 2, 0), 1)`.
    HardSwish,
    /// `x`, or `alpha x` below 0.
    LeakyRelu {
        alpha: f32,
    },
    /// `min(max(alpha x + beta, 0), 1)`; NaN stays NaN.
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    /// `min(max(x, low), high)`; NaN stays NaN.
    Clamp {
        low: f32,
        high: f32,
    },
    Erf,
    Log,
    Softplus,
    /// `x`, or `alpha (e^x - 1)` below 0.
    Elu {
        alpha: f32,
    },
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
}

/// A function of one integer or bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntUnary {
    /// `-x`, wrapping.
    Negate,
    /// All bits inverted.
    Invert,
    /// `|x|`, wrapping.
    Abs,
    /// 1, 0 or -1.
    Sign,
    /// `max(x, 0)`.
    Relu,
    /// 1 for 0, otherwise 0: the other bool.
    Not,
    /// `min(max(x, low), high)`; bounds of u64 are its bits.
    Clamp {
        /// Least value.
        low: i64,
        /// Greatest value.
        high: i64,
    },
}

/// A question about one float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatTest {
    /// Whether it is not a number.
    IsNan,
    /// Whether it is an infinity.
    IsInf,
}

/// Number of the first function in `enum Function` of `unary.cu` whose code is long.
const LONG: u32 = 20;

impl Unary {
    /// Whether the code is long.
    pub(crate) fn is_long(self) -> bool {
        self.parameters().0 >= LONG
    }

    /// Its number in `enum Function` of `unary.cu`, and its parameters.
    pub(crate) fn parameters(self) -> (u32, f32, f32) {
        match self {
            Unary::Abs => (0, 0.0, 0.0),
            Unary::Negate => (1, 0.0, 0.0),
            Unary::Sign => (2, 0.0, 0.0),
            Unary::Sqrt => (3, 0.0, 0.0),
            Unary::ReciprocalSqrt => (4, 0.0, 0.0),
            Unary::Reciprocal => (5, 0.0, 0.0),
            Unary::Floor => (6, 0.0, 0.0),
            Unary::Ceil => (7, 0.0, 0.0),
            Unary::Round => (8, 0.0, 0.0),
            Unary::Exp => (9, 0.0, 0.0),
            Unary::Tanh => (10, 0.0, 0.0),
            Unary::Sigmoid => (11, 0.0, 0.0),
            Unary::Relu => (12, 0.0, 0.0),
            Unary::Gelu => (13, 0.0, 0.0),
            Unary::GeluTanh => (14, 0.0, 0.0),
            Unary::Silu => (15, 0.0, 0.0),
            Unary::HardSwish => (16, 0.0, 0.0),
            Unary::LeakyRelu { alpha } => (17, alpha, 0.0),
            Unary::HardSigmoid { alpha, beta } => (18, alpha, beta),
            Unary::Clamp { low, high } => (19, low, high),
            Unary::Erf => (20, 0.0, 0.0),
            Unary::Log => (21, 0.0, 0.0),
            Unary::Softplus => (22, 0.0, 0.0),
            Unary::Elu { alpha } => (23, alpha, 0.0),
            Unary::Sin => (24, 0.0, 0.0),
            Unary::Cos => (25, 0.0, 0.0),
            Unary::Tan => (26, 0.0, 0.0),
            Unary::Asin => (27, 0.0, 0.0),
            Unary::Acos => (28, 0.0, 0.0),
            Unary::Atan => (29, 0.0, 0.0),
            Unary::Sinh => (30, 0.0, 0.0),
            Unary::Cosh => (31, 0.0, 0.0),
            Unary::Asinh => (32, 0.0, 0.0),
            Unary::Acosh => (33, 0.0, 0.0),
            Unary::Atanh => (34, 0.0, 0.0),
        }
    }
}

impl IntUnary {
    /// Its number in `enum Whole` of `unary.cu` for integers with or without a sign, and the bounds;
    /// none if it changes nothing.
    pub(crate) fn parameters(self, signed: bool) -> Option<(u32, i64, i64)> {
        match (self, signed) {
            (IntUnary::Negate, _) => Some((0, 0, 0)),
            (IntUnary::Invert, _) => Some((1, 0, 0)),
            (IntUnary::Abs, true) => Some((2, 0, 0)),
            (IntUnary::Sign, true) => Some((3, 0, 0)),
            (IntUnary::Sign, false) => Some((4, 0, 0)),
            (IntUnary::Relu, true) => Some((5, 0, 0)),
            (IntUnary::Abs | IntUnary::Relu, false) => None,
            (IntUnary::Not, _) => Some((6, 0, 0)),
            (IntUnary::Clamp { low, high }, false) => Some((7, low, high)),
            (IntUnary::Clamp { low, high }, true) => Some((8, low, high)),
        }
    }
}

/// `y = f(x)` for `n` elements of f32, f16 or bf16, rounded once; `y` may be `x`.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
pub fn unary(
    queue: &mut Queue<'_>,
    function: Unary,
    form: Form,
    (x, y): (Slice<'_>, Slice<'_>),
    n: u32,
) -> Result<(), DeviceError> {
    let size = form.bytes();
    let (function, alpha, beta) = function.parameters();
    let width = common_width(pack_size(size), &[(x, size), (y, size)]);
    let (x, y) = (x.elements(n.into(), size)?, y.elements(n.into(), size)?);
    let kernel = entries::Unary { x, y, n, width, function, alpha, beta };
    match n {
        0 => Ok(()),
        n => queue.launch(&kernel, form, queue.over(packs(n, size), ELEMENTWISE_THREADS)),
    }
}

/// `y = f(x)` for `n` integers of 8 to 64 bits, or bools for [`IntUnary::Not`]; `y` may be `x`.
///
/// # Errors
/// [`DeviceError::Defect`] for another dtype or if an operand is too short, or a refused launch.
pub fn unary_int(
    queue: &mut Queue<'_>,
    function: IntUnary,
    dtype: DType,
    (x, y): (Slice<'_>, Slice<'_>),
    n: u32,
) -> Result<(), DeviceError> {
    let form = match (function, dtype) {
        (IntUnary::Not, DType::Bool) => Some(Form::B8),
        (_, dtype) => Form::of_integer(dtype),
    };
    let form = form.ok_or(DeviceError::Defect("no kernel for integers of this dtype"))?;
    let size = form.bytes();
    let Some((function, low, high)) = function.parameters(is_signed(dtype)) else {
        let bytes = n as usize * size;
        return if x == y { Ok(()) } else { queue.copy(x.part(0, bytes)?, y.part(0, bytes)?) };
    };
    let width = common_width(pack_size(size), &[(x, size), (y, size)]);
    let (x, y) = (x.elements(n.into(), size)?, y.elements(n.into(), size)?);
    let kernel = entries::UnaryWhole { x, y, n, width, function, low, high };
    match n {
        0 => Ok(()),
        n => queue.launch(&kernel, form, queue.over(packs(n, size), ELEMENTWISE_THREADS)),
    }
}

/// Bools, one for each of `n` elements of f32, f16 or bf16.
///
/// # Errors
/// As [`unary`].
pub fn unary_test(
    queue: &mut Queue<'_>,
    test: FloatTest,
    form: Form,
    (x, y): (Slice<'_>, Slice<'_>),
    n: u32,
) -> Result<(), DeviceError> {
    let size = form.bytes();
    let width = common_width(pack_size(size), &[(x, size), (y, 1)]);
    let (x, y) = (x.elements(n.into(), size)?, y.elements(n.into(), 1)?);
    let infinite = u32::from(test == FloatTest::IsInf);
    match n {
        0 => Ok(()),
        n => {
            let kernel = entries::UnaryTest { x, y, n, width, infinite };
            queue.launch(&kernel, form, queue.over(packs(n, size), ELEMENTWISE_THREADS))
        }
    }
}

/// What threads of `n` elements move at once.
fn packs(n: u32, size: usize) -> u64 {
    n.div_ceil(pack_size(size)).into()
}

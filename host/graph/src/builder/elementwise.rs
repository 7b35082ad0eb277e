//! Builder methods: elementwise ops.

use super::GraphBuilder;
use crate::op::{
    Arithmetic, Binary, BinaryKind, BitKind, Bitcast, Cast, Clamp, Compare, GeluForm, Logic, Op,
    Select, Unary, UnaryKind,
};
use crate::{GraphError, ValueId};
use aimass_tensor::DType;

macro_rules! unary {
    ($($(#[doc = $doc:literal])* $name:ident => $kind:ident;)*) => { impl GraphBuilder { $(
        $(#[doc = $doc])*
        ///
        /// # Errors
        /// [`GraphError`] on an unknown value or another dtype.
        pub fn $name(&mut self, x: ValueId) -> Result<ValueId, GraphError> {
            self.push_one(Op::Unary(Unary { kind: UnaryKind::$kind }), &[x])
        }
    )* } };
}

unary! {
    /// `-x`. For signed integers and floats.
    neg => Neg;
    /// `|x|`. For numbers.
    abs => Abs;
    /// -1, 0 or 1; NaN stays NaN. For numbers.
    sign => Sign;
    /// `e^x`. For floats.
    exp => Exp;
    /// Natural logarithm; NaN below 0. For floats.
    log => Log;
    /// Square root; NaN below 0. For floats.
    sqrt => Sqrt;
    /// `1 / sqrt(x)`. For floats.
    rsqrt => Rsqrt;
    /// `1 / x`. For floats.
    reciprocal => Reciprocal;
    /// Sine of radians. For floats.
    sin => Sin;
    /// Cosine of radians. For floats.
    cos => Cos;
    /// Tangent of radians. For floats.
    tan => Tan;
    /// Arc sine in radians. For floats.
    asin => Asin;
    /// Arc cosine in radians. For floats.
    acos => Acos;
    /// Arc tangent in radians. For floats.
    atan => Atan;
    /// Hyperbolic sine. For floats.
    sinh => Sinh;
    /// Hyperbolic cosine. For floats.
    cosh => Cosh;
    /// Hyperbolic tangent. For floats.
    tanh => Tanh;
    /// Inverse hyperbolic sine. For floats.
    asinh => Asinh;
    /// Inverse hyperbolic cosine. For floats.
    acosh => Acosh;
    /// Inverse hyperbolic tangent. For floats.
    atanh => Atanh;
    /// Error function. For floats.
    erf => Erf;
    /// Largest integer not above x. For floats.
    floor => Floor;
    /// Smallest integer not below x. For floats.
    ceil => Ceil;
    /// Nearest integer, halves to even. For floats.
    round => Round;
    /// `1 / (1 + e^-x)`. For floats.
    sigmoid => Sigmoid;
    /// `max(x, 0)`. For numbers.
    relu => Relu;
    /// `x * sigmoid(x)`. For floats.
    silu => Silu;
    /// `log(1 + e^x)`. For floats.
    softplus => Softplus;
    /// Not x. For bool.
    logical_not => LogicalNot;
    /// Bitwise complement. For integers.
    bit_not => BitNot;
    /// Whether x is NaN; bool. For floats.
    is_nan => IsNan;
    /// Whether x is infinite; bool. For floats.
    is_inf => IsInf;
    /// `x * max(0, min(1, x / 6 + 0.5))`. For floats.
    hard_swish => HardSwish;
}

macro_rules! binary {
    ($($(#[doc = $doc:literal])* $name:ident => $kind:expr;)*) => { impl GraphBuilder { $(
        $(#[doc = $doc])*
        /// The shapes broadcast as numpy's do.
        ///
        /// # Errors
        /// [`GraphError`] on unequal dtypes, shapes that do not broadcast, or mixed rows.
        pub fn $name(&mut self, x: ValueId, y: ValueId) -> Result<ValueId, GraphError> {
            self.push_one(Op::Binary(Binary { kind: $kind }), &[x, y])
        }
    )* } };
}

binary! {
    /// `x + y`. For numbers.
    add => BinaryKind::Arithmetic(Arithmetic::Add);
    /// `x - y`. For numbers.
    sub => BinaryKind::Arithmetic(Arithmetic::Sub);
    /// `x * y`. For numbers.
    mul => BinaryKind::Arithmetic(Arithmetic::Mul);
    /// `x / y`; integers truncate towards zero, by zero gives 0. For numbers.
    div => BinaryKind::Arithmetic(Arithmetic::Div);
    /// Remainder with the sign of `x` (C `fmod`). For numbers.
    rem => BinaryKind::Arithmetic(Arithmetic::Rem);
    /// `x ^ y`. For numbers.
    pow => BinaryKind::Arithmetic(Arithmetic::Pow);
    /// The larger; NaN wins. For numbers.
    maximum => BinaryKind::Arithmetic(Arithmetic::Maximum);
    /// The smaller; NaN wins. For numbers.
    minimum => BinaryKind::Arithmetic(Arithmetic::Minimum);
    /// x and y. For bool.
    logical_and => BinaryKind::Logic(Logic::And);
    /// x or y. For bool.
    logical_or => BinaryKind::Logic(Logic::Or);
    /// x xor y. For bool.
    logical_xor => BinaryKind::Logic(Logic::Xor);
    /// Bitwise and. For integers.
    bit_and => BinaryKind::Bits(BitKind::And);
    /// Bitwise or. For integers.
    bit_or => BinaryKind::Bits(BitKind::Or);
    /// Bitwise exclusive or. For integers.
    bit_xor => BinaryKind::Bits(BitKind::Xor);
    /// `x << y`, zero-filled; a shift by the width or more gives 0. For integers.
    shift_left => BinaryKind::Bits(BitKind::ShiftLeft);
    /// `x >> y`, sign-filled for signed types. For integers.
    shift_right => BinaryKind::Bits(BitKind::ShiftRight);
    /// Whether x = y; bool. For numbers and bool.
    equal => BinaryKind::Compare(Compare::Equal);
    /// Whether x ≠ y; bool. For numbers and bool.
    not_equal => BinaryKind::Compare(Compare::NotEqual);
    /// Whether x < y; bool. For numbers.
    less => BinaryKind::Compare(Compare::Less);
    /// Whether x ≤ y; bool. For numbers.
    less_equal => BinaryKind::Compare(Compare::LessEqual);
    /// Whether x > y; bool. For numbers.
    greater => BinaryKind::Compare(Compare::Greater);
    /// Whether x ≥ y; bool. For numbers.
    greater_equal => BinaryKind::Compare(Compare::GreaterEqual);
}

impl GraphBuilder {
    /// Gaussian error linear unit. For floats.
    ///
    /// # Errors
    /// [`GraphError`] on an unknown value or another dtype.
    pub fn gelu(&mut self, x: ValueId, form: GeluForm) -> Result<ValueId, GraphError> {
        let kind = match form {
            GeluForm::Erf => UnaryKind::Gelu,
            GeluForm::Tanh => UnaryKind::GeluTanh,
        };
        self.push_one(Op::Unary(Unary { kind }), &[x])
    }

    /// `x` where positive, `alpha * x` elsewhere. For floats.
    ///
    /// # Errors
    /// [`GraphError`] on an unknown value or another dtype.
    pub fn leaky_relu(&mut self, x: ValueId, alpha: f32) -> Result<ValueId, GraphError> {
        self.push_one(Op::Unary(Unary { kind: UnaryKind::LeakyRelu { alpha } }), &[x])
    }

    /// `x` where positive, `alpha * (e^x - 1)` elsewhere. For floats.
    ///
    /// # Errors
    /// [`GraphError`] on an unknown value or another dtype.
    pub fn elu(&mut self, x: ValueId, alpha: f32) -> Result<ValueId, GraphError> {
        self.push_one(Op::Unary(Unary { kind: UnaryKind::Elu { alpha } }), &[x])
    }

    /// `max(0, min(1, alpha * x + beta))`. For floats.
    ///
    /// # Errors
    /// [`GraphError`] on an unknown value or another dtype.
    pub fn hard_sigmoid(
        &mut self,
        x: ValueId,
        alpha: f32,
        beta: f32,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::Unary(Unary { kind: UnaryKind::HardSigmoid { alpha, beta } }), &[x])
    }

    /// `min(max(x, low), high)`. For numbers.
    ///
    /// # Errors
    /// [`GraphError`] on an unknown value or bounds that are NaN.
    pub fn clamp(&mut self, x: ValueId, low: f64, high: f64) -> Result<ValueId, GraphError> {
        self.push_one(Op::Clamp(Clamp { low, high }), &[x])
    }

    /// Converts elements; floats to integers truncate and saturate, NaN gives 0.
    ///
    /// # Errors
    /// [`GraphError`] on an unknown value or a dtype that is not converted.
    pub fn cast(&mut self, x: ValueId, dtype: DType) -> Result<ValueId, GraphError> {
        self.push_one(Op::Cast(Cast { dtype }), &[x])
    }

    /// The same bits as another dtype of the same size.
    ///
    /// # Errors
    /// [`GraphError`] on an unknown value or dtypes of unequal size.
    pub fn bitcast(&mut self, x: ValueId, dtype: DType) -> Result<ValueId, GraphError> {
        self.push_one(Op::Bitcast(Bitcast { dtype }), &[x])
    }

    /// `x` where `condition` (bool) holds, `y` elsewhere; all three broadcast.
    ///
    /// # Errors
    /// [`GraphError`] on unequal dtypes, shapes that do not broadcast, or mixed rows.
    pub fn select(
        &mut self,
        condition: ValueId,
        x: ValueId,
        y: ValueId,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::Select(Select), &[condition, x, y])
    }
}

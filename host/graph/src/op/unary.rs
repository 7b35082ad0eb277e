//! Elementwise ops of one argument.

use super::{
    Call, Infer, NUMERIC, OpRule, RowForm, is_float, is_integer, is_numeric, with_integer,
};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::activation::{self, IntUnary, Parametric, Unary as Kernel};
use aimass_cpu::double;
use aimass_tensor::DType;

/// How a gelu is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeluForm {
    /// `x * 0.5 * (1 + erf(x / sqrt 2))`
    Erf,
    /// The tanh approximation of GPT-2.
    Tanh,
}

/// Which function; formulas as in `wit/graph.wit`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum UnaryKind {
    Neg,
    Abs,
    Sign,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Reciprocal,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    Floor,
    Ceil,
    Round,
    Sigmoid,
    Relu,
    Silu,
    Softplus,
    Gelu,
    GeluTanh,
    HardSwish,
    LeakyRelu { alpha: f32 },
    Elu { alpha: f32 },
    HardSigmoid { alpha: f32, beta: f32 },
    LogicalNot,
    BitNot,
    IsNan,
    IsInf,
}

/// Which dtypes a function takes.
enum Family {
    /// Floats of 16 to 64 bits.
    Float,
    /// Floats of 16 to 64 bits and integers.
    Number,
    /// Floats of 16 to 64 bits and signed integers.
    Signed,
    /// Integers.
    Integer,
    /// bool.
    Bool,
    /// Floats of 8 to 64 bits, answers bool.
    Test,
}

/// `y = f(x)`, element by element. Shape and classes are those of `x`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unary {
    pub(crate) kind: UnaryKind,
}

impl UnaryKind {
    fn family(self) -> Family {
        use UnaryKind as K;
        match self {
            K::Abs | K::Sign | K::Relu => Family::Number,
            K::Neg => Family::Signed,
            K::BitNot => Family::Integer,
            K::LogicalNot => Family::Bool,
            K::IsNan | K::IsInf => Family::Test,
            K::Exp | K::Log | K::Sqrt | K::Rsqrt | K::Reciprocal | K::Sin | K::Cos | K::Tan => {
                Family::Float
            }
            K::Asin | K::Acos | K::Atan | K::Sinh | K::Cosh | K::Tanh | K::Asinh | K::Acosh => {
                Family::Float
            }
            K::Atanh | K::Erf | K::Floor | K::Ceil | K::Round | K::Sigmoid | K::Silu => {
                Family::Float
            }
            K::Softplus | K::Gelu | K::GeluTanh | K::HardSwish => Family::Float,
            K::LeakyRelu { .. } | K::Elu { .. } | K::HardSigmoid { .. } => Family::Float,
        }
    }

    /// The f32 kernel.
    pub(crate) fn kernel(self) -> Option<Kernel> {
        use UnaryKind as K;
        Some(match self {
            K::Neg => Kernel::Neg,
            K::Abs => Kernel::Abs,
            K::Sign => Kernel::Sign,
            K::Exp => Kernel::Exp,
            K::Log => Kernel::Log,
            K::Sqrt => Kernel::Sqrt,
            K::Rsqrt => Kernel::Rsqrt,
            K::Reciprocal => Kernel::Reciprocal,
            K::Sin => Kernel::Sin,
            K::Cos => Kernel::Cos,
            K::Tan => Kernel::Tan,
            K::Asin => Kernel::Asin,
            K::Acos => Kernel::Acos,
            K::Atan => Kernel::Atan,
            K::Sinh => Kernel::Sinh,
            K::Cosh => Kernel::Cosh,
            K::Tanh => Kernel::Tanh,
            K::Asinh => Kernel::Asinh,
            K::Acosh => Kernel::Acosh,
            K::Atanh => Kernel::Atanh,
            K::Erf => Kernel::Erf,
            K::Floor => Kernel::Floor,
            K::Ceil => Kernel::Ceil,
            K::Round => Kernel::Round,
            K::Sigmoid => Kernel::Sigmoid,
            K::Relu => Kernel::Relu,
            K::Silu => Kernel::Silu,
            K::Softplus => Kernel::Softplus,
            K::Gelu => Kernel::Gelu,
            K::GeluTanh => Kernel::GeluTanh,
            K::HardSwish | K::LeakyRelu { .. } | K::Elu { .. } | K::HardSigmoid { .. } => {
                return None;
            }
            K::LogicalNot | K::BitNot | K::IsNan | K::IsInf => return None,
        })
    }

    /// The f32 kernel with parameters.
    pub(crate) fn parametric(self) -> Option<Parametric> {
        if let UnaryKind::LeakyRelu { alpha } = self {
            Some(Parametric::LeakyRelu { alpha })
        } else if let UnaryKind::Elu { alpha } = self {
            Some(Parametric::Elu { alpha })
        } else if let UnaryKind::HardSigmoid { alpha, beta } = self {
            Some(Parametric::HardSigmoid { alpha, beta })
        } else {
            (self == UnaryKind::HardSwish).then_some(Parametric::HardSwish)
        }
    }

    /// The integer kernel; a relu of integers has none.
    fn integer_kernel(self) -> Option<IntUnary> {
        let kernels = [
            (UnaryKind::Neg, IntUnary::Neg),
            (UnaryKind::Abs, IntUnary::Abs),
            (UnaryKind::Sign, IntUnary::Sign),
            (UnaryKind::BitNot, IntUnary::Not),
            (UnaryKind::Relu, IntUnary::Relu),
        ];
        kernels.into_iter().find(|(kind, _)| *kind == self).map(|(_, kernel)| kernel)
    }

    fn name(self) -> &'static str {
        use UnaryKind as K;
        match self {
            K::Neg => "neg",
            K::Abs => "abs",
            K::Sign => "sign",
            K::Exp => "exp",
            K::Log => "log",
            K::Sqrt => "sqrt",
            K::Rsqrt => "rsqrt",
            K::Reciprocal => "reciprocal",
            K::Sin => "sin",
            K::Cos => "cos",
            K::Tan => "tan",
            K::Asin => "asin",
            K::Acos => "acos",
            K::Atan => "atan",
            K::Sinh => "sinh",
            K::Cosh => "cosh",
            K::Tanh => "tanh",
            K::Asinh => "asinh",
            K::Acosh => "acosh",
            K::Atanh => "atanh",
            K::Erf => "erf",
            K::Floor => "floor",
            K::Ceil => "ceil",
            K::Round => "round",
            K::Sigmoid => "sigmoid",
            K::Relu => "relu",
            K::Silu => "silu",
            K::Softplus => "softplus",
            K::Gelu | K::GeluTanh => "gelu",
            K::HardSwish => "hard-swish",
            K::LeakyRelu { .. } => "leaky-relu",
            K::Elu { .. } => "elu",
            K::HardSigmoid { .. } => "hard-sigmoid",
            K::LogicalNot => "logical-not",
            K::BitNot => "bit-not",
            K::IsNan => "is-nan",
            K::IsInf => "is-inf",
        }
    }
}

impl OpRule for Unary {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        let signed =
            |d| matches!(d, DType::I8 | DType::I16 | DType::I32 | DType::I64) || is_float(d);
        let mut out = x.dtype;
        match self.kind.family() {
            Family::Float => cx.float(x)?,
            Family::Number => cx.dtype(x, NUMERIC, is_numeric)?,
            Family::Signed => {
                cx.dtype(x, "a signed integer of 8 to 64 bits or a float of 16 to 64 bits", signed)?
            }
            Family::Integer => cx.dtype(x, "an integer", is_integer)?,
            Family::Bool => cx.dtype(x, "bool", |d| d == DType::Bool)?,
            Family::Test => {
                cx.dtype(x, "a float of 8 to 64 bits", DType::is_float)?;
                out = DType::Bool;
            }
        }
        Ok(vec![ValueSpec::new(out, x.dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        match (self.kind, x.dtype) {
            (UnaryKind::LogicalNot, _) => activation::not(x.bytes, out.bytes),
            (UnaryKind::IsNan, DType::F64) => activation::is_nan::<f64>(x.numbers(), out.bytes),
            (UnaryKind::IsNan, _) => activation::is_nan::<f32>(x.numbers(), out.bytes),
            (UnaryKind::IsInf, DType::F64) => activation::is_inf::<f64>(x.numbers(), out.bytes),
            (UnaryKind::IsInf, _) => activation::is_inf::<f32>(x.numbers(), out.bytes),
            (kind, DType::F32) => match (kind.kernel(), call.in_place) {
                (Some(kernel), true) => activation::unary_in_place(kernel, out.numbers()),
                (Some(kernel), false) => activation::unary(kernel, x.numbers(), out.numbers()),
                (None, _) => match kind.parametric() {
                    Some(kernel) => activation::parametric(kernel, x.numbers(), out.numbers()),
                    None => return Err(super::DTYPE_DEFECT),
                },
            },
            (kind, DType::F64) => {
                let out = out.copy_of(x, call.in_place);
                match (kind.kernel(), kind.parametric()) {
                    (Some(kernel), _) => double::unary(kernel, out),
                    (None, Some(kernel)) => double::parametric(kernel, out),
                    (None, None) => return Err(super::DTYPE_DEFECT),
                }
            }
            (kind, dtype) => {
                let kernel = kind.integer_kernel().ok_or(super::DTYPE_DEFECT)?;
                with_integer!(dtype, T => {
                    activation::unary_int(kernel, out.copy_of::<T>(x, call.in_place));
                }, else return Err(super::DTYPE_DEFECT));
            }
        }
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }

    fn in_place(&self) -> bool {
        self.kind.kernel().is_some()
    }

    fn row_form(&self) -> Option<RowForm> {
        self.kind.kernel().map(RowForm::Unary)
    }
}

//! What a product does with its sums before it stores them.

/// Function of one number at the end of a sum; computed in f32, NaN stays NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `x / 2 (1 + erf(x / sqrt 2))`.
    Gelu,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + e^-x)`.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `min(max(x, low), high)`.
    Clamp {
        /// Least value.
        low: f32,
        /// Greatest value.
        high: f32,
    },
    /// `x` where positive, `alpha x` elsewhere.
    LeakyRelu {
        /// Slope below 0.
        alpha: f32,
    },
    /// `x` where positive, `alpha (e^x - 1)` elsewhere.
    Elu {
        /// Limit below 0, negated.
        alpha: f32,
    },
    /// `max(0, min(1, alpha x + beta))`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at 0.
        beta: f32,
    },
    /// `x max(0, min(1, x / 6 + 1 / 2))`.
    HardSwish,
}

impl Activation {
    /// Number in `enum ActivationCode` of `finish.cuh`, and parameters.
    fn code(self) -> (u32, f32, f32) {
        match self {
            Activation::None => (0, 0.0, 0.0),
            Activation::Gelu => (1, 0.0, 0.0),
            Activation::GeluTanh => (2, 0.0, 0.0),
            Activation::Relu => (3, 0.0, 0.0),
            Activation::Silu => (4, 0.0, 0.0),
            Activation::Tanh => (5, 0.0, 0.0),
            Activation::Sigmoid => (6, 0.0, 0.0),
            Activation::Clamp { low, high } => (7, low, high),
            Activation::LeakyRelu { alpha } => (8, alpha, 0.0),
            Activation::Elu { alpha } => (9, alpha, 0.0),
            Activation::HardSigmoid { alpha, beta } => (10, alpha, beta),
            Activation::HardSwish => (11, 0.0, 0.0),
        }
    }
}

/// What happens to a complete sum: the activation, then a factor and a summand, then the residual,
/// then the last activation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finish {
    /// Applied first.
    pub activation: Activation,
    /// `x scaled.0 + scaled.1`, rounded once.
    pub scaled: Option<(f32, f32)>,
    /// Applied after the residual.
    pub last: Activation,
}

/// A [`Finish`] as kernels take it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Ending {
    activation: u32,
    parameters: [f32; 2],
    is_scaled: u32,
    scaled: [f32; 2],
    last: u32,
    last_parameters: [f32; 2],
}

impl From<Finish> for Ending {
    fn from(finish: Finish) -> Ending {
        let (activation, first, second) = finish.activation.code();
        let (last, last_first, last_second) = finish.last.code();
        let (factor, summand) = finish.scaled.unwrap_or((1.0, 0.0));
        Ending {
            activation,
            parameters: [first, second],
            is_scaled: finish.scaled.is_some().into(),
            scaled: [factor, summand],
            last,
            last_parameters: [last_first, last_second],
        }
    }
}

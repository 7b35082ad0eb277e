//! Ops out of bytes: every method of the builder, with arguments that mostly fit and sometimes lie.

mod control;
mod layers;
mod shapes;

use super::program::{Made, Program};
use aimass_graph::{GeluForm, GraphBuilder, GraphError, ScatterMode, ValueId};

type One = Result<ValueId, GraphError>;
type Unary = fn(&mut GraphBuilder, ValueId) -> One;
type Binary = fn(&mut GraphBuilder, ValueId, ValueId) -> One;
type Reduction = fn(&mut GraphBuilder, ValueId, &[u32], bool) -> One;

const UNARY: &[Unary] = &[
    GraphBuilder::neg,
    GraphBuilder::abs,
    GraphBuilder::sign,
    GraphBuilder::exp,
    GraphBuilder::log,
    GraphBuilder::sqrt,
    GraphBuilder::rsqrt,
    GraphBuilder::reciprocal,
    GraphBuilder::sin,
    GraphBuilder::cos,
    GraphBuilder::tan,
    GraphBuilder::asin,
    GraphBuilder::acos,
    GraphBuilder::atan,
    GraphBuilder::sinh,
    GraphBuilder::cosh,
    GraphBuilder::tanh,
    GraphBuilder::asinh,
    GraphBuilder::acosh,
    GraphBuilder::atanh,
    GraphBuilder::erf,
    GraphBuilder::floor,
    GraphBuilder::ceil,
    GraphBuilder::round,
    GraphBuilder::sigmoid,
    GraphBuilder::relu,
    GraphBuilder::silu,
    GraphBuilder::softplus,
    GraphBuilder::logical_not,
    GraphBuilder::bit_not,
    GraphBuilder::is_nan,
    GraphBuilder::is_inf,
    GraphBuilder::hard_swish,
    GraphBuilder::shape_of,
    GraphBuilder::positions,
];

const BINARY: &[Binary] = &[
    GraphBuilder::add,
    GraphBuilder::sub,
    GraphBuilder::mul,
    GraphBuilder::div,
    GraphBuilder::rem,
    GraphBuilder::pow,
    GraphBuilder::maximum,
    GraphBuilder::minimum,
    GraphBuilder::logical_and,
    GraphBuilder::logical_or,
    GraphBuilder::logical_xor,
    GraphBuilder::bit_and,
    GraphBuilder::bit_or,
    GraphBuilder::bit_xor,
    GraphBuilder::shift_left,
    GraphBuilder::shift_right,
    GraphBuilder::equal,
    GraphBuilder::not_equal,
    GraphBuilder::less,
    GraphBuilder::less_equal,
    GraphBuilder::greater,
    GraphBuilder::greater_equal,
    GraphBuilder::matmul,
    GraphBuilder::ragged_mean,
    GraphBuilder::ragged_sum,
    GraphBuilder::ragged_max,
    GraphBuilder::ragged_first,
    GraphBuilder::ragged_last,
];

const REDUCTIONS: &[Reduction] = &[
    GraphBuilder::reduce_sum,
    GraphBuilder::reduce_mean,
    GraphBuilder::reduce_prod,
    GraphBuilder::reduce_max,
    GraphBuilder::reduce_min,
];

impl Program<'_> {
    /// The op that `kind` names.
    pub(super) fn op(&mut self, kind: u8) -> Made {
        match kind {
            0..=63 => {
                let (op, x) = (self.source.pick(UNARY), self.value());
                one(op(&mut self.builder, x))
            }
            64..=95 => {
                let (op, x, y) = (self.source.pick(BINARY), self.value(), self.value());
                one(op(&mut self.builder, x, y))
            }
            96..=111 => self.with_numbers(),
            112..=175 => self.shape_op(),
            176..=183 => self.reduction(),
            184..=199 => self.indexed(),
            200..=247 => self.layer(),
            248..=255 => self.control(),
        }
    }

    fn with_numbers(&mut self) -> Made {
        let (which, x) = (self.source.below(8), self.value());
        let (a, b) = (self.source.float(), self.source.float());
        one(match which {
            0 => self.builder.leaky_relu(x, a),
            1 => self.builder.elu(x, a),
            2 => self.builder.hard_sigmoid(x, a, b),
            3 => self.builder.clamp(x, f64::from(a), f64::from(b)),
            4 => {
                let dtype = self.dtype();
                self.builder.cast(x, dtype)
            }
            5 => {
                let dtype = self.dtype();
                self.shows_bits |= self.builder.spec(x).is_ok_and(|spec| spec.dtype.is_float());
                self.builder.bitcast(x, dtype)
            }
            6 => self.builder.gelu(x, if a > 0.0 { GeluForm::Erf } else { GeluForm::Tanh }),
            _ => {
                let (y, z) = (self.value(), self.value());
                self.builder.select(x, y, z)
            }
        })
    }

    fn reduction(&mut self) -> Made {
        let (op, (x, spec)) = (self.source.pick(REDUCTIONS), self.known()?);
        let count = self.source.below(spec.rank() + 2);
        let axes: Vec<u32> = (0..count).map(|_| self.source.axis(spec.rank())).collect();
        let keep = self.source.bit();
        one(op(&mut self.builder, x, &axes, keep))
    }

    /// Indices that mostly fit: a value, or a constant of small numbers.
    fn indices(&mut self) -> One {
        if self.source.bit() {
            return Ok(self.value());
        }
        let dtype = self.source.pick(&[
            aimass_tensor::DType::I64,
            aimass_tensor::DType::I32,
            aimass_tensor::DType::U32,
        ]);
        let dims = self.source.extents();
        self.constant(dtype, &dims)
    }

    fn indexed(&mut self) -> Made {
        const MODES: [ScatterMode; 5] = [
            ScatterMode::Replace,
            ScatterMode::Add,
            ScatterMode::Mul,
            ScatterMode::Max,
            ScatterMode::Min,
        ];
        let (which, (x, spec)) = (self.source.below(9), self.known()?);
        let (axis, indices) = (self.source.axis(spec.rank()), self.indices()?);
        let mode = self.source.pick(&MODES);
        one(match which {
            0 | 1 => self.builder.gather(x, indices, axis),
            2 => self.builder.gather_elements(x, indices, axis),
            3 => self.builder.gather_nd(x, indices, axis),
            4 => {
                let updates = self.value();
                self.builder.scatter_elements(x, indices, updates, axis, mode)
            }
            5 => {
                let updates = self.value();
                self.builder.scatter_nd(x, indices, updates, mode)
            }
            6 => {
                let (depth, dtype) = (self.source.extent(), self.dtype());
                self.builder.one_hot(indices, depth, dtype)
            }
            7 => {
                let (offsets, mean) = (self.value(), self.source.bit());
                self.builder.embedding_bag(x, indices, offsets, mean)
            }
            _ => return self.builder.non_zero(x).map(|(a, b)| vec![a, b]),
        })
    }
}

fn one(value: One) -> Made {
    Ok(vec![value?])
}

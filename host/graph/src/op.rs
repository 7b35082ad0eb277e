//! The op table: a closed enum, one struct an op or close family, each in its own file.
//!
//! To add an op: a file here, a line in [`op_table!`], a builder method, a name in `run_op`, a CPU
//! kernel and cases in `tests/ops`. The compiler leads through the places that match on [`Op`].

mod attention;
mod binary;
mod cast;
mod channel_norm;
mod clamp;
mod concat;
mod conv;
mod cumulative;
mod dot_general;
mod dynamic_linear;
mod dynamic_slice;
mod elements;
mod embedding_bag;
mod fft;
mod gather;
mod if_else;
mod iota;
mod layer_norm;
mod linear;
mod matmul;
mod matmul_integer;
mod non_zero;
mod normalize;
mod one_hot;
mod pad;
mod pool;
mod positions;
mod products;
mod quantize;
mod quantized_linear;
mod ragged_attention;
mod ragged_pool;
mod random_bits;
mod recurrent;
mod reduce;
mod region;
mod resample;
mod reshape;
mod reverse;
mod rope;
mod scan;
mod select;
mod shape_of;
mod slice;
mod softmax;
mod suppression;
mod tile;
mod top_k;
mod transpose;
mod tuples;
mod unary;
mod while_loop;
mod widened;
mod window;

pub use attention::AttentionOptions;
pub(crate) use attention::{Attention, attention_shape};
pub(crate) use binary::{Arithmetic, Binary, BinaryKind, BitKind, Compare, Logic};
pub(crate) use cast::{Bitcast, Cast};
pub(crate) use channel_norm::{BatchNorm, GroupNorm};
pub(crate) use clamp::Clamp;
pub(crate) use concat::{Concat, Split};
pub(crate) use conv::{Conv, ConvTranspose};
pub(crate) use cumulative::{Cumulative, CumulativeKind};
pub(crate) use dot_general::{Axes, DotGeneral};
pub(crate) use dynamic_linear::DynamicLinear;
pub(crate) use dynamic_slice::DynamicSlice;
pub(crate) use elements::{GatherElements, ScatterElements};
pub(crate) use embedding_bag::EmbeddingBag;
pub(crate) use fft::Fft;
pub(crate) use gather::{Gather, bad_row, check_indices};
pub(crate) use if_else::IfElse;
pub(crate) use iota::Iota;
pub(crate) use layer_norm::LayerNorm;
pub(crate) use linear::Linear;
pub(crate) use matmul::MatMul;
pub(crate) use matmul_integer::{IntegerEnd, MatMulInteger};
pub(crate) use non_zero::NonZero;
pub(crate) use normalize::{Normalize, NormalizeKind};
pub(crate) use one_hot::OneHot;
pub(crate) use pad::Pad;
pub use pad::PadMode;
pub(crate) use pool::{Pool, PoolKind};
pub(crate) use positions::Positions;
pub(crate) use quantize::{Dequantize, Quantize};
pub(crate) use quantized_linear::QuantizedLinear;
pub(crate) use ragged_attention::RaggedAttention;
pub(crate) use ragged_pool::{RaggedPool, RaggedPoolKind};
pub(crate) use random_bits::RandomBits;
pub(crate) use recurrent::Recurrent;
pub(crate) use reduce::{ArgExtreme, Reduce, ReduceKind};
pub(crate) use region::SubGraph;
pub use resample::ResizeMode;
pub(crate) use resample::{Resample, Resize};
pub(crate) use reshape::{Broadcast, Reshape};
pub(crate) use reverse::Reverse;
pub(crate) use rope::Rope;
pub(crate) use scan::Scan;
pub(crate) use select::Select;
pub(crate) use shape_of::ShapeOf;
pub(crate) use slice::Slice;
pub(crate) use softmax::Softmax;
pub(crate) use suppression::NonMaxSuppression;
pub(crate) use tile::Tile;
pub(crate) use top_k::TopK;
pub(crate) use transpose::Transpose;
pub(crate) use tuples::{GatherNd, ScatterNd};
pub use unary::GeluForm;
pub(crate) use unary::{Unary, UnaryKind};
pub(crate) use while_loop::While;
pub(crate) use widened::widened;
pub use window::Window;
pub(crate) use window::{spread_extent, window_count};

pub use aimass_cpu::recurrent::Recurrence;
pub use aimass_cpu::shape_ops::ScatterMode;
pub use aimass_cpu::suppression::Suppression;

pub(crate) use aimass_cpu::activation::Unary as UnaryKernel;

use crate::dim::DimTable;
use crate::prepared::Source;
use crate::{Dim, GraphError, PlanError, RunError, ValueSpec};
use aimass_cpu::pool::Team;
use aimass_cpu::view::{Rows, RowsMut, numbers, numbers_mut};
use aimass_tensor::{DType, Element, Shape};

/// What an op must say about itself.
pub(crate) trait OpRule {
    /// Name in `wit/graph.wit`.
    fn name(&self) -> &'static str;

    /// Dtypes, extents and dimension classes of the outputs, or why there are none.
    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError>;

    /// Computes. Shapes, dtypes and output sizes are those of [`OpRule::infer`].
    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError>;

    /// Floating-point operations, roughly.
    fn flops(&self, _inputs: &[Shape], outputs: &[Shape]) -> u64 {
        outputs.iter().map(|shape| shape.elements() as u64).sum()
    }

    /// How the op works row by row on f32, if it does.
    fn row_form(&self) -> Option<RowForm> {
        None
    }

    /// Whether the op has no kernel for floats below 32 bits and runs as its f32 form between
    /// conversions, so that a result is rounded once.
    fn widens(&self) -> bool {
        false
    }

    /// The op with constants among its inputs in the layout that its kernel reads, and the numbers of
    /// the inputs that it still needs; none if it takes them as they are.
    fn prepared(&self, _inputs: &[Source<'_>]) -> Result<Option<(Op, Vec<usize>)>, PlanError> {
        Ok(None)
    }

    /// Bytes of memory that prepared constants take.
    fn prepared_bytes(&self) -> u64 {
        0
    }

    /// Whether the output is the very bytes of the input.
    fn moves_no_bytes(&self, _x: &ValueSpec, _out: &ValueSpec) -> bool {
        false
    }

    /// Whether the first output may share the memory of input 0 (then [`Call::in_place`]).
    fn in_place(&self) -> bool {
        false
    }

    /// Whether the op finds extents of its outputs while it runs: it sets [`Out::shape`] then, which
    /// holds the most that there can be before.
    fn measures(&self) -> bool {
        false
    }

    /// Sub-graphs that the op runs.
    fn regions(&self) -> Vec<&SubGraph> {
        Vec::new()
    }

    /// As [`OpRule::regions`].
    fn regions_mut(&mut self) -> Vec<&mut SubGraph> {
        Vec::new()
    }

    /// Bytes of memory that regions take while the op runs, for inputs of these shapes, or unless
    /// `exact` at most these.
    fn scratch_bytes(&self, _inputs: &[Shape], _exact: bool) -> Result<u64, RunError> {
        Ok(0)
    }

    /// The op with other names in its dimensions, if it has some.
    fn renamed(&self, _names: &dyn Fn(&Dim) -> Dim) -> Option<Op> {
        None
    }

    /// Which input holds indices, whose rows an error of a run names.
    fn indices(&self) -> Option<usize> {
        None
    }
}

/// How an op makes row `i` of its output from row `i` of its input, in f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RowForm {
    /// Element by element.
    Unary(UnaryKernel),
    /// Element by element with another row, one row for all, or one number.
    Binary(Arithmetic),
    /// Scale and perhaps bias follow the input.
    LayerNorm { epsilon: f32 },
    /// A scale may follow the input.
    Normalize { kind: NormalizeKind, epsilon: f32 },
    /// Along this axis, which must be the last.
    Softmax { axis: usize },
    /// Along this axis, which must be 0, of a matrix.
    Gather { axis: usize },
}

macro_rules! op_table {
    ($($op:ident),* $(,)?) => {
        /// Every op that this host has code for.
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum Op { $($op($op)),* }

        impl Op {
            pub(crate) fn rule(&self) -> &dyn OpRule {
                match self { $(Op::$op(rule) => rule),* }
            }

            pub(crate) fn rule_mut(&mut self) -> &mut dyn OpRule {
                match self { $(Op::$op(rule) => rule),* }
            }
        }
    };
}

op_table! {
    ArgExtreme, Attention, BatchNorm, Binary, Bitcast, Broadcast, Cast, Clamp, Concat, Conv,
    ConvTranspose, Cumulative, Dequantize, DotGeneral, DynamicLinear, DynamicSlice, EmbeddingBag, Fft, Gather, GatherElements,
    GatherNd, GroupNorm, IfElse, Iota, LayerNorm, Linear, MatMul, MatMulInteger, NonMaxSuppression, NonZero,
    Normalize, OneHot, Pad, Pool, Positions, Quantize, QuantizedLinear, RaggedAttention, RaggedPool,
    RandomBits, Recurrent, Reduce, Resample, Reshape, Resize, Reverse, Rope, Scan, ScatterElements,
    ScatterNd, Select, ShapeOf, Slice, Softmax, Split, Tile, TopK, Transpose, Unary,
    While,
}

/// What a shape rule works with.
pub(crate) struct Infer<'a> {
    pub(crate) op: &'static str,
    pub(crate) dims: &'a mut DimTable,
}

impl Infer<'_> {
    /// The axis as an index.
    pub(crate) fn axis(&self, axis: u32, rank: usize) -> Result<usize, GraphError> {
        let index = axis as usize;
        if index < rank { Ok(index) } else { Err(GraphError::Axis { op: self.op, axis, rank }) }
    }

    /// The axis as an index; refuses one along which rows lie.
    pub(crate) fn lane_axis(&self, axis: u32, x: &ValueSpec) -> Result<usize, GraphError> {
        let index = self.axis(axis, x.rank())?;
        self.not_rows(&x.dims[index])?;
        Ok(index)
    }

    pub(crate) fn not_rows(&self, dim: &Dim) -> Result<(), GraphError> {
        if dim.is_rows() {
            return Err(GraphError::DimClass { op: self.op, dim: dim.clone(), other: None });
        }
        Ok(())
    }

    /// Requires f16, bf16 or f32: what an f32 kernel can compute.
    pub(crate) fn f32_or_narrower(&self, x: &ValueSpec) -> Result<(), GraphError> {
        self.dtype(x, "f16, bf16 or f32 (use cast)", |d| is_float(d) && d != DType::F64)
    }

    /// Requires two values of one dtype.
    pub(crate) fn alike(&self, x: &ValueSpec, y: &ValueSpec) -> Result<(), GraphError> {
        match x.dtype == y.dtype {
            true => Ok(()),
            false => Err(GraphError::DTypes { op: self.op, left: x.dtype, right: y.dtype }),
        }
    }

    /// Requires f16, bf16, f32 or f64.
    pub(crate) fn float(&self, x: &ValueSpec) -> Result<(), GraphError> {
        self.dtype(x, "f16, bf16, f32 or f64 (use cast)", is_float)
    }

    pub(crate) fn dtype(
        &self,
        x: &ValueSpec,
        expected: &'static str,
        is: impl Fn(DType) -> bool,
    ) -> Result<(), GraphError> {
        if is(x.dtype) {
            return Ok(());
        }
        Err(GraphError::DType { op: self.op, expected, got: x.dtype })
    }

    pub(crate) fn rank_at_least(
        &self,
        x: &ValueSpec,
        min: usize,
        expected: &'static str,
    ) -> Result<(), GraphError> {
        if x.rank() >= min {
            return Ok(());
        }
        Err(GraphError::Rank { op: self.op, expected, got: x.rank() })
    }

    pub(crate) fn argument(
        &self,
        argument: &'static str,
        expected: &str,
        got: &impl ToString,
    ) -> GraphError {
        let (expected, got) = (expected.to_owned(), got.to_string());
        GraphError::Argument { op: self.op, argument, expected, got }
    }

    /// Requires `x` to be a vector of this extent and of the dtype of `like`.
    pub(crate) fn vector_like(
        &mut self,
        x: &ValueSpec,
        extent: &Dim,
        like: &ValueSpec,
    ) -> Result<(), GraphError> {
        self.alike(like, x)?;
        self.extent_vector(x, extent)
    }

    /// Requires `x` to be a vector of this extent, of any dtype.
    pub(crate) fn extent_vector(&mut self, x: &ValueSpec, extent: &Dim) -> Result<(), GraphError> {
        if x.rank() != 1 {
            return Err(GraphError::Rank { op: self.op, expected: "1", got: x.rank() });
        }
        self.dims.same(self.op, &x.dims[0], extent).map(drop)
    }

    /// Requires axis 0 of `x` to be the ragged dimension that `offsets` defines.
    pub(crate) fn ragged(&self, x: &ValueSpec, offsets: &ValueSpec) -> Result<(), GraphError> {
        self.rank_at_least(x, 1, "at least 1")?;
        match (&x.dims[0], &offsets.offsets) {
            (Dim::Ragged(name), Some(own)) if name == own => Ok(()),
            (dim, _) => Err(GraphError::NotOffsets { op: self.op, expected: dim.to_string() }),
        }
    }

    /// Refuses dimensions that no input declares, and those that an op measures while a plan runs
    /// unless a value of the op has them: they might not be known when it runs.
    pub(crate) fn declared(&self, dims: &[Dim], x: &[&ValueSpec]) -> Result<(), GraphError> {
        let unknown = |dim: &&Dim| match dim {
            Dim::Dynamic(name) => match self.dims.index(dim) {
                Some(index) => {
                    self.dims.late[index] && !x.iter().any(|value| value.dims.contains(dim))
                }
                None => !self.dims.bound.contains(name),
            },
            Dim::Fixed(_) => false,
            Dim::Batch => !self.dims.has_batch,
            Dim::Ragged(name) => !self.dims.bound.contains(format!("{name}+1").as_str()),
        };
        match dims.iter().find(unknown) {
            Some(dim) => Err(GraphError::UnknownDim { op: self.op, dim: dim.clone() }),
            None => Ok(()),
        }
    }
}

/// An input of a running op.
#[derive(Clone, Copy)]
pub(crate) struct Arg<'a> {
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    /// The elements; of a strided matrix from its first to its last.
    pub(crate) bytes: &'a [u8],
    /// Elements from one row of the last axis to the next, where rows do not touch.
    pub(crate) stride: Option<usize>,
}

impl<'a> Arg<'a> {
    pub(crate) fn numbers<T: Element>(&self) -> &'a [T] {
        // No bytes may lie anywhere, aligned or not.
        if self.bytes.is_empty() { &[] } else { numbers(self.bytes) }
    }

    /// The f32 elements as a matrix of the last axis.
    pub(crate) fn rows(&self) -> Rows<'a> {
        let columns = last_extent(&self.shape);
        match self.stride {
            Some(stride) => Rows::new(self.numbers(), row_count(&self.shape), columns, stride),
            None => Rows::new(self.numbers(), row_count(&self.shape), columns, columns),
        }
    }
}

/// An output of a running op.
pub(crate) struct Out<'a> {
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) bytes: &'a mut [u8],
}

impl Out<'_> {
    pub(crate) fn numbers<T: Element>(&mut self) -> &mut [T] {
        numbers_mut(self.bytes)
    }

    /// The elements of `x`, to be changed; `in_place` says that they are there already.
    pub(crate) fn copy_of<T: Element>(&mut self, x: &Arg<'_>, in_place: bool) -> &mut [T] {
        if !in_place {
            self.bytes.copy_from_slice(x.bytes);
        }
        self.numbers()
    }

    /// The f32 elements as a matrix of the last axis.
    pub(crate) fn rows(&mut self) -> RowsMut<'_> {
        let (rows, columns) = (row_count(&self.shape), last_extent(&self.shape));
        RowsMut::new(numbers_mut(self.bytes), rows, columns, columns)
    }
}

/// A running op.
pub(crate) struct Call<'a, 'b> {
    pub(crate) inputs: &'b [Arg<'a>],
    pub(crate) outputs: &'b mut [Out<'a>],
    pub(crate) team: Team<'a>,
    /// Output 0 holds the content of input 0, whose own bytes are empty.
    pub(crate) in_place: bool,
}

/// Shapes and bytes of what a region reads.
pub(crate) fn region_arguments<'a>(
    inputs: &[Arg<'a>],
) -> Result<(Vec<Shape>, Vec<&'a [u8]>), RunError> {
    if inputs.iter().any(|input| input.stride.is_some()) {
        return Err(RunError::Internal("a region reads columns of another value"));
    }
    Ok(inputs.iter().map(|input| (input.shape, input.bytes)).unzip())
}

/// Extent of the last axis; 1 for a scalar.
pub(crate) fn last_extent(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(1)
}

/// Product of all extents but the last.
pub(crate) fn row_count(shape: &[usize]) -> usize {
    shape.split_last().map_or(1, |(_, rows)| rows.iter().product())
}

/// Runs an expression with `$T` the Rust type of a plain number dtype.
macro_rules! with_number {
    ($dtype:expr, $T:ident => $body:expr, else $other:expr) => {
        match $dtype {
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            DType::U8 => {
                type $T = u8;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::U64 => {
                type $T = u64;
                $body
            }
            _ => $other,
        }
    };
}
/// As `with_number!`, for integers.
macro_rules! with_integer {
    ($dtype:expr, $T:ident => $body:expr, else $other:expr) => {
        match $dtype {
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            DType::U8 => {
                type $T = u8;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::U64 => {
                type $T = u64;
                $body
            }
            _ => $other,
        }
    };
}
pub(crate) use {with_integer, with_number};

/// Whether a dtype is one of `with_number!`.
pub(crate) fn is_number(dtype: DType) -> bool {
    with_number!(dtype, _T => true, else false)
}

/// Whether a dtype is one of `with_integer!`.
pub(crate) fn is_integer(dtype: DType) -> bool {
    with_integer!(dtype, _T => true, else false)
}

/// Whether a dtype is a float of 16 to 64 bits.
pub(crate) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::Bf16 | DType::F32 | DType::F64)
}

/// Whether elements are whole numbers or floats, of 8 to 64 bits or of 16 to 64 bits.
pub(crate) fn is_numeric(dtype: DType) -> bool {
    is_integer(dtype) || is_float(dtype)
}

/// What `is_numeric` lets through, for errors.
pub(crate) const NUMERIC: &str = "an integer of 8 to 64 bits or a float of 16 to 64 bits";

/// The error of a dtype that inference lets through but no kernel takes.
pub(crate) const DTYPE_DEFECT: RunError = RunError::Internal("a dtype without kernel was inferred");

//! Every kernel as a type whose fields are its parameters. Written by `build.py`: do not edit.

use crate::launch::{Address, Entry, Form, Kernel};
use crate::parameters::{
    Along, AttentionShape, Broadcasting, ChannelRows, ConvShape, DecodeShape, DynamicLayer, Ending,
    IntegerShape, Margins, NormRows, PoolShape, ProductShape, Quantization, QuantizeLanes,
    RaggedRows, ReduceLanes, ResizeAxis, RopeShape, ScanLanes, StepShape, Strides, Target, Tuples,
};
use std::ffi::c_void;

/// Names of all entry points, by [`Entry`].
pub(crate) const NAMES: &[&str] = &[
    "arg_extreme_f32",
    "arg_extreme_f16",
    "arg_extreme_bf16",
    "arg_extreme_i32",
    "arg_extreme_i64",
    "attention_32_f16",
    "attention_32_bf16",
    "attention_64_f16",
    "attention_64_bf16",
    "attention_128_f16",
    "attention_128_bf16",
    "attention_256_f16",
    "attention_256_bf16",
    "attention_wide_f32",
    "attention_wide_f16",
    "attention_wide_bf16",
    "attention_decode_f32",
    "attention_decode_f16",
    "attention_decode_bf16",
    "attention_decode_grouped_f32",
    "attention_decode_grouped_f16",
    "attention_decode_grouped_bf16",
    "attention_join_f32",
    "attention_join_f16",
    "attention_join_bf16",
    "attention_exact_32_f32",
    "attention_exact_64_f32",
    "attention_exact_128_f32",
    "attention_exact_256_f32",
    "binary_f32",
    "binary_f16",
    "binary_bf16",
    "binary_whole_b8",
    "binary_whole_b16",
    "binary_whole_b32",
    "binary_whole_b64",
    "compare_f32",
    "compare_f16",
    "compare_bf16",
    "compare_b8",
    "compare_b16",
    "compare_b32",
    "compare_b64",
    "cast",
    "batch_norm_f32",
    "batch_norm_f16",
    "batch_norm_bf16",
    "group_norm_f32",
    "group_norm_f16",
    "group_norm_bf16",
    "conv_tiles_f32",
    "conv_tiles_f16",
    "conv_tiles_bf16",
    "conv_join_f32",
    "conv_join_f16",
    "conv_join_bf16",
    "conv_depthwise_f32",
    "conv_depthwise_f16",
    "conv_depthwise_bf16",
    "conv_direct_f32",
    "conv_direct_f16",
    "conv_direct_bf16",
    "one_hot_b8",
    "one_hot_b16",
    "one_hot_b32",
    "one_hot_b64",
    "iota",
    "positions",
    "cumulative_f32",
    "cumulative_f16",
    "cumulative_bf16",
    "cumulative_i32",
    "cumulative_i64",
    "cumulative_tiles_f32",
    "cumulative_tiles_f16",
    "cumulative_tiles_bf16",
    "cumulative_tiles_i32",
    "cumulative_tiles_i64",
    "dynamic_rows",
    "dynamic_layer_tiles",
    "dynamic_layer_few",
    "gather_b8",
    "gather_b16",
    "gather_b32",
    "gather_b64",
    "gather_b128",
    "gather_elements_b8",
    "gather_elements_b16",
    "gather_elements_b32",
    "gather_elements_b64",
    "gather_tuples_b8",
    "gather_tuples_b16",
    "gather_tuples_b32",
    "gather_tuples_b64",
    "gather_tuples_b128",
    "check_tuples",
    "gemv_columns_one_f32",
    "gemv_columns_one_f16",
    "gemv_columns_one_bf16",
    "gemv_columns_few_f32",
    "gemv_columns_few_f16",
    "gemv_columns_few_bf16",
    "gemv_rows_one_f32",
    "gemv_rows_one_f16",
    "gemv_rows_one_bf16",
    "gemv_rows_few_f32",
    "gemv_rows_few_f16",
    "gemv_rows_few_bf16",
    "im2col_b32",
    "im2col_b64",
    "im2col_b128",
    "matmul_large",
    "matmul_middle",
    "matmul_small",
    "matmul_finish",
    "matmul_integer_tiles",
    "matmul_integer_few",
    "matmul_tensor_large_f16",
    "matmul_tensor_large_bf16",
    "matmul_tensor_large_along_f16",
    "matmul_tensor_large_along_bf16",
    "matmul_tensor_small_f16",
    "matmul_tensor_small_bf16",
    "matmul_tensor_small_along_f16",
    "matmul_tensor_small_along_bf16",
    "matmul_tensor_flat_f16",
    "matmul_tensor_flat_bf16",
    "matmul_tensor_flat_along_f16",
    "matmul_tensor_flat_along_bf16",
    "norm_f32",
    "norm_f16",
    "norm_bf16",
    "pad_b8",
    "pad_b16",
    "pad_b32",
    "pad_b64",
    "max_pool_f32",
    "max_pool_f16",
    "max_pool_bf16",
    "max_pool_i32",
    "max_pool_i64",
    "max_pool_i8",
    "max_pool_u8",
    "average_pool_f32",
    "average_pool_f16",
    "average_pool_bf16",
    "quantize_f32",
    "quantize_f16",
    "quantize_bf16",
    "dequantize",
    "quantized_expand_f32",
    "quantized_expand_f16",
    "quantized_expand_bf16",
    "quantized_one_8",
    "quantized_few_8",
    "quantized_one_4",
    "quantized_few_4",
    "ragged_pool_f32",
    "ragged_pool_f16",
    "ragged_pool_bf16",
    "random_bits",
    "recurrent_step_f32",
    "recurrent_step_f16",
    "recurrent_step_bf16",
    "reduce_rows_f32",
    "reduce_rows_f16",
    "reduce_rows_bf16",
    "reduce_rows_i32",
    "reduce_rows_i64",
    "reduce_rows_u8",
    "reduce_columns_f32",
    "reduce_columns_f16",
    "reduce_columns_bf16",
    "reduce_columns_i32",
    "reduce_columns_i64",
    "reduce_columns_u8",
    "reduce_finish_f32",
    "reduce_finish_f16",
    "reduce_finish_bf16",
    "reduce_finish_i32",
    "reduce_finish_i64",
    "reduce_finish_u8",
    "resample_f32",
    "resample_f16",
    "resample_bf16",
    "resize_taps",
    "rope_f32",
    "rope_f16",
    "rope_bf16",
    "scatter_elements_b8",
    "scatter_elements_b16",
    "scatter_elements_b32",
    "scatter_elements_b64",
    "scatter_tuples_b8",
    "scatter_tuples_b16",
    "scatter_tuples_b32",
    "scatter_tuples_b64",
    "scatter_slices_b8",
    "scatter_slices_b16",
    "scatter_slices_b32",
    "scatter_slices_b64",
    "scatter_slices_b128",
    "select_b8",
    "select_b16",
    "select_b32",
    "select_b64",
    "softmax_rows_f32",
    "softmax_rows_f16",
    "softmax_rows_bf16",
    "softmax_columns_f32",
    "softmax_columns_f16",
    "softmax_columns_bf16",
    "strided_b8",
    "strided_b16",
    "strided_b32",
    "strided_b64",
    "strided_b128",
    "strided_squares_b8",
    "strided_squares_b16",
    "strided_squares_b32",
    "strided_squares_b64",
    "strided_squares_b128",
    "top_k_f32",
    "top_k_f16",
    "top_k_bf16",
    "top_k_i32",
    "unary_f32",
    "unary_f16",
    "unary_bf16",
    "unary_whole_b8",
    "unary_whole_b16",
    "unary_whole_b32",
    "unary_whole_b64",
    "unary_test_f32",
    "unary_test_f16",
    "unary_test_bf16",
];

/// `arg_extreme` of `arg_extreme.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ArgExtreme {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) lanes: u32,
    pub(crate) n: u32,
    pub(crate) inner: u32,
    pub(crate) largest: u32,
}

impl Kernel for ArgExtreme {
    const NAME: &'static str = "arg_extreme";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::F32, Entry(0)),
        (Form::F16, Entry(1)),
        (Form::Bf16, Entry(2)),
        (Form::I32, Entry(3)),
        (Form::I64, Entry(4)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.lanes).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.inner).cast_mut().cast());
        to.push((&raw const self.largest).cast_mut().cast());
    }
}

/// `attention_32` of `attention.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Attention32 {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) shape: AttentionShape,
}

impl Kernel for Attention32 {
    const NAME: &'static str = "attention_32";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(5)), (Form::Bf16, Entry(6))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_64` of `attention.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Attention64 {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) shape: AttentionShape,
}

impl Kernel for Attention64 {
    const NAME: &'static str = "attention_64";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(7)), (Form::Bf16, Entry(8))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_128` of `attention.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Attention128 {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) shape: AttentionShape,
}

impl Kernel for Attention128 {
    const NAME: &'static str = "attention_128";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(9)), (Form::Bf16, Entry(10))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_256` of `attention.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Attention256 {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) shape: AttentionShape,
}

impl Kernel for Attention256 {
    const NAME: &'static str = "attention_256";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(11)), (Form::Bf16, Entry(12))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_wide` of `attention.cu`.
#[derive(Clone, Copy)]
pub(crate) struct AttentionWide {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) shape: AttentionShape,
}

impl Kernel for AttentionWide {
    const NAME: &'static str = "attention_wide";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(13)), (Form::F16, Entry(14)), (Form::Bf16, Entry(15))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_decode` of `attention_decode.cu`.
#[derive(Clone, Copy)]
pub(crate) struct AttentionDecode {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) lengths: Address,
    pub(crate) table: Address,
    pub(crate) y: Address,
    pub(crate) partial: Address,
    pub(crate) shape: DecodeShape,
}

impl Kernel for AttentionDecode {
    const NAME: &'static str = "attention_decode";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(16)), (Form::F16, Entry(17)), (Form::Bf16, Entry(18))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.lengths).cast_mut().cast());
        to.push((&raw const self.table).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.partial).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_decode_grouped` of `attention_decode.cu`.
#[derive(Clone, Copy)]
pub(crate) struct AttentionDecodeGrouped {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) lengths: Address,
    pub(crate) table: Address,
    pub(crate) y: Address,
    pub(crate) partial: Address,
    pub(crate) shape: DecodeShape,
}

impl Kernel for AttentionDecodeGrouped {
    const NAME: &'static str = "attention_decode_grouped";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(19)), (Form::F16, Entry(20)), (Form::Bf16, Entry(21))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.lengths).cast_mut().cast());
        to.push((&raw const self.table).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.partial).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_join` of `attention_decode.cu`.
#[derive(Clone, Copy)]
pub(crate) struct AttentionJoin {
    pub(crate) partial: Address,
    pub(crate) y: Address,
    pub(crate) heads: u32,
    pub(crate) head_dim: u32,
    pub(crate) splits: u32,
    pub(crate) y_row: u32,
}

impl Kernel for AttentionJoin {
    const NAME: &'static str = "attention_join";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(22)), (Form::F16, Entry(23)), (Form::Bf16, Entry(24))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.partial).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.heads).cast_mut().cast());
        to.push((&raw const self.head_dim).cast_mut().cast());
        to.push((&raw const self.splits).cast_mut().cast());
        to.push((&raw const self.y_row).cast_mut().cast());
    }
}

/// `attention_exact_32` of `attention_exact.cu`.
#[derive(Clone, Copy)]
pub(crate) struct AttentionExact32 {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) shape: AttentionShape,
}

impl Kernel for AttentionExact32 {
    const NAME: &'static str = "attention_exact_32";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F32, Entry(25))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_exact_64` of `attention_exact.cu`.
#[derive(Clone, Copy)]
pub(crate) struct AttentionExact64 {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) shape: AttentionShape,
}

impl Kernel for AttentionExact64 {
    const NAME: &'static str = "attention_exact_64";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F32, Entry(26))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_exact_128` of `attention_exact.cu`.
#[derive(Clone, Copy)]
pub(crate) struct AttentionExact128 {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) shape: AttentionShape,
}

impl Kernel for AttentionExact128 {
    const NAME: &'static str = "attention_exact_128";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F32, Entry(27))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `attention_exact_256` of `attention_exact.cu`.
#[derive(Clone, Copy)]
pub(crate) struct AttentionExact256 {
    pub(crate) q: Address,
    pub(crate) k: Address,
    pub(crate) v: Address,
    pub(crate) mask: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) shape: AttentionShape,
}

impl Kernel for AttentionExact256 {
    const NAME: &'static str = "attention_exact_256";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F32, Entry(28))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.q).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.v).cast_mut().cast());
        to.push((&raw const self.mask).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `binary` of `binary.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Binary {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) y: Address,
    pub(crate) layout: Broadcasting,
    pub(crate) op: u32,
}

impl Kernel for Binary {
    const NAME: &'static str = "binary";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(29)), (Form::F16, Entry(30)), (Form::Bf16, Entry(31))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
        to.push((&raw const self.op).cast_mut().cast());
    }
}

/// `binary_whole` of `binary.cu`.
#[derive(Clone, Copy)]
pub(crate) struct BinaryWhole {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) y: Address,
    pub(crate) layout: Broadcasting,
    pub(crate) op: u32,
}

impl Kernel for BinaryWhole {
    const NAME: &'static str = "binary_whole";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(32)),
        (Form::B16, Entry(33)),
        (Form::B32, Entry(34)),
        (Form::B64, Entry(35)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
        to.push((&raw const self.op).cast_mut().cast());
    }
}

/// `compare` of `binary.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Compare {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) y: Address,
    pub(crate) layout: Broadcasting,
    pub(crate) holds: u32,
    pub(crate) flip: u64,
}

impl Kernel for Compare {
    const NAME: &'static str = "compare";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::F32, Entry(36)),
        (Form::F16, Entry(37)),
        (Form::Bf16, Entry(38)),
        (Form::B8, Entry(39)),
        (Form::B16, Entry(40)),
        (Form::B32, Entry(41)),
        (Form::B64, Entry(42)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
        to.push((&raw const self.holds).cast_mut().cast());
        to.push((&raw const self.flip).cast_mut().cast());
    }
}

/// `cast` of `cast.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Cast {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) n: u32,
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) packed: u32,
}

impl Kernel for Cast {
    const NAME: &'static str = "cast";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(43))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.from).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.packed).cast_mut().cast());
    }
}

/// `batch_norm` of `channel_norm.cu`.
#[derive(Clone, Copy)]
pub(crate) struct BatchNorm {
    pub(crate) rows: ChannelRows,
    pub(crate) means: Address,
    pub(crate) variances: Address,
    pub(crate) epsilon: f32,
    pub(crate) n: u32,
    pub(crate) vector: u32,
}

impl Kernel for BatchNorm {
    const NAME: &'static str = "batch_norm";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(44)), (Form::F16, Entry(45)), (Form::Bf16, Entry(46))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.rows).cast_mut().cast());
        to.push((&raw const self.means).cast_mut().cast());
        to.push((&raw const self.variances).cast_mut().cast());
        to.push((&raw const self.epsilon).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.vector).cast_mut().cast());
    }
}

/// `group_norm` of `channel_norm.cu`.
#[derive(Clone, Copy)]
pub(crate) struct GroupNorm {
    pub(crate) rows: ChannelRows,
    pub(crate) groups: u32,
    pub(crate) epsilon: f32,
    pub(crate) n: u32,
    pub(crate) vector: u32,
}

impl Kernel for GroupNorm {
    const NAME: &'static str = "group_norm";
    const THREADS_MAX: u32 = 1024;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(47)), (Form::F16, Entry(48)), (Form::Bf16, Entry(49))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.rows).cast_mut().cast());
        to.push((&raw const self.groups).cast_mut().cast());
        to.push((&raw const self.epsilon).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.vector).cast_mut().cast());
    }
}

/// `conv_tiles` of `conv.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ConvTiles {
    pub(crate) x: Address,
    pub(crate) w: Address,
    pub(crate) bias: Address,
    pub(crate) residual: Address,
    pub(crate) y: Address,
    pub(crate) partial: Address,
    pub(crate) shape: ConvShape,
    pub(crate) ending: Ending,
}

impl Kernel for ConvTiles {
    const NAME: &'static str = "conv_tiles";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(50)), (Form::F16, Entry(51)), (Form::Bf16, Entry(52))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.w).cast_mut().cast());
        to.push((&raw const self.bias).cast_mut().cast());
        to.push((&raw const self.residual).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.partial).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `conv_join` of `conv.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ConvJoin {
    pub(crate) partial: Address,
    pub(crate) bias: Address,
    pub(crate) residual: Address,
    pub(crate) y: Address,
    pub(crate) shape: ConvShape,
    pub(crate) ending: Ending,
}

impl Kernel for ConvJoin {
    const NAME: &'static str = "conv_join";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(53)), (Form::F16, Entry(54)), (Form::Bf16, Entry(55))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.partial).cast_mut().cast());
        to.push((&raw const self.bias).cast_mut().cast());
        to.push((&raw const self.residual).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `conv_depthwise` of `conv_depthwise.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ConvDepthwise {
    pub(crate) x: Address,
    pub(crate) w: Address,
    pub(crate) bias: Address,
    pub(crate) residual: Address,
    pub(crate) y: Address,
    pub(crate) shape: ConvShape,
    pub(crate) ending: Ending,
}

impl Kernel for ConvDepthwise {
    const NAME: &'static str = "conv_depthwise";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(56)), (Form::F16, Entry(57)), (Form::Bf16, Entry(58))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.w).cast_mut().cast());
        to.push((&raw const self.bias).cast_mut().cast());
        to.push((&raw const self.residual).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `conv_direct` of `conv_direct.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ConvDirect {
    pub(crate) x: Address,
    pub(crate) w: Address,
    pub(crate) bias: Address,
    pub(crate) residual: Address,
    pub(crate) y: Address,
    pub(crate) shape: ConvShape,
    pub(crate) ending: Ending,
    pub(crate) transposed: u32,
}

impl Kernel for ConvDirect {
    const NAME: &'static str = "conv_direct";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(59)), (Form::F16, Entry(60)), (Form::Bf16, Entry(61))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.w).cast_mut().cast());
        to.push((&raw const self.bias).cast_mut().cast());
        to.push((&raw const self.residual).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
        to.push((&raw const self.transposed).cast_mut().cast());
    }
}

/// `one_hot` of `counting.cu`.
#[derive(Clone, Copy)]
pub(crate) struct OneHot {
    pub(crate) indices: Address,
    pub(crate) y: Address,
    pub(crate) n: u32,
    pub(crate) depth: u32,
    pub(crate) index_type: u32,
    pub(crate) one: u64,
}

impl Kernel for OneHot {
    const NAME: &'static str = "one_hot";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(62)),
        (Form::B16, Entry(63)),
        (Form::B32, Entry(64)),
        (Form::B64, Entry(65)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.depth).cast_mut().cast());
        to.push((&raw const self.index_type).cast_mut().cast());
        to.push((&raw const self.one).cast_mut().cast());
    }
}

/// `iota` of `counting.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Iota {
    pub(crate) y: Address,
    pub(crate) n: u32,
    pub(crate) extent: u32,
    pub(crate) inner: u32,
    pub(crate) start: i64,
    pub(crate) step: i64,
}

impl Kernel for Iota {
    const NAME: &'static str = "iota";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(66))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.extent).cast_mut().cast());
        to.push((&raw const self.inner).cast_mut().cast());
        to.push((&raw const self.start).cast_mut().cast());
        to.push((&raw const self.step).cast_mut().cast());
    }
}

/// `positions` of `counting.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Positions {
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) sequences: u32,
    pub(crate) rows: u32,
}

impl Kernel for Positions {
    const NAME: &'static str = "positions";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(67))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.sequences).cast_mut().cast());
        to.push((&raw const self.rows).cast_mut().cast());
    }
}

/// `cumulative` of `cumulative.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Cumulative {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) scan: ScanLanes,
    pub(crate) product: u32,
}

impl Kernel for Cumulative {
    const NAME: &'static str = "cumulative";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::F32, Entry(68)),
        (Form::F16, Entry(69)),
        (Form::Bf16, Entry(70)),
        (Form::I32, Entry(71)),
        (Form::I64, Entry(72)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.scan).cast_mut().cast());
        to.push((&raw const self.product).cast_mut().cast());
    }
}

/// `cumulative_tiles` of `cumulative.cu`.
#[derive(Clone, Copy)]
pub(crate) struct CumulativeTiles {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) scan: ScanLanes,
}

impl Kernel for CumulativeTiles {
    const NAME: &'static str = "cumulative_tiles";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::F32, Entry(73)),
        (Form::F16, Entry(74)),
        (Form::Bf16, Entry(75)),
        (Form::I32, Entry(76)),
        (Form::I64, Entry(77)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.scan).cast_mut().cast());
    }
}

/// `dynamic_rows` of `dynamic_linear.cu`.
#[derive(Clone, Copy)]
pub(crate) struct DynamicRows {
    pub(crate) x: Address,
    pub(crate) bytes: Address,
    pub(crate) scaling: Address,
    pub(crate) rows: u32,
    pub(crate) k: u32,
    pub(crate) blocks: u32,
}

impl Kernel for DynamicRows {
    const NAME: &'static str = "dynamic_rows";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(78))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.bytes).cast_mut().cast());
        to.push((&raw const self.scaling).cast_mut().cast());
        to.push((&raw const self.rows).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.blocks).cast_mut().cast());
    }
}

/// `dynamic_layer_tiles` of `dynamic_linear.cu`.
#[derive(Clone, Copy)]
pub(crate) struct DynamicLayerTiles {
    pub(crate) shape: DynamicLayer,
    pub(crate) ending: Ending,
}

impl Kernel for DynamicLayerTiles {
    const NAME: &'static str = "dynamic_layer_tiles";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(79))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `dynamic_layer_few` of `dynamic_linear.cu`.
#[derive(Clone, Copy)]
pub(crate) struct DynamicLayerFew {
    pub(crate) shape: DynamicLayer,
    pub(crate) ending: Ending,
}

impl Kernel for DynamicLayerFew {
    const NAME: &'static str = "dynamic_layer_few";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(80))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `gather` of `gather.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Gather {
    pub(crate) x: Address,
    pub(crate) indices: Address,
    pub(crate) y: Address,
    pub(crate) fault: Address,
    pub(crate) words: u32,
    pub(crate) inner: u32,
    pub(crate) count: u32,
    pub(crate) extent: u32,
    pub(crate) index_type: u32,
}

impl Kernel for Gather {
    const NAME: &'static str = "gather";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(81)),
        (Form::B16, Entry(82)),
        (Form::B32, Entry(83)),
        (Form::B64, Entry(84)),
        (Form::B128, Entry(85)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.fault).cast_mut().cast());
        to.push((&raw const self.words).cast_mut().cast());
        to.push((&raw const self.inner).cast_mut().cast());
        to.push((&raw const self.count).cast_mut().cast());
        to.push((&raw const self.extent).cast_mut().cast());
        to.push((&raw const self.index_type).cast_mut().cast());
    }
}

/// `gather_elements` of `gather.cu`.
#[derive(Clone, Copy)]
pub(crate) struct GatherElements {
    pub(crate) x: Address,
    pub(crate) indices: Address,
    pub(crate) y: Address,
    pub(crate) fault: Address,
    pub(crate) layout: Strides,
    pub(crate) along: Along,
}

impl Kernel for GatherElements {
    const NAME: &'static str = "gather_elements";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(86)),
        (Form::B16, Entry(87)),
        (Form::B32, Entry(88)),
        (Form::B64, Entry(89)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.fault).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
        to.push((&raw const self.along).cast_mut().cast());
    }
}

/// `gather_tuples` of `gather.cu`.
#[derive(Clone, Copy)]
pub(crate) struct GatherTuples {
    pub(crate) x: Address,
    pub(crate) indices: Address,
    pub(crate) y: Address,
    pub(crate) fault: Address,
    pub(crate) layout: Tuples,
}

impl Kernel for GatherTuples {
    const NAME: &'static str = "gather_tuples";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(90)),
        (Form::B16, Entry(91)),
        (Form::B32, Entry(92)),
        (Form::B64, Entry(93)),
        (Form::B128, Entry(94)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.fault).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
    }
}

/// `check_tuples` of `gather.cu`.
#[derive(Clone, Copy)]
pub(crate) struct CheckTuples {
    pub(crate) indices: Address,
    pub(crate) fault: Address,
    pub(crate) layout: Tuples,
}

impl Kernel for CheckTuples {
    const NAME: &'static str = "check_tuples";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(95))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.fault).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
    }
}

/// `gemv_columns_one` of `gemv.cu`.
#[derive(Clone, Copy)]
pub(crate) struct GemvColumnsOne {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for GemvColumnsOne {
    const NAME: &'static str = "gemv_columns_one";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(96)), (Form::F16, Entry(97)), (Form::Bf16, Entry(98))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `gemv_columns_few` of `gemv.cu`.
#[derive(Clone, Copy)]
pub(crate) struct GemvColumnsFew {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for GemvColumnsFew {
    const NAME: &'static str = "gemv_columns_few";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(99)), (Form::F16, Entry(100)), (Form::Bf16, Entry(101))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `gemv_rows_one` of `gemv.cu`.
#[derive(Clone, Copy)]
pub(crate) struct GemvRowsOne {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for GemvRowsOne {
    const NAME: &'static str = "gemv_rows_one";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(102)), (Form::F16, Entry(103)), (Form::Bf16, Entry(104))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `gemv_rows_few` of `gemv.cu`.
#[derive(Clone, Copy)]
pub(crate) struct GemvRowsFew {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for GemvRowsFew {
    const NAME: &'static str = "gemv_rows_few";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(105)), (Form::F16, Entry(106)), (Form::Bf16, Entry(107))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `im2col` of `im2col.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Im2col {
    pub(crate) x: Address,
    pub(crate) columns: Address,
    pub(crate) shape: ConvShape,
    pub(crate) first: u32,
    pub(crate) rows: u32,
    pub(crate) width: u32,
}

impl Kernel for Im2col {
    const NAME: &'static str = "im2col";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::B32, Entry(108)), (Form::B64, Entry(109)), (Form::B128, Entry(110))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.columns).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.first).cast_mut().cast());
        to.push((&raw const self.rows).cast_mut().cast());
        to.push((&raw const self.width).cast_mut().cast());
    }
}

/// `matmul_large` of `matmul.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulLarge {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulLarge {
    const NAME: &'static str = "matmul_large";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(111))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `matmul_middle` of `matmul.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulMiddle {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulMiddle {
    const NAME: &'static str = "matmul_middle";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(112))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `matmul_small` of `matmul.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulSmall {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulSmall {
    const NAME: &'static str = "matmul_small";
    const THREADS_MAX: u32 = 64;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(113))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `matmul_finish` of `matmul.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulFinish {
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulFinish {
    const NAME: &'static str = "matmul_finish";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(114))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `matmul_integer_tiles` of `matmul_integer.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulIntegerTiles {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) a_zeros: Address,
    pub(crate) b_zeros: Address,
    pub(crate) scales: Address,
    pub(crate) c: Address,
    pub(crate) shape: IntegerShape,
}

impl Kernel for MatmulIntegerTiles {
    const NAME: &'static str = "matmul_integer_tiles";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(115))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.a_zeros).cast_mut().cast());
        to.push((&raw const self.b_zeros).cast_mut().cast());
        to.push((&raw const self.scales).cast_mut().cast());
        to.push((&raw const self.c).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `matmul_integer_few` of `matmul_integer.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulIntegerFew {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) a_zeros: Address,
    pub(crate) b_zeros: Address,
    pub(crate) scales: Address,
    pub(crate) c: Address,
    pub(crate) shape: IntegerShape,
}

impl Kernel for MatmulIntegerFew {
    const NAME: &'static str = "matmul_integer_few";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(116))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.a_zeros).cast_mut().cast());
        to.push((&raw const self.b_zeros).cast_mut().cast());
        to.push((&raw const self.scales).cast_mut().cast());
        to.push((&raw const self.c).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `matmul_tensor_large` of `matmul_tensor.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulTensorLarge {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulTensorLarge {
    const NAME: &'static str = "matmul_tensor_large";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(117)), (Form::Bf16, Entry(118))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `matmul_tensor_large_along` of `matmul_tensor.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulTensorLargeAlong {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulTensorLargeAlong {
    const NAME: &'static str = "matmul_tensor_large_along";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(119)), (Form::Bf16, Entry(120))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `matmul_tensor_small` of `matmul_tensor.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulTensorSmall {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulTensorSmall {
    const NAME: &'static str = "matmul_tensor_small";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(121)), (Form::Bf16, Entry(122))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `matmul_tensor_small_along` of `matmul_tensor.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulTensorSmallAlong {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulTensorSmallAlong {
    const NAME: &'static str = "matmul_tensor_small_along";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(123)), (Form::Bf16, Entry(124))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `matmul_tensor_flat` of `matmul_tensor.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulTensorFlat {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulTensorFlat {
    const NAME: &'static str = "matmul_tensor_flat";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(125)), (Form::Bf16, Entry(126))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `matmul_tensor_flat_along` of `matmul_tensor.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MatmulTensorFlatAlong {
    pub(crate) a: Address,
    pub(crate) b: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) ending: Ending,
}

impl Kernel for MatmulTensorFlatAlong {
    const NAME: &'static str = "matmul_tensor_flat_along";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::F16, Entry(127)), (Form::Bf16, Entry(128))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.a).cast_mut().cast());
        to.push((&raw const self.b).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `norm` of `norm.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Norm {
    pub(crate) rows: NormRows,
    pub(crate) kind: u32,
    pub(crate) epsilon: f32,
    pub(crate) vector: u32,
}

impl Kernel for Norm {
    const NAME: &'static str = "norm";
    const THREADS_MAX: u32 = 1024;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(129)), (Form::F16, Entry(130)), (Form::Bf16, Entry(131))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.rows).cast_mut().cast());
        to.push((&raw const self.kind).cast_mut().cast());
        to.push((&raw const self.epsilon).cast_mut().cast());
        to.push((&raw const self.vector).cast_mut().cast());
    }
}

/// `pad` of `pad.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Pad {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) layout: Margins,
    pub(crate) mode: u32,
    pub(crate) fill: u64,
}

impl Kernel for Pad {
    const NAME: &'static str = "pad";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(132)),
        (Form::B16, Entry(133)),
        (Form::B32, Entry(134)),
        (Form::B64, Entry(135)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
        to.push((&raw const self.mode).cast_mut().cast());
        to.push((&raw const self.fill).cast_mut().cast());
    }
}

/// `max_pool` of `pool.cu`.
#[derive(Clone, Copy)]
pub(crate) struct MaxPool {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) n: u32,
    pub(crate) shape: PoolShape,
}

impl Kernel for MaxPool {
    const NAME: &'static str = "max_pool";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::F32, Entry(136)),
        (Form::F16, Entry(137)),
        (Form::Bf16, Entry(138)),
        (Form::I32, Entry(139)),
        (Form::I64, Entry(140)),
        (Form::I8, Entry(141)),
        (Form::U8, Entry(142)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `average_pool` of `pool.cu`.
#[derive(Clone, Copy)]
pub(crate) struct AveragePool {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) n: u32,
    pub(crate) shape: PoolShape,
}

impl Kernel for AveragePool {
    const NAME: &'static str = "average_pool";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(143)), (Form::F16, Entry(144)), (Form::Bf16, Entry(145))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `quantize` of `quantize.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Quantize {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) lanes: QuantizeLanes,
}

impl Kernel for Quantize {
    const NAME: &'static str = "quantize";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(146)), (Form::F16, Entry(147)), (Form::Bf16, Entry(148))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.lanes).cast_mut().cast());
    }
}

/// `dequantize` of `quantize.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Dequantize {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) lanes: QuantizeLanes,
}

impl Kernel for Dequantize {
    const NAME: &'static str = "dequantize";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(149))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.lanes).cast_mut().cast());
    }
}

/// `quantized_expand` of `quantized.cu`.
#[derive(Clone, Copy)]
pub(crate) struct QuantizedExpand {
    pub(crate) weights: Address,
    pub(crate) scales: Address,
    pub(crate) zeros: Address,
    pub(crate) out: Address,
    pub(crate) quantization: Quantization,
    pub(crate) first: u32,
    pub(crate) elements: u32,
}

impl Kernel for QuantizedExpand {
    const NAME: &'static str = "quantized_expand";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(150)), (Form::F16, Entry(151)), (Form::Bf16, Entry(152))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.weights).cast_mut().cast());
        to.push((&raw const self.scales).cast_mut().cast());
        to.push((&raw const self.zeros).cast_mut().cast());
        to.push((&raw const self.out).cast_mut().cast());
        to.push((&raw const self.quantization).cast_mut().cast());
        to.push((&raw const self.first).cast_mut().cast());
        to.push((&raw const self.elements).cast_mut().cast());
    }
}

/// `quantized_one_8` of `quantized.cu`.
#[derive(Clone, Copy)]
pub(crate) struct QuantizedOne8 {
    pub(crate) x: Address,
    pub(crate) weights: Address,
    pub(crate) scales: Address,
    pub(crate) zeros: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) quantization: Quantization,
    pub(crate) ending: Ending,
}

impl Kernel for QuantizedOne8 {
    const NAME: &'static str = "quantized_one_8";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(153))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.weights).cast_mut().cast());
        to.push((&raw const self.scales).cast_mut().cast());
        to.push((&raw const self.zeros).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.quantization).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `quantized_few_8` of `quantized.cu`.
#[derive(Clone, Copy)]
pub(crate) struct QuantizedFew8 {
    pub(crate) x: Address,
    pub(crate) weights: Address,
    pub(crate) scales: Address,
    pub(crate) zeros: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) quantization: Quantization,
    pub(crate) ending: Ending,
}

impl Kernel for QuantizedFew8 {
    const NAME: &'static str = "quantized_few_8";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(154))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.weights).cast_mut().cast());
        to.push((&raw const self.scales).cast_mut().cast());
        to.push((&raw const self.zeros).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.quantization).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `quantized_one_4` of `quantized.cu`.
#[derive(Clone, Copy)]
pub(crate) struct QuantizedOne4 {
    pub(crate) x: Address,
    pub(crate) weights: Address,
    pub(crate) scales: Address,
    pub(crate) zeros: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) quantization: Quantization,
    pub(crate) ending: Ending,
}

impl Kernel for QuantizedOne4 {
    const NAME: &'static str = "quantized_one_4";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(155))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.weights).cast_mut().cast());
        to.push((&raw const self.scales).cast_mut().cast());
        to.push((&raw const self.zeros).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.quantization).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `quantized_few_4` of `quantized.cu`.
#[derive(Clone, Copy)]
pub(crate) struct QuantizedFew4 {
    pub(crate) x: Address,
    pub(crate) weights: Address,
    pub(crate) scales: Address,
    pub(crate) zeros: Address,
    pub(crate) to: Target,
    pub(crate) shape: ProductShape,
    pub(crate) quantization: Quantization,
    pub(crate) ending: Ending,
}

impl Kernel for QuantizedFew4 {
    const NAME: &'static str = "quantized_few_4";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(156))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.weights).cast_mut().cast());
        to.push((&raw const self.scales).cast_mut().cast());
        to.push((&raw const self.zeros).cast_mut().cast());
        to.push((&raw const self.to).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
        to.push((&raw const self.quantization).cast_mut().cast());
        to.push((&raw const self.ending).cast_mut().cast());
    }
}

/// `ragged_pool` of `ragged_pool.cu`.
#[derive(Clone, Copy)]
pub(crate) struct RaggedPool {
    pub(crate) x: Address,
    pub(crate) offsets: Address,
    pub(crate) y: Address,
    pub(crate) ragged: RaggedRows,
    pub(crate) kind: u32,
    pub(crate) vector: u32,
}

impl Kernel for RaggedPool {
    const NAME: &'static str = "ragged_pool";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(157)), (Form::F16, Entry(158)), (Form::Bf16, Entry(159))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.offsets).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.ragged).cast_mut().cast());
        to.push((&raw const self.kind).cast_mut().cast());
        to.push((&raw const self.vector).cast_mut().cast());
    }
}

/// `random_bits` of `random_bits.cu`.
#[derive(Clone, Copy)]
pub(crate) struct RandomBits {
    pub(crate) key: Address,
    pub(crate) y: Address,
    pub(crate) n: u32,
}

impl Kernel for RandomBits {
    const NAME: &'static str = "random_bits";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(160))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.key).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
    }
}

/// `recurrent_step` of `recurrent.cu`.
#[derive(Clone, Copy)]
pub(crate) struct RecurrentStep {
    pub(crate) projected: Address,
    pub(crate) weights: Address,
    pub(crate) bias: Address,
    pub(crate) before: Address,
    pub(crate) after: Address,
    pub(crate) cell: Address,
    pub(crate) update: Address,
    pub(crate) kept: Address,
    pub(crate) out: Address,
    pub(crate) shape: StepShape,
}

impl Kernel for RecurrentStep {
    const NAME: &'static str = "recurrent_step";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(161)), (Form::F16, Entry(162)), (Form::Bf16, Entry(163))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.projected).cast_mut().cast());
        to.push((&raw const self.weights).cast_mut().cast());
        to.push((&raw const self.bias).cast_mut().cast());
        to.push((&raw const self.before).cast_mut().cast());
        to.push((&raw const self.after).cast_mut().cast());
        to.push((&raw const self.cell).cast_mut().cast());
        to.push((&raw const self.update).cast_mut().cast());
        to.push((&raw const self.kept).cast_mut().cast());
        to.push((&raw const self.out).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `reduce_rows` of `reduce.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ReduceRows {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) partial: Address,
    pub(crate) lanes: ReduceLanes,
    pub(crate) kind: u32,
    pub(crate) vector: u32,
}

impl Kernel for ReduceRows {
    const NAME: &'static str = "reduce_rows";
    const THREADS_MAX: u32 = 512;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::F32, Entry(164)),
        (Form::F16, Entry(165)),
        (Form::Bf16, Entry(166)),
        (Form::I32, Entry(167)),
        (Form::I64, Entry(168)),
        (Form::U8, Entry(169)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.partial).cast_mut().cast());
        to.push((&raw const self.lanes).cast_mut().cast());
        to.push((&raw const self.kind).cast_mut().cast());
        to.push((&raw const self.vector).cast_mut().cast());
    }
}

/// `reduce_columns` of `reduce.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ReduceColumns {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) partial: Address,
    pub(crate) lanes: ReduceLanes,
    pub(crate) kind: u32,
}

impl Kernel for ReduceColumns {
    const NAME: &'static str = "reduce_columns";
    const THREADS_MAX: u32 = 1024;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::F32, Entry(170)),
        (Form::F16, Entry(171)),
        (Form::Bf16, Entry(172)),
        (Form::I32, Entry(173)),
        (Form::I64, Entry(174)),
        (Form::U8, Entry(175)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.partial).cast_mut().cast());
        to.push((&raw const self.lanes).cast_mut().cast());
        to.push((&raw const self.kind).cast_mut().cast());
    }
}

/// `reduce_finish` of `reduce.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ReduceFinish {
    pub(crate) partial: Address,
    pub(crate) y: Address,
    pub(crate) lanes: ReduceLanes,
    pub(crate) slices: u32,
    pub(crate) kind: u32,
}

impl Kernel for ReduceFinish {
    const NAME: &'static str = "reduce_finish";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::F32, Entry(176)),
        (Form::F16, Entry(177)),
        (Form::Bf16, Entry(178)),
        (Form::I32, Entry(179)),
        (Form::I64, Entry(180)),
        (Form::U8, Entry(181)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.partial).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.lanes).cast_mut().cast());
        to.push((&raw const self.slices).cast_mut().cast());
        to.push((&raw const self.kind).cast_mut().cast());
    }
}

/// `resample` of `resample.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Resample {
    pub(crate) x: Address,
    pub(crate) indices: Address,
    pub(crate) weights: Address,
    pub(crate) y: Address,
    pub(crate) fault: Address,
    pub(crate) count: u32,
    pub(crate) n: u32,
    pub(crate) inner: u32,
    pub(crate) extent: u32,
    pub(crate) taps: u32,
}

impl Kernel for Resample {
    const NAME: &'static str = "resample";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(182)), (Form::F16, Entry(183)), (Form::Bf16, Entry(184))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.weights).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.fault).cast_mut().cast());
        to.push((&raw const self.count).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.inner).cast_mut().cast());
        to.push((&raw const self.extent).cast_mut().cast());
        to.push((&raw const self.taps).cast_mut().cast());
    }
}

/// `resize_taps` of `resample.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ResizeTaps {
    pub(crate) indices: Address,
    pub(crate) weights: Address,
    pub(crate) axis: ResizeAxis,
}

impl Kernel for ResizeTaps {
    const NAME: &'static str = "resize_taps";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[(Form::Plain, Entry(185))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.weights).cast_mut().cast());
        to.push((&raw const self.axis).cast_mut().cast());
    }
}

/// `rope` of `rope.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Rope {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) positions: Address,
    pub(crate) turns: Address,
    pub(crate) shape: RopeShape,
}

impl Kernel for Rope {
    const NAME: &'static str = "rope";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(186)), (Form::F16, Entry(187)), (Form::Bf16, Entry(188))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.positions).cast_mut().cast());
        to.push((&raw const self.turns).cast_mut().cast());
        to.push((&raw const self.shape).cast_mut().cast());
    }
}

/// `scatter_elements` of `scatter.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ScatterElements {
    pub(crate) updates: Address,
    pub(crate) indices: Address,
    pub(crate) y: Address,
    pub(crate) fault: Address,
    pub(crate) layout: Strides,
    pub(crate) along: Along,
    pub(crate) update: u32,
    pub(crate) together: u32,
}

impl Kernel for ScatterElements {
    const NAME: &'static str = "scatter_elements";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(189)),
        (Form::B16, Entry(190)),
        (Form::B32, Entry(191)),
        (Form::B64, Entry(192)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.updates).cast_mut().cast());
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.fault).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
        to.push((&raw const self.along).cast_mut().cast());
        to.push((&raw const self.update).cast_mut().cast());
        to.push((&raw const self.together).cast_mut().cast());
    }
}

/// `scatter_tuples` of `scatter.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ScatterTuples {
    pub(crate) updates: Address,
    pub(crate) indices: Address,
    pub(crate) y: Address,
    pub(crate) fault: Address,
    pub(crate) layout: Tuples,
    pub(crate) update: u32,
    pub(crate) together: u32,
}

impl Kernel for ScatterTuples {
    const NAME: &'static str = "scatter_tuples";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(193)),
        (Form::B16, Entry(194)),
        (Form::B32, Entry(195)),
        (Form::B64, Entry(196)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.updates).cast_mut().cast());
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.fault).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
        to.push((&raw const self.update).cast_mut().cast());
        to.push((&raw const self.together).cast_mut().cast());
    }
}

/// `scatter_slices` of `scatter.cu`.
#[derive(Clone, Copy)]
pub(crate) struct ScatterSlices {
    pub(crate) updates: Address,
    pub(crate) indices: Address,
    pub(crate) y: Address,
    pub(crate) fault: Address,
    pub(crate) layout: Tuples,
}

impl Kernel for ScatterSlices {
    const NAME: &'static str = "scatter_slices";
    const THREADS_MAX: u32 = 128;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(197)),
        (Form::B16, Entry(198)),
        (Form::B32, Entry(199)),
        (Form::B64, Entry(200)),
        (Form::B128, Entry(201)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.updates).cast_mut().cast());
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.fault).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
    }
}

/// `select` of `select.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Select {
    pub(crate) condition: Address,
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) out: Address,
    pub(crate) layout: Broadcasting,
}

impl Kernel for Select {
    const NAME: &'static str = "select";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(202)),
        (Form::B16, Entry(203)),
        (Form::B32, Entry(204)),
        (Form::B64, Entry(205)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.condition).cast_mut().cast());
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.out).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
    }
}

/// `softmax_rows` of `softmax.cu`.
#[derive(Clone, Copy)]
pub(crate) struct SoftmaxRows {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) rows: u32,
    pub(crate) n: u32,
    pub(crate) logarithm: u32,
    pub(crate) vector: u32,
}

impl Kernel for SoftmaxRows {
    const NAME: &'static str = "softmax_rows";
    const THREADS_MAX: u32 = 512;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(206)), (Form::F16, Entry(207)), (Form::Bf16, Entry(208))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.rows).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.logarithm).cast_mut().cast());
        to.push((&raw const self.vector).cast_mut().cast());
    }
}

/// `softmax_columns` of `softmax.cu`.
#[derive(Clone, Copy)]
pub(crate) struct SoftmaxColumns {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) columns: u32,
    pub(crate) n: u32,
    pub(crate) inner: u32,
    pub(crate) logarithm: u32,
}

impl Kernel for SoftmaxColumns {
    const NAME: &'static str = "softmax_columns";
    const THREADS_MAX: u32 = 1024;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(209)), (Form::F16, Entry(210)), (Form::Bf16, Entry(211))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.columns).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.inner).cast_mut().cast());
        to.push((&raw const self.logarithm).cast_mut().cast());
    }
}

/// `strided` of `strided.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Strided {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) layout: Strides,
}

impl Kernel for Strided {
    const NAME: &'static str = "strided";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(212)),
        (Form::B16, Entry(213)),
        (Form::B32, Entry(214)),
        (Form::B64, Entry(215)),
        (Form::B128, Entry(216)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
    }
}

/// `strided_squares` of `strided.cu`.
#[derive(Clone, Copy)]
pub(crate) struct StridedSquares {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) layout: Strides,
}

impl Kernel for StridedSquares {
    const NAME: &'static str = "strided_squares";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(217)),
        (Form::B16, Entry(218)),
        (Form::B32, Entry(219)),
        (Form::B64, Entry(220)),
        (Form::B128, Entry(221)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.layout).cast_mut().cast());
    }
}

/// `top_k` of `top_k.cu`.
#[derive(Clone, Copy)]
pub(crate) struct TopK {
    pub(crate) x: Address,
    pub(crate) values: Address,
    pub(crate) indices: Address,
    pub(crate) n: u32,
    pub(crate) k: u32,
    pub(crate) largest: u32,
}

impl Kernel for TopK {
    const NAME: &'static str = "top_k";
    const THREADS_MAX: u32 = 1024;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::F32, Entry(222)),
        (Form::F16, Entry(223)),
        (Form::Bf16, Entry(224)),
        (Form::I32, Entry(225)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.values).cast_mut().cast());
        to.push((&raw const self.indices).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.k).cast_mut().cast());
        to.push((&raw const self.largest).cast_mut().cast());
    }
}

/// `unary` of `unary.cu`.
#[derive(Clone, Copy)]
pub(crate) struct Unary {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) n: u32,
    pub(crate) width: u32,
    pub(crate) function: u32,
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
}

impl Kernel for Unary {
    const NAME: &'static str = "unary";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(226)), (Form::F16, Entry(227)), (Form::Bf16, Entry(228))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.width).cast_mut().cast());
        to.push((&raw const self.function).cast_mut().cast());
        to.push((&raw const self.alpha).cast_mut().cast());
        to.push((&raw const self.beta).cast_mut().cast());
    }
}

/// `unary_whole` of `unary.cu`.
#[derive(Clone, Copy)]
pub(crate) struct UnaryWhole {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) n: u32,
    pub(crate) width: u32,
    pub(crate) function: u32,
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl Kernel for UnaryWhole {
    const NAME: &'static str = "unary_whole";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] = &[
        (Form::B8, Entry(229)),
        (Form::B16, Entry(230)),
        (Form::B32, Entry(231)),
        (Form::B64, Entry(232)),
    ];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.width).cast_mut().cast());
        to.push((&raw const self.function).cast_mut().cast());
        to.push((&raw const self.low).cast_mut().cast());
        to.push((&raw const self.high).cast_mut().cast());
    }
}

/// `unary_test` of `unary.cu`.
#[derive(Clone, Copy)]
pub(crate) struct UnaryTest {
    pub(crate) x: Address,
    pub(crate) y: Address,
    pub(crate) n: u32,
    pub(crate) width: u32,
    pub(crate) infinite: u32,
}

impl Kernel for UnaryTest {
    const NAME: &'static str = "unary_test";
    const THREADS_MAX: u32 = 256;
    const ENTRIES: &'static [(Form, Entry)] =
        &[(Form::F32, Entry(233)), (Form::F16, Entry(234)), (Form::Bf16, Entry(235))];

    fn parameters(&self, to: &mut Vec<*mut c_void>) {
        to.push((&raw const self.x).cast_mut().cast());
        to.push((&raw const self.y).cast_mut().cast());
        to.push((&raw const self.n).cast_mut().cast());
        to.push((&raw const self.width).cast_mut().cast());
        to.push((&raw const self.infinite).cast_mut().cast());
    }
}

/// Bytes of each parameter as the compiler of the kernels laid them out, and as Rust does.
#[cfg(test)]
pub(crate) const SIZES: &[(&str, &[usize])] = &[
    (
        "arg_extreme",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "attention_32",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<AttentionShape>(),
        ],
    ),
    (
        "attention_64",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<AttentionShape>(),
        ],
    ),
    (
        "attention_128",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<AttentionShape>(),
        ],
    ),
    (
        "attention_256",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<AttentionShape>(),
        ],
    ),
    (
        "attention_wide",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<AttentionShape>(),
        ],
    ),
    (
        "attention_decode",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<DecodeShape>(),
        ],
    ),
    (
        "attention_decode_grouped",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<DecodeShape>(),
        ],
    ),
    (
        "attention_join",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "attention_exact_32",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<AttentionShape>(),
        ],
    ),
    (
        "attention_exact_64",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<AttentionShape>(),
        ],
    ),
    (
        "attention_exact_128",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<AttentionShape>(),
        ],
    ),
    (
        "attention_exact_256",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<AttentionShape>(),
        ],
    ),
    (
        "binary",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Broadcasting>(),
            size_of::<u32>(),
        ],
    ),
    (
        "binary_whole",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Broadcasting>(),
            size_of::<u32>(),
        ],
    ),
    (
        "compare",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Broadcasting>(),
            size_of::<u32>(),
            size_of::<u64>(),
        ],
    ),
    (
        "cast",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "batch_norm",
        &[
            size_of::<ChannelRows>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<f32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "group_norm",
        &[
            size_of::<ChannelRows>(),
            size_of::<u32>(),
            size_of::<f32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "conv_tiles",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<ConvShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "conv_join",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<ConvShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "conv_depthwise",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<ConvShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "conv_direct",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<ConvShape>(),
            size_of::<Ending>(),
            size_of::<u32>(),
        ],
    ),
    (
        "one_hot",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u64>(),
        ],
    ),
    (
        "iota",
        &[
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<i64>(),
            size_of::<i64>(),
        ],
    ),
    (
        "positions",
        &[size_of::<Address>(), size_of::<Address>(), size_of::<u32>(), size_of::<u32>()],
    ),
    (
        "cumulative",
        &[size_of::<Address>(), size_of::<Address>(), size_of::<ScanLanes>(), size_of::<u32>()],
    ),
    ("cumulative_tiles", &[size_of::<Address>(), size_of::<Address>(), size_of::<ScanLanes>()]),
    (
        "dynamic_rows",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    ("dynamic_layer_tiles", &[size_of::<DynamicLayer>(), size_of::<Ending>()]),
    ("dynamic_layer_few", &[size_of::<DynamicLayer>(), size_of::<Ending>()]),
    (
        "gather",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "gather_elements",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Strides>(),
            size_of::<Along>(),
        ],
    ),
    (
        "gather_tuples",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Tuples>(),
        ],
    ),
    ("check_tuples", &[size_of::<Address>(), size_of::<Address>(), size_of::<Tuples>()]),
    (
        "gemv_columns_one",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "gemv_columns_few",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "gemv_rows_one",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "gemv_rows_few",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "im2col",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<ConvShape>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "matmul_large",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "matmul_middle",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "matmul_small",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    ("matmul_finish", &[size_of::<Target>(), size_of::<ProductShape>(), size_of::<Ending>()]),
    (
        "matmul_integer_tiles",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<IntegerShape>(),
        ],
    ),
    (
        "matmul_integer_few",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<IntegerShape>(),
        ],
    ),
    (
        "matmul_tensor_large",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "matmul_tensor_large_along",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "matmul_tensor_small",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "matmul_tensor_small_along",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "matmul_tensor_flat",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "matmul_tensor_flat_along",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Ending>(),
        ],
    ),
    ("norm", &[size_of::<NormRows>(), size_of::<u32>(), size_of::<f32>(), size_of::<u32>()]),
    (
        "pad",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Margins>(),
            size_of::<u32>(),
            size_of::<u64>(),
        ],
    ),
    (
        "max_pool",
        &[size_of::<Address>(), size_of::<Address>(), size_of::<u32>(), size_of::<PoolShape>()],
    ),
    (
        "average_pool",
        &[size_of::<Address>(), size_of::<Address>(), size_of::<u32>(), size_of::<PoolShape>()],
    ),
    ("quantize", &[size_of::<Address>(), size_of::<Address>(), size_of::<QuantizeLanes>()]),
    ("dequantize", &[size_of::<Address>(), size_of::<Address>(), size_of::<QuantizeLanes>()]),
    (
        "quantized_expand",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Quantization>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "quantized_one_8",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Quantization>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "quantized_few_8",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Quantization>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "quantized_one_4",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Quantization>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "quantized_few_4",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Target>(),
            size_of::<ProductShape>(),
            size_of::<Quantization>(),
            size_of::<Ending>(),
        ],
    ),
    (
        "ragged_pool",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<RaggedRows>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    ("random_bits", &[size_of::<Address>(), size_of::<Address>(), size_of::<u32>()]),
    (
        "recurrent_step",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<StepShape>(),
        ],
    ),
    (
        "reduce_rows",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<ReduceLanes>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "reduce_columns",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<ReduceLanes>(),
            size_of::<u32>(),
        ],
    ),
    (
        "reduce_finish",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<ReduceLanes>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "resample",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    ("resize_taps", &[size_of::<Address>(), size_of::<Address>(), size_of::<ResizeAxis>()]),
    (
        "rope",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<RopeShape>(),
        ],
    ),
    (
        "scatter_elements",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Strides>(),
            size_of::<Along>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "scatter_tuples",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Tuples>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "scatter_slices",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Tuples>(),
        ],
    ),
    (
        "select",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Broadcasting>(),
        ],
    ),
    (
        "softmax_rows",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "softmax_columns",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    ("strided", &[size_of::<Address>(), size_of::<Address>(), size_of::<Strides>()]),
    ("strided_squares", &[size_of::<Address>(), size_of::<Address>(), size_of::<Strides>()]),
    (
        "top_k",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
    (
        "unary",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<f32>(),
            size_of::<f32>(),
        ],
    ),
    (
        "unary_whole",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<i64>(),
            size_of::<i64>(),
        ],
    ),
    (
        "unary_test",
        &[
            size_of::<Address>(),
            size_of::<Address>(),
            size_of::<u32>(),
            size_of::<u32>(),
            size_of::<u32>(),
        ],
    ),
];

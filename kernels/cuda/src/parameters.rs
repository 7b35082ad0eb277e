//! Parameters of kernels that are more than a number: the same structures as in the `.cuh` files.

use crate::launch::Address;

pub(crate) use crate::finish::Ending;
pub(crate) use crate::product::{ProductShape, Target};
pub(crate) use crate::quantized::Quantization;

/// Threads of a block of kernels that go element by element.
pub(crate) const ELEMENTWISE_THREADS: u32 = 256;
/// Most axes that a kernel walks.
pub(crate) const AXES_MAX: usize = 8;

/// `Broadcasting` of `layout.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Broadcasting {
    pub(crate) axes: u32,
    pub(crate) width: u32,
    pub(crate) groups: u32,
    pub(crate) extents: [u32; AXES_MAX],
    pub(crate) strides: [[u32; AXES_MAX]; 3],
}

/// `Strides` of `layout.cuh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Strides {
    pub(crate) axes: u32,
    pub(crate) words: u32,
    pub(crate) extents: [u32; AXES_MAX],
    pub(crate) from: [i32; AXES_MAX],
    pub(crate) to: [i32; AXES_MAX],
}

/// `Margins` of `layout.cuh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Margins {
    pub(crate) axes: u32,
    pub(crate) words: u32,
    pub(crate) extents: [u32; AXES_MAX],
    pub(crate) inner: [u32; AXES_MAX],
    pub(crate) before: [u32; AXES_MAX],
    pub(crate) strides: [u32; AXES_MAX],
}

/// `Tuples` of `indices.cuh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Tuples {
    pub(crate) batch: u32,
    pub(crate) tuples: u32,
    pub(crate) components: u32,
    pub(crate) slice: u32,
    pub(crate) item: u32,
    pub(crate) index_type: u32,
    pub(crate) extents: [u32; AXES_MAX],
}

/// `Along` of `indices.cuh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Along {
    pub(crate) count: u32,
    pub(crate) index_stride: u32,
    pub(crate) stride: u32,
    pub(crate) extent: u32,
    pub(crate) index_type: u32,
}

impl Broadcasting {
    /// Elements of the output.
    pub(crate) fn elements(&self) -> u64 {
        u64::from(self.groups) * u64::from(self.width)
    }
}

/// Attention of several sequences.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct AttentionShape {
    pub(crate) heads: u32,
    pub(crate) kv_heads: u32,
    pub(crate) head_dim: u32,
    pub(crate) sequences: u32,
    /// Of each sequence; with offsets the rows of all.
    pub(crate) queries: u32,
    pub(crate) keys: u32,
    pub(crate) q_row: u32,
    pub(crate) k_row: u32,
    pub(crate) v_row: u32,
    pub(crate) y_row: u32,
    pub(crate) mask_sequence: u32,
    pub(crate) mask_head: u32,
    pub(crate) mask_query: u32,
    pub(crate) mask_key: u32,
    pub(crate) causal: u32,
    pub(crate) vectors: u32,
    pub(crate) scale: f32,
}

/// Attention of one query a sequence.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct DecodeShape {
    pub(crate) heads: u32,
    pub(crate) kv_heads: u32,
    pub(crate) head_dim: u32,
    pub(crate) keys: u32,
    pub(crate) splits: u32,
    pub(crate) q_row: u32,
    pub(crate) k_row: u32,
    pub(crate) v_row: u32,
    pub(crate) y_row: u32,
    pub(crate) mask_sequence: u32,
    pub(crate) mask_head: u32,
    pub(crate) mask_key: u32,
    pub(crate) block: u32,
    pub(crate) blocks: u32,
    pub(crate) rows: u32,
    pub(crate) lanes: u32,
    pub(crate) vectors: u32,
    pub(crate) scale: f32,
}

/// Rows of `norm`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct NormRows {
    pub(crate) x: Address,
    pub(crate) added: Address,
    pub(crate) weight: Address,
    pub(crate) bias: Address,
    pub(crate) sum: Address,
    pub(crate) y: Address,
    pub(crate) rows: u32,
    pub(crate) n: u32,
}

/// Channels of `batch_norm` and `group_norm`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ChannelRows {
    pub(crate) x: Address,
    pub(crate) scale: Address,
    pub(crate) bias: Address,
    pub(crate) y: Address,
    pub(crate) channels: u32,
    pub(crate) inner: u32,
}

/// Of `rope`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RopeShape {
    pub(crate) rows: u32,
    pub(crate) heads: u32,
    pub(crate) size: u32,
    pub(crate) each: u32,
    pub(crate) positions: u32,
    pub(crate) index_type: u32,
    pub(crate) interleaved: u32,
}

/// Of reductions.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ReduceLanes {
    pub(crate) lanes: u32,
    pub(crate) n: u32,
    pub(crate) between: u32,
    pub(crate) last: u32,
    pub(crate) inner: u32,
    pub(crate) slice: u32,
}

/// Of running sums.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ScanLanes {
    pub(crate) lanes: u32,
    pub(crate) n: u32,
    pub(crate) inner: u32,
    pub(crate) exclusive: u32,
    pub(crate) reverse: u32,
}

/// Of `ragged_pool`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RaggedRows {
    pub(crate) indices: Address,
    pub(crate) fault: Address,
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) places: u32,
    pub(crate) index_type: u32,
}

/// Of quantization.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct QuantizeLanes {
    pub(crate) scales: Address,
    pub(crate) zeros: Address,
    pub(crate) elements: u32,
    pub(crate) n: u32,
    pub(crate) inner: u32,
    pub(crate) quantum: u32,
    pub(crate) scale_type: u32,
}

/// A convolution, or a transposed one: `ConvShape` of `conv.cuh`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct ConvShape {
    pub(crate) groups: u32,
    /// Of one group, as `filters`.
    pub(crate) channels: u32,
    pub(crate) filters: u32,
    pub(crate) images: u32,
    pub(crate) taps: u32,
    pub(crate) input: [u32; 3],
    pub(crate) output: [u32; 3],
    pub(crate) kernel: [u32; 3],
    pub(crate) stride: [u32; 3],
    pub(crate) dilation: [u32; 3],
    pub(crate) before: [u32; 3],
    pub(crate) x_image: u32,
    pub(crate) x_channel: u32,
    pub(crate) x_axis: [u32; 3],
    pub(crate) y_image: u32,
    pub(crate) y_filter: u32,
    pub(crate) y_position: u32,
    pub(crate) w_filter: u32,
    pub(crate) w_channel: u32,
    pub(crate) w_tap: u32,
    pub(crate) last: u32,
    pub(crate) x_vectors: u32,
    pub(crate) w_vectors: u32,
    pub(crate) splits: u32,
    pub(crate) terms: u32,
}

/// A pooling: `PoolShape` of `pool.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct PoolShape {
    pub(crate) planes: u32,
    pub(crate) inner: u32,
    pub(crate) input: [u32; 3],
    pub(crate) output: [u32; 3],
    pub(crate) kernel: [u32; 3],
    pub(crate) stride: [u32; 3],
    pub(crate) dilation: [u32; 3],
    pub(crate) before: [u32; 3],
    pub(crate) count_pads: u32,
}

/// One token of a recurrent layer: `StepShape` of `recurrent.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct StepShape {
    pub(crate) phase: u32,
    pub(crate) batch: u32,
    pub(crate) hidden: u32,
    pub(crate) columns: u32,
    pub(crate) has_bias: u32,
}

/// One axis of a resize: `ResizeAxis` of `resample.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct ResizeAxis {
    pub(crate) step: f64,
    pub(crate) widening: f64,
    pub(crate) reach: f64,
    pub(crate) n: u32,
    pub(crate) extent: u32,
    pub(crate) taps: u32,
    pub(crate) mode: u32,
    pub(crate) antialias: u32,
    pub(crate) align_corners: u32,
}

/// A product of bytes: `IntegerShape` of `matmul_integer.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct IntegerShape {
    pub(crate) a_batch: u64,
    pub(crate) b_batch: u64,
    pub(crate) a_zero_batch: u64,
    pub(crate) b_zero_batch: u64,
    pub(crate) batch: u32,
    pub(crate) m: u32,
    pub(crate) n: u32,
    pub(crate) k: u32,
    pub(crate) b_row: u32,
    pub(crate) b_column: u32,
    pub(crate) a_signed: u32,
    pub(crate) b_signed: u32,
    pub(crate) a_vector: u32,
    pub(crate) b_vector: u32,
    pub(crate) a_zero: u32,
    pub(crate) b_zero: u32,
    pub(crate) scale: u32,
    pub(crate) is_float: u32,
}

/// A layer whose rows are quantized on the way: `DynamicLayer` of `dynamic_linear.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct DynamicLayer {
    pub(crate) bytes: Address,
    pub(crate) scaling: Address,
    pub(crate) weights: Address,
    pub(crate) scales: Address,
    pub(crate) sums: Address,
    pub(crate) bias: Address,
    pub(crate) residual: Address,
    pub(crate) c: Address,
    pub(crate) m: u32,
    pub(crate) n: u32,
    pub(crate) blocks: u32,
}

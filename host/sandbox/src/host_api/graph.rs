//! `graph`: guests build graphs, one method an op.
//!
//! This file is only the way in: handles to values, WIT types to ours. Shapes, dtypes and limits are
//! checked by the builder in `aimass-graph`; what it knows but has no code for it refuses by name.

mod convert;
pub(crate) mod record;

use super::files::FileHandle;
use super::tensor::{TensorHandle, shape_in};
use super::{HostError, HostResult};
use crate::error::ErrorFamily;
use crate::state::{CallState, Charge, LimitHit};
use crate::worlds::bindings::graph::{self as wit, Host, HostBuilder, HostGraph};
use crate::worlds::bindings::types::{Dim as WitDim, Dtype, Signature};
use crate::worlds::convert::{dim_in, dim_out, dtype_in, dtype_out, signature_out};
use aimass_graph::{
    AttentionValues, BatchNormValues, Contraction, ConvValues, Graph, GraphBuilder, GraphError,
    GraphLimits, PadMode, QuantizedLinearValues, Recurrence, RecurrentValues, RegionId, ResizeMode,
    RunError, StateInit, Suppression,
};
use aimass_tensor::Tensor;
use convert::{
    attention_in, dims_in, first, gelu_form_in, id, ids, many, one, pair, scatter_mode_in,
    window_in,
};
use std::convert::identity as same;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::Resource;

/// A graph under construction that a guest holds.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct BuilderHandle {
    builder: GraphBuilder,
    /// Shares of the call's host memory that its constants hold.
    charges: Vec<Arc<Charge>>,
    /// In a worker: the calls that built it.
    record: Vec<u8>,
}

/// A finished graph that a guest holds.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct GraphHandle {
    /// The graph, checked.
    pub(crate) graph: Graph,
    /// In a worker: the calls that built it.
    pub(crate) record: Vec<u8>,
    /// As those of the builder, until the graph leaves the call.
    _charges: Vec<Arc<Charge>>,
}

type Builder = Resource<BuilderHandle>;
type Value = u32;
type One = HostResult<Value>;
type Many = HostResult<Vec<Value>>;

/// The contract's family of a graph's error.
fn family(family: aimass_graph::ErrorFamily) -> ErrorFamily {
    match family {
        aimass_graph::ErrorFamily::Input => ErrorFamily::Input,
        aimass_graph::ErrorFamily::NotFound => ErrorFamily::NotFound,
        aimass_graph::ErrorFamily::Limit => ErrorFamily::Limit,
        aimass_graph::ErrorFamily::Unsupported => ErrorFamily::Unsupported,
        aimass_graph::ErrorFamily::Internal => ErrorFamily::Internal,
    }
}

impl From<GraphError> for HostError {
    fn from(error: GraphError) -> HostError {
        HostError::answer(family(error.family()), error.code(), error.to_string())
    }
}

impl From<RunError> for HostError {
    fn from(error: RunError) -> HostError {
        HostError::answer(family(error.family()), error.code(), error.to_string())
    }
}

impl CallState {
    /// The builder behind a handle; counts the host call.
    fn builder(&mut self, builder: &Builder) -> HostResult<&mut GraphBuilder> {
        self.count_host_call()?;
        Ok(&mut self.table.get_mut(builder)?.builder)
    }

    /// Adds a constant; the graph holds its share of the call's host memory.
    fn charged_constant(
        &mut self,
        b: &Builder,
        tensor: Tensor,
        charge: Option<Arc<Charge>>,
    ) -> One {
        self.count_host_call()?;
        let BuilderHandle { builder, charges, .. } = self.table.get_mut(b)?;
        let value = builder.constant(tensor)?;
        charges.extend(charge);
        Ok(value.0)
    }

    fn count_graph(&mut self) -> std::result::Result<(), LimitHit> {
        self.graphs += 1;
        if self.graphs > self.limits().graphs_max {
            return Err(LimitHit::Handles);
        }
        Ok(())
    }
}

/// Methods with values only: `name(values..)`.
macro_rules! ops {
    ($($name:ident($($x:ident),+);)+) => { $(
        fn $name(&mut self, b: Builder, $($x: Value),+) -> One {
            one(self.builder(&b)?.$name($(id($x)),+))
        }
    )+ };
}

/// Methods with values and plain numbers: `name(values..; arguments..)`.
macro_rules! ops_with {
    ($($name:ident($($x:ident),+; $($a:ident: $ty:ty),+);)+) => { $(
        fn $name(&mut self, b: Builder, $($x: Value,)+ $($a: $ty),+) -> One {
            one(self.builder(&b)?.$name($(id($x),)+ $($a),+))
        }
    )+ };
}

/// Methods with values, optional values, and arguments with what makes them ours: `name(values..;
/// optional values..; arguments..)`.
macro_rules! ops_mapped {
    ($($name:ident($($x:ident),+; $($o:ident),*; $($a:ident: $ty:ty => $ours:path),*);)+) => { $(
        fn $name(
            &mut self, b: Builder, $($x: Value,)+ $($o: Option<Value>,)* $($a: $ty),*
        ) -> One {
            one(self.builder(&b)?.$name($(id($x),)+ $($o.map(id),)* $($ours($a)),*))
        }
    )+ };
}

/// Reductions: `name(x, axes, keep)`.
macro_rules! reductions {
    ($($name:ident)+) => { $(
        fn $name(&mut self, b: Builder, x: Value, axes: Vec<u32>, keep: bool) -> One {
            one(self.builder(&b)?.$name(id(x), &axes, keep))
        }
    )+ };
}

impl Host for CallState {}

impl HostGraph for CallState {
    fn signature(&mut self, graph: Resource<GraphHandle>) -> Result<Signature> {
        self.count_host_call()?;
        Ok(signature_out(self.table.get(&graph)?.graph.signature()))
    }

    fn drop(&mut self, graph: Resource<GraphHandle>) -> Result<()> {
        self.table.delete(graph)?;
        self.graphs -= 1;
        Ok(())
    }
}

impl HostBuilder for CallState {
    fn new(&mut self) -> Result<Builder> {
        self.count_host_call()?;
        self.count_graph()?;
        let builder = GraphBuilder::new(GraphLimits::default());
        self.table
            .push(BuilderHandle { builder, charges: Vec::new(), record: Vec::new() })
            .map_err(|_| LimitHit::Handles.into())
    }

    fn drop(&mut self, builder: Builder) -> Result<()> {
        self.table.delete(builder)?;
        self.graphs -= 1;
        Ok(())
    }

    fn finish(&mut self, builder: Builder) -> HostResult<Resource<GraphHandle>> {
        self.count_host_call()?;
        self.graphs -= 1;
        let BuilderHandle { builder, charges, record } = self.table.delete(builder)?;
        let graph = builder.finish()?;
        self.graphs += 1;
        Ok(self.table.push(GraphHandle { graph, record, _charges: charges })?)
    }

    fn offsets(&mut self, b: Builder, name: String) -> One {
        one(self.builder(&b)?.offsets(&name))
    }

    fn input(&mut self, b: Builder, name: String, dtype: Dtype, dims: Vec<WitDim>) -> One {
        one(self.builder(&b)?.input(&name, dtype_in(dtype), &dims_in(dims)))
    }

    fn weight(
        &mut self,
        b: Builder,
        name: String,
        dtype: Dtype,
        shape: Vec<u64>,
        file: Resource<FileHandle>,
        offset: u64,
    ) -> One {
        let source = self.table.get(&file)?.source.clone();
        one(self.builder(&b)?.weight(&name, dtype_in(dtype), &shape, source, offset))
    }

    fn constant(&mut self, b: Builder, dtype: Dtype, shape: Vec<u64>, data: Vec<u8>) -> One {
        let shape = shape_in(&shape)?;
        let charge = self.charge(data.len())?;
        let tensor = Tensor::copy_from(dtype_in(dtype), shape, &data)
            .map_err(|error| HostError::input("byte-count", error.to_string()))?;
        self.charged_constant(&b, tensor, Some(charge))
    }

    fn constant_tensor(&mut self, b: Builder, t: Resource<TensorHandle>) -> One {
        let (tensor, charge) = self.charged_tensor(&t)?;
        self.charged_constant(&b, tensor, charge)
    }

    fn state(
        &mut self,
        b: Builder,
        name: String,
        dtype: Dtype,
        shape: Vec<u64>,
        init: wit::StateInit,
    ) -> One {
        let init = match init {
            wit::StateInit::Zeros => StateInit::Zeros,
            wit::StateInit::Value(value) => StateInit::Value(id(value)),
        };
        one(self.builder(&b)?.state(&name, dtype_in(dtype), &shape, init))
    }

    fn state_write(&mut self, b: Builder, name: String, x: Value) -> HostResult<()> {
        Ok(self.builder(&b)?.state_write(&name, id(x))?)
    }

    fn state_append(&mut self, b: Builder, _name: String, x: Value, _rows_max: u64) -> One {
        first(self.builder(&b)?.state_append(&[id(x)]))
    }

    fn output(&mut self, b: Builder, name: String, x: Value) -> HostResult<()> {
        Ok(self.builder(&b)?.output(&name, id(x))?)
    }

    fn describe(&mut self, b: Builder, x: Value) -> HostResult<(Dtype, Vec<WitDim>)> {
        let spec = self.builder(&b)?.spec(id(x))?;
        Ok((dtype_out(spec.dtype), spec.dims.iter().map(dim_out).collect()))
    }

    fn region_begin(
        &mut self,
        b: Builder,
        captures: Vec<Value>,
        params: Vec<(Dtype, Vec<WitDim>)>,
    ) -> Many {
        let params: Vec<_> =
            params.into_iter().map(|(dtype, dims)| (dtype_in(dtype), dims_in(dims))).collect();
        many(self.builder(&b)?.region_begin(&ids(&captures), &params))
    }

    fn region_end(&mut self, b: Builder, outputs: Vec<Value>) -> HostResult<u32> {
        Ok(self.builder(&b)?.region_end(&ids(&outputs))?.0)
    }

    fn if_else(&mut self, b: Builder, condition: Value, then: u32, otherwise: u32) -> Many {
        let (then, otherwise) = (RegionId(then), RegionId(otherwise));
        many(self.builder(&b)?.if_else(id(condition), then, otherwise))
    }

    fn while_loop(
        &mut self,
        b: Builder,
        condition: u32,
        body: u32,
        carried: Vec<Value>,
        max: u64,
    ) -> Many {
        let (condition, body) = (RegionId(condition), RegionId(body));
        many(self.builder(&b)?.while_loop(condition, body, &ids(&carried), max))
    }

    fn scan(&mut self, b: Builder, body: u32, carried: Vec<Value>, scanned: Vec<Value>) -> Many {
        many(self.builder(&b)?.scan(RegionId(body), &ids(&carried), &ids(&scanned)))
    }

    fn call(&mut self, b: Builder, body: u32, arguments: Vec<Value>) -> Many {
        many(self.builder(&b)?.call(RegionId(body), &ids(&arguments)))
    }

    ops! {
        neg(x); abs(x); sign(x); exp(x); log(x); sqrt(x); rsqrt(x); reciprocal(x); sin(x); cos(x);
        tan(x); asin(x); acos(x); atan(x); sinh(x); cosh(x); tanh(x); asinh(x); acosh(x); atanh(x);
        erf(x); floor(x); ceil(x); round(x); sigmoid(x); relu(x); silu(x); softplus(x);
        logical_not(x); bit_not(x); is_nan(x); is_inf(x); hard_swish(x);
        add(x, y); sub(x, y); mul(x, y); div(x, y); rem(x, y); pow(x, y); maximum(x, y);
        minimum(x, y); logical_and(x, y); logical_or(x, y); logical_xor(x, y); bit_and(x, y);
        bit_or(x, y); bit_xor(x, y); shift_left(x, y); shift_right(x, y); equal(x, y);
        not_equal(x, y); less(x, y); less_equal(x, y); greater(x, y); greater_equal(x, y);
        select(condition, x, y); shape_of(x); positions(offsets); matmul(x, y);
        ragged_mean(x, offsets); ragged_sum(x, offsets); ragged_max(x, offsets);
        ragged_first(x, offsets); ragged_last(x, offsets);
    }

    ops_with! {
        leaky_relu(x; alpha: f32);
        elu(x; alpha: f32);
        hard_sigmoid(x; alpha: f32, beta: f32);
        clamp(x; low: f64, high: f64);
        slice(x; axis: u32, start: u64, end: u64, step: u64);
        reverse(x; axis: u32);
        gather(x, indices; axis: u32);
        arg_max(x; axis: u32, keep: bool);
        arg_min(x; axis: u32, keep: bool);
        cumulative_sum(x; axis: u32, exclusive: bool, reverse: bool);
        cumulative_prod(x; axis: u32, exclusive: bool, reverse: bool);
        gather_elements(x, indices; axis: u32);
        gather_nd(x, indices; batch_dims: u32);
        embedding_bag(table, indices, offsets; mean: bool);
        rope(x, positions; heads: u32, base: f32, interleaved: bool);
        fft(x; axis: u32, inverse: bool);
        softmax(x; axis: u32);
        log_softmax(x; axis: u32);
        rms_norm(x, scale; epsilon: f32);
        l2_normalize(x; epsilon: f32);
    }

    ops_mapped! {
        gelu(x;; form: wit::GeluForm => gelu_form_in);
        cast(x;; dtype: Dtype => dtype_in);
        bitcast(x;; dtype: Dtype => dtype_in);
        one_hot(indices;; depth: u64 => same, dtype: Dtype => dtype_in);
        linear(x, w; bias; transposed: bool => same);
        layer_norm(x, scale; bias; epsilon: f32 => same);
        scatter_elements(x, indices, updates;; axis: u32 => same, mode: wit::ScatterMode => scatter_mode_in);
        scatter_nd(x, indices, updates;; mode: wit::ScatterMode => scatter_mode_in);
        matmul_integer(x, y; x_zero, y_zero;);
        quantize(x, scale; zero_point; axis: Option<u32> => same, dtype: Dtype => dtype_in);
        dequantize(x, scale; zero_point; axis: Option<u32> => same);
    }

    reductions! { reduce_sum reduce_mean reduce_prod reduce_max reduce_min }

    fn reshape(&mut self, b: Builder, x: Value, dims: Vec<WitDim>) -> One {
        one(self.builder(&b)?.reshape(id(x), &dims_in(dims)))
    }

    fn transpose(&mut self, b: Builder, x: Value, permutation: Vec<u32>) -> One {
        one(self.builder(&b)?.transpose(id(x), &permutation))
    }

    fn broadcast(&mut self, b: Builder, x: Value, dims: Vec<WitDim>) -> One {
        one(self.builder(&b)?.broadcast(id(x), &dims_in(dims)))
    }

    fn concat(&mut self, b: Builder, xs: Vec<Value>, axis: u32) -> One {
        one(self.builder(&b)?.concat(&ids(&xs), axis))
    }

    fn split(&mut self, b: Builder, x: Value, axis: u32, sizes: Vec<u64>) -> Many {
        many(self.builder(&b)?.split(id(x), axis, &sizes))
    }

    fn pad(
        &mut self,
        b: Builder,
        x: Value,
        before: Vec<u64>,
        after: Vec<u64>,
        mode: wit::PadMode,
        fill: f64,
    ) -> One {
        let mode = match mode {
            wit::PadMode::Constant => PadMode::Constant,
            wit::PadMode::Reflect => PadMode::Reflect,
            wit::PadMode::Edge => PadMode::Edge,
            wit::PadMode::Wrap => PadMode::Wrap,
        };
        one(self.builder(&b)?.pad(id(x), &before, &after, mode, fill))
    }

    fn tile(&mut self, b: Builder, x: Value, repeats: Vec<u64>) -> One {
        one(self.builder(&b)?.tile(id(x), &repeats))
    }

    fn iota(&mut self, b: Builder, dims: Vec<WitDim>, axis: u32, start: i64, step: i64) -> One {
        one(self.builder(&b)?.iota(&dims_in(dims), axis, start, step))
    }

    fn top_k(&mut self, b: Builder, x: Value, k: u64, largest: bool) -> HostResult<(Value, Value)> {
        pair(self.builder(&b)?.top_k(id(x), k, largest))
    }

    fn sort(&mut self, b: Builder, x: Value, descending: bool) -> HostResult<(Value, Value)> {
        pair(self.builder(&b)?.sort(id(x), descending))
    }

    fn ragged_attention(
        &mut self,
        b: Builder,
        q: Value,
        k: Value,
        v: Value,
        offsets: Value,
        options: wit::AttentionOptions,
    ) -> One {
        let values = AttentionValues { q: id(q), k: id(k), v: id(v) };
        one(self.builder(&b)?.ragged_attention(values, id(offsets), attention_in(options)))
    }

    fn attention(
        &mut self,
        b: Builder,
        q: Value,
        k: Value,
        v: Value,
        mask: Option<Value>,
        options: wit::AttentionOptions,
    ) -> One {
        let values = AttentionValues { q: id(q), k: id(k), v: id(v) };
        one(self.builder(&b)?.attention(values, mask.map(id), attention_in(options)))
    }

    fn conv(
        &mut self,
        b: Builder,
        x: Value,
        w: Value,
        bias: Option<Value>,
        window: wit::Window,
        groups: u32,
    ) -> One {
        let values = ConvValues { x: id(x), w: id(w), bias: bias.map(id) };
        one(self.builder(&b)?.conv(values, window_in(window), groups))
    }

    fn conv_transpose(
        &mut self,
        b: Builder,
        x: Value,
        w: Value,
        bias: Option<Value>,
        window: wit::Window,
        groups: u32,
        pads: Vec<u64>,
    ) -> One {
        let values = ConvValues { x: id(x), w: id(w), bias: bias.map(id) };
        one(self.builder(&b)?.conv_transpose(values, window_in(window), groups, &pads))
    }

    fn max_pool(&mut self, b: Builder, x: Value, size: Vec<u64>, window: wit::Window) -> One {
        one(self.builder(&b)?.max_pool(id(x), &size, window_in(window)))
    }

    fn average_pool(
        &mut self,
        b: Builder,
        x: Value,
        size: Vec<u64>,
        window: wit::Window,
        count_pads: bool,
    ) -> One {
        one(self.builder(&b)?.average_pool(id(x), &size, window_in(window), count_pads))
    }

    fn batch_norm(
        &mut self,
        b: Builder,
        x: Value,
        scale: Value,
        bias: Value,
        mean: Value,
        variance: Value,
        epsilon: f32,
    ) -> One {
        let [scale, bias, mean, variance] = [scale, bias, mean, variance].map(id);
        let values = BatchNormValues { scale, bias, mean, variance };
        one(self.builder(&b)?.batch_norm(id(x), values, epsilon))
    }

    fn group_norm(
        &mut self,
        b: Builder,
        x: Value,
        groups: u32,
        scale: Value,
        bias: Value,
        epsilon: f32,
    ) -> One {
        one(self.builder(&b)?.group_norm(id(x), groups, id(scale), id(bias), epsilon))
    }

    fn resize(
        &mut self,
        b: Builder,
        x: Value,
        extents: Vec<u64>,
        mode: wit::ResizeMode,
        antialias: bool,
        align: bool,
    ) -> One {
        let mode = match mode {
            wit::ResizeMode::Nearest => ResizeMode::Nearest,
            wit::ResizeMode::Bilinear => ResizeMode::Bilinear,
            wit::ResizeMode::Bicubic => ResizeMode::Bicubic,
        };
        one(self.builder(&b)?.resize(id(x), &extents, mode, antialias, align))
    }

    fn resample(&mut self, b: Builder, x: Value, axis: u32, i: Value, w: Value) -> One {
        one(self.builder(&b)?.resample(id(x), axis, id(i), id(w)))
    }

    fn recurrent(
        &mut self,
        b: Builder,
        x: Value,
        kind: wit::Recurrence,
        w: Value,
        r: Value,
        bias: Option<Value>,
        initial: Vec<Value>,
        reverse: bool,
    ) -> Many {
        let kind = match kind {
            wit::Recurrence::Lstm => Recurrence::Lstm,
            wit::Recurrence::Gru => Recurrence::Gru,
            wit::Recurrence::RnnTanh => Recurrence::Tanh,
            wit::Recurrence::RnnRelu => Recurrence::Relu,
        };
        let (bias, initial) = (bias.map(id), ids(&initial));
        let values = RecurrentValues { x: id(x), w: id(w), r: id(r), bias, initial: &initial };
        many(self.builder(&b)?.recurrent(kind, values, reverse))
    }

    fn dot_general(
        &mut self,
        b: Builder,
        x: Value,
        y: Value,
        batch_x: Vec<u32>,
        batch_y: Vec<u32>,
        contract_x: Vec<u32>,
        contract_y: Vec<u32>,
    ) -> One {
        let axes = Contraction {
            batch_x: &batch_x,
            batch_y: &batch_y,
            contract_x: &contract_x,
            contract_y: &contract_y,
        };
        one(self.builder(&b)?.dot_general(id(x), id(y), axes))
    }

    fn quantized_linear(
        &mut self,
        b: Builder,
        x: Value,
        w: Value,
        scales: Value,
        zero_points: Option<Value>,
        bias: Option<Value>,
        group: u64,
    ) -> One {
        let values = QuantizedLinearValues {
            x: id(x),
            w: id(w),
            scales: id(scales),
            zero_points: zero_points.map(id),
            bias: bias.map(id),
        };
        one(self.builder(&b)?.quantized_linear(values, group))
    }

    fn non_zero(&mut self, b: Builder, x: Value) -> HostResult<(Value, Value)> {
        pair(self.builder(&b)?.non_zero(id(x)))
    }

    fn non_max_suppression_padded(
        &mut self,
        b: Builder,
        boxes: Value,
        scores: Value,
        max_per_class: u64,
        iou: f32,
        score: f32,
        centered: bool,
    ) -> HostResult<(Value, Value)> {
        let max_per_class = usize::try_from(max_per_class).unwrap_or(usize::MAX);
        let options = Suppression { max_per_class, iou, score, centered };
        pair(self.builder(&b)?.non_max_suppression_padded(id(boxes), id(scores), options))
    }

    fn random_bits(&mut self, b: Builder, key: Value, dims: Vec<WitDim>) -> One {
        one(self.builder(&b)?.random_bits(id(key), &dims_in(dims)))
    }

    fn dynamic_slice(&mut self, b: Builder, x: Value, axis: u32, from: Value, to: Value) -> One {
        one(self.builder(&b)?.dynamic_slice(id(x), axis, id(from), id(to)))
    }

    fn non_max_suppression(
        &mut self,
        b: Builder,
        boxes: Value,
        scores: Value,
        max_per_class: u64,
        iou: f32,
        score: f32,
    ) -> One {
        let max_per_class = usize::try_from(max_per_class).unwrap_or(usize::MAX);
        let options = Suppression { max_per_class, iou, score, centered: false };
        one(self.builder(&b)?.non_max_suppression(id(boxes), id(scores), options))
    }
}

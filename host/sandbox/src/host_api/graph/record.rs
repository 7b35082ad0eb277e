//! Graphs as the calls that built them, so that one that was built in a worker is built again in the host.
//!
//! In a worker a guest's builder is a [`Recorder`]: it does what the ordinary one does and notes each call that
//! succeeded. [`replay`] makes the same calls of the ordinary builder, in the host and under the same limits,
//! so that a graph of a worker is checked exactly as one that was built here. Values are numbers that both
//! builders give out in the same order.

use super::{Builder, GraphHandle, Many, One, Value};
use crate::host_api::files::FileHandle;
use crate::host_api::tensor::TensorHandle;
use crate::host_api::{HostError, HostResult};
use crate::state::CallState;
use crate::worker::wire::{Malformed, Reader, Taken, Wire, Writer, wire_enum, wire_struct};
use crate::worlds::bindings::graph::{self as wit, Host, HostBuilder, HostGraph};
use crate::worlds::bindings::types::{self, Dim as WitDim, Dtype, Signature};
use crate::worlds::convert::{dim_in, dim_out, dtype_in, dtype_out};
use aimass_graph::{Dim, Graph};
use aimass_tensor::{Buffer, DType, Tensor};
use wasmtime::Result;
use wasmtime::component::HasData;
use wasmtime::component::Resource;

/// Bytes that the record of one graph may have: those of all its constants, and of a million operands.
const RECORD_BYTES_MAX: usize = 512 << 20;

/// A builder that notes what is called.
#[expect(unreachable_pub, reason = "the linker names it")]
pub struct Recorder<'a>(pub(crate) &'a mut CallState);

/// [`Recorder`], as the linker wants it named.
pub(crate) struct Recording;

impl HasData for Recording {
    type Data<'a> = Recorder<'a>;
}

impl<'a> Recorder<'a> {
    /// The builders of this call, noted.
    pub(crate) fn of(state: &'a mut CallState) -> Recorder<'a> {
        Recorder(state)
    }

    /// Notes a call of this name that succeeded.
    fn note(
        &mut self,
        b: &Builder,
        name: &str,
        arguments: impl FnOnce(&mut Writer),
    ) -> HostResult<()> {
        let mut entry = Writer::default();
        name.to_owned().put(&mut entry);
        arguments(&mut entry);
        let record = &mut self.0.table.get_mut(b)?.record;
        if record.len() + entry.len() > RECORD_BYTES_MAX {
            let message = format!("a graph takes more than {RECORD_BYTES_MAX} bytes to describe");
            return Err(HostError::answer(crate::ErrorFamily::Limit, "record-bytes", message));
        }
        for piece in entry.pieces() {
            record.extend_from_slice(piece);
        }
        Ok(())
    }
}

/// The same handle once more, for a call that takes it.
fn again<T: 'static>(handle: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(handle.rep())
}

impl types::Host for Recorder<'_> {
    fn convert_error(&mut self, error: HostError) -> Result<types::Error> {
        self.0.convert_error(error)
    }
}

impl Host for Recorder<'_> {}

impl HostGraph for Recorder<'_> {
    fn signature(&mut self, graph: Resource<GraphHandle>) -> Result<Signature> {
        self.0.signature(graph)
    }

    fn drop(&mut self, graph: Resource<GraphHandle>) -> Result<()> {
        HostGraph::drop(self.0, graph)
    }
}

macro_rules! recorded {
    ($($name:ident($($a:ident: $ty:ty),*) -> $answer:ty;)+) => {
        impl HostBuilder for Recorder<'_> {
            fn new(&mut self) -> Result<Builder> {
                HostBuilder::new(self.0)
            }

            fn drop(&mut self, b: Builder) -> Result<()> {
                HostBuilder::drop(self.0, b)
            }

            fn finish(&mut self, b: Builder) -> HostResult<Resource<GraphHandle>> {
                self.0.finish(b)
            }

            fn describe(&mut self, b: Builder, x: Value) -> HostResult<(Dtype, Vec<WitDim>)> {
                self.0.describe(b, x)
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
                let file_name = self.0.table.get(&file)?.name.clone();
                let value =
                    self.0.weight(again(&b), name.clone(), dtype, shape.clone(), file, offset)?;
                self.note(&b, "weight", |to| {
                    (name, dtype_in(dtype)).put(to);
                    (shape, (file_name, offset)).put(to);
                })?;
                Ok(value)
            }

            fn constant(&mut self, b: Builder, dtype: Dtype, shape: Vec<u64>, data: Vec<u8>) -> One {
                let value = self.0.constant(again(&b), dtype, shape.clone(), data.clone())?;
                let shape = super::shape_in(&shape)?;
                let tensor = Tensor::copy_from(dtype_in(dtype), shape, &data)
                    .map_err(|error| HostError::input("byte-count", error.to_string()))?;
                self.constant_noted(&b, &tensor)?;
                Ok(value)
            }

            fn constant_tensor(&mut self, b: Builder, t: Resource<TensorHandle>) -> One {
                let (tensor, _) = self.0.charged_tensor(&t)?;
                let value = self.0.constant_tensor(again(&b), t)?;
                self.constant_noted(&b, &tensor)?;
                Ok(value)
            }

            $(fn $name(&mut self, b: Builder, $($a: $ty),*) -> $answer {
                let mut arguments = Writer::default();
                $($a.put(&mut arguments);)*
                let answer = self.0.$name(again(&b), $($a),*)?;
                let bytes = arguments.to_vec();
                self.note(&b, stringify!($name), |to| to.raw(&bytes))?;
                Ok(answer)
            })+
        }

        /// Makes one noted call of the ordinary builder.
        fn replay_one(state: &mut CallState, b: &Builder, from: &mut Reader) -> HostResult<()> {
            let name = String::take(from).map_err(malformed)?;
            match name.as_str() {
                $(stringify!($name) => {
                    $(let $a: $ty = Wire::take(from).map_err(malformed)?;)*
                    state.$name(again(b), $($a),*)?;
                })+
                "weight" => replay_weight(state, b, from)?,
                "constant" => replay_constant(state, b, from)?,
                _ => return Err(malformed(Malformed { expected: "a call of a builder" })),
            }
            Ok(())
        }
    };
}

impl Recorder<'_> {
    /// Notes a constant, its bytes without padding: records are joined, so that none would fit.
    fn constant_noted(&mut self, b: &Builder, tensor: &Tensor) -> HostResult<()> {
        self.note(b, "constant", |to| {
            let shape: Vec<u64> = tensor.shape().iter().map(|&extent| extent as u64).collect();
            (tensor.dtype(), shape).put(to);
            tensor.bytes().len().put(to);
            to.raw(tensor.bytes());
        })
    }
}

fn replay_weight(state: &mut CallState, b: &Builder, from: &mut Reader) -> HostResult<()> {
    let (name, dtype): (String, DType) = Wire::take(from).map_err(malformed)?;
    let (shape, (file, offset)): (Vec<u64>, (String, u64)) = Wire::take(from).map_err(malformed)?;
    let source = state.open_source(&file)?;
    let handle = state.table.push(FileHandle { source, name: file })?;
    let borrowed = again(&handle);
    let added = state.weight(again(b), name, dtype_out(dtype), shape, borrowed, offset);
    state.table.delete(handle)?;
    added.map(drop)
}

fn replay_constant(state: &mut CallState, b: &Builder, from: &mut Reader) -> HostResult<()> {
    let (dtype, shape): (DType, Vec<u64>) = Wire::take(from).map_err(malformed)?;
    let len = usize::take(from).map_err(malformed)?;
    let data = from.shared(len).map_err(malformed)?;
    let shape = super::shape_in(&shape)?;
    let charge = state.charge(len)?;
    let tensor = Tensor::copy_from(dtype, shape, data.as_slice())
        .map_err(|error| HostError::input("byte-count", error.to_string()))?;
    state.charged_constant(b, tensor, Some(charge)).map(drop)
}

fn malformed(error: Malformed) -> HostError {
    HostError::Trap(wasmtime::Error::new(error))
}

/// Builds a graph again from its record, under the limits of `state`.
///
/// # Errors
/// What the builder says against it, or that it is no record.
pub(crate) fn replay(state: &mut CallState, record: Buffer) -> HostResult<Graph> {
    let builder = HostBuilder::new(state).map_err(HostError::Trap)?;
    let mut from = Reader::new(record);
    while !from.is_empty() {
        replay_one(state, &builder, &mut from)?;
    }
    let graph = state.finish(builder)?;
    let GraphHandle { graph, .. } = state.table.delete(graph)?;
    state.graphs -= 1;
    Ok(graph)
}

recorded! {
    offsets(name: String) -> One;
    input(name: String, dtype: Dtype, dims: Vec<WitDim>) -> One;
    state(name: String, dtype: Dtype, shape: Vec<u64>, init: wit::StateInit) -> One;
    state_write(name: String, x: Value) -> HostResult<()>;
    state_append(name: String, x: Value, rows_max: u64) -> One;
    output(name: String, x: Value) -> HostResult<()>;
    region_begin(captures: Vec<Value>, params: Vec<(Dtype, Vec<WitDim>)>) -> Many;
    region_end(outputs: Vec<Value>) -> HostResult<u32>;
    if_else(condition: Value, then: u32, otherwise: u32) -> Many;
    while_loop(condition: u32, body: u32, carried: Vec<Value>, max: u64) -> Many;
    scan(body: u32, carried: Vec<Value>, scanned: Vec<Value>) -> Many;
    call(body: u32, arguments: Vec<Value>) -> Many;
    neg(x: Value) -> One;
    abs(x: Value) -> One;
    sign(x: Value) -> One;
    exp(x: Value) -> One;
    log(x: Value) -> One;
    sqrt(x: Value) -> One;
    rsqrt(x: Value) -> One;
    reciprocal(x: Value) -> One;
    sin(x: Value) -> One;
    cos(x: Value) -> One;
    tan(x: Value) -> One;
    asin(x: Value) -> One;
    acos(x: Value) -> One;
    atan(x: Value) -> One;
    sinh(x: Value) -> One;
    cosh(x: Value) -> One;
    tanh(x: Value) -> One;
    asinh(x: Value) -> One;
    acosh(x: Value) -> One;
    atanh(x: Value) -> One;
    erf(x: Value) -> One;
    floor(x: Value) -> One;
    ceil(x: Value) -> One;
    round(x: Value) -> One;
    sigmoid(x: Value) -> One;
    relu(x: Value) -> One;
    silu(x: Value) -> One;
    softplus(x: Value) -> One;
    logical_not(x: Value) -> One;
    bit_not(x: Value) -> One;
    is_nan(x: Value) -> One;
    is_inf(x: Value) -> One;
    gelu(x: Value, form: wit::GeluForm) -> One;
    leaky_relu(x: Value, alpha: f32) -> One;
    elu(x: Value, alpha: f32) -> One;
    hard_sigmoid(x: Value, alpha: f32, beta: f32) -> One;
    hard_swish(x: Value) -> One;
    clamp(x: Value, low: f64, high: f64) -> One;
    cast(x: Value, dtype: Dtype) -> One;
    bitcast(x: Value, dtype: Dtype) -> One;
    add(x: Value, y: Value) -> One;
    sub(x: Value, y: Value) -> One;
    mul(x: Value, y: Value) -> One;
    div(x: Value, y: Value) -> One;
    rem(x: Value, y: Value) -> One;
    pow(x: Value, y: Value) -> One;
    maximum(x: Value, y: Value) -> One;
    minimum(x: Value, y: Value) -> One;
    logical_and(x: Value, y: Value) -> One;
    logical_or(x: Value, y: Value) -> One;
    logical_xor(x: Value, y: Value) -> One;
    bit_and(x: Value, y: Value) -> One;
    bit_or(x: Value, y: Value) -> One;
    bit_xor(x: Value, y: Value) -> One;
    shift_left(x: Value, y: Value) -> One;
    shift_right(x: Value, y: Value) -> One;
    equal(x: Value, y: Value) -> One;
    not_equal(x: Value, y: Value) -> One;
    less(x: Value, y: Value) -> One;
    less_equal(x: Value, y: Value) -> One;
    greater(x: Value, y: Value) -> One;
    greater_equal(x: Value, y: Value) -> One;
    select(condition: Value, x: Value, y: Value) -> One;
    reshape(x: Value, dims: Vec<WitDim>) -> One;
    transpose(x: Value, permutation: Vec<u32>) -> One;
    broadcast(x: Value, dims: Vec<WitDim>) -> One;
    slice(x: Value, axis: u32, start: u64, end: u64, step: u64) -> One;
    dynamic_slice(x: Value, axis: u32, start: Value, end: Value) -> One;
    concat(xs: Vec<Value>, axis: u32) -> One;
    split(x: Value, axis: u32, sizes: Vec<u64>) -> Many;
    pad(x: Value, before: Vec<u64>, after: Vec<u64>, mode: wit::PadMode, fill: f64) -> One;
    tile(x: Value, repeats: Vec<u64>) -> One;
    reverse(x: Value, axis: u32) -> One;
    shape_of(x: Value) -> One;
    iota(dims: Vec<WitDim>, axis: u32, start: i64, step: i64) -> One;
    positions(offsets: Value) -> One;
    gather(x: Value, indices: Value, axis: u32) -> One;
    gather_elements(x: Value, indices: Value, axis: u32) -> One;
    gather_nd(x: Value, indices: Value, batch_dims: u32) -> One;
    scatter_elements(x: Value, indices: Value, updates: Value, axis: u32, mode: wit::ScatterMode) -> One;
    scatter_nd(x: Value, indices: Value, updates: Value, mode: wit::ScatterMode) -> One;
    embedding_bag(table: Value, indices: Value, offsets: Value, mean: bool) -> One;
    non_zero(x: Value) -> HostResult<(Value, Value)>;
    one_hot(indices: Value, depth: u64, dtype: Dtype) -> One;
    reduce_sum(x: Value, axes: Vec<u32>, keep: bool) -> One;
    reduce_mean(x: Value, axes: Vec<u32>, keep: bool) -> One;
    reduce_prod(x: Value, axes: Vec<u32>, keep: bool) -> One;
    reduce_max(x: Value, axes: Vec<u32>, keep: bool) -> One;
    reduce_min(x: Value, axes: Vec<u32>, keep: bool) -> One;
    arg_max(x: Value, axis: u32, keep: bool) -> One;
    arg_min(x: Value, axis: u32, keep: bool) -> One;
    cumulative_sum(x: Value, axis: u32, exclusive: bool, reverse: bool) -> One;
    cumulative_prod(x: Value, axis: u32, exclusive: bool, reverse: bool) -> One;
    top_k(x: Value, k: u64, largest: bool) -> HostResult<(Value, Value)>;
    sort(x: Value, descending: bool) -> HostResult<(Value, Value)>;
    ragged_mean(x: Value, offsets: Value) -> One;
    ragged_sum(x: Value, offsets: Value) -> One;
    ragged_max(x: Value, offsets: Value) -> One;
    ragged_first(x: Value, offsets: Value) -> One;
    ragged_last(x: Value, offsets: Value) -> One;
    matmul(x: Value, y: Value) -> One;
    matmul_integer(x: Value, y: Value, x_zero: Option<Value>, y_zero: Option<Value>) -> One;
    linear(x: Value, w: Value, bias: Option<Value>, transposed: bool) -> One;
    quantized_linear(x: Value, w: Value, scales: Value, zero_points: Option<Value>, bias: Option<Value>, group: u64) -> One;
    dot_general(x: Value, y: Value, batch_x: Vec<u32>, batch_y: Vec<u32>, contract_x: Vec<u32>, contract_y: Vec<u32>) -> One;
    softmax(x: Value, axis: u32) -> One;
    log_softmax(x: Value, axis: u32) -> One;
    layer_norm(x: Value, scale: Value, bias: Option<Value>, epsilon: f32) -> One;
    rms_norm(x: Value, scale: Value, epsilon: f32) -> One;
    group_norm(x: Value, groups: u32, scale: Value, bias: Value, epsilon: f32) -> One;
    batch_norm(x: Value, scale: Value, bias: Value, mean: Value, variance: Value, epsilon: f32) -> One;
    l2_normalize(x: Value, epsilon: f32) -> One;
    ragged_attention(q: Value, k: Value, v: Value, offsets: Value, options: wit::AttentionOptions) -> One;
    attention(q: Value, k: Value, v: Value, mask: Option<Value>, options: wit::AttentionOptions) -> One;
    rope(x: Value, positions: Value, heads: u32, base: f32, interleaved: bool) -> One;
    conv(x: Value, w: Value, bias: Option<Value>, window: wit::Window, groups: u32) -> One;
    conv_transpose(x: Value, w: Value, bias: Option<Value>, window: wit::Window, groups: u32, output_pads: Vec<u64>) -> One;
    max_pool(x: Value, size: Vec<u64>, window: wit::Window) -> One;
    average_pool(x: Value, size: Vec<u64>, window: wit::Window, count_pads: bool) -> One;
    resize(x: Value, extents: Vec<u64>, mode: wit::ResizeMode, antialias: bool, align_corners: bool) -> One;
    recurrent(x: Value, kind: wit::Recurrence, w: Value, r: Value, bias: Option<Value>, initial: Vec<Value>, reverse: bool) -> Many;
    non_max_suppression(boxes: Value, scores: Value, max_per_class: u64, iou: f32, score: f32) -> One;
    non_max_suppression_padded(boxes: Value, scores: Value, max_per_class: u64, iou: f32, score: f32, centered: bool) -> HostResult<(Value, Value)>;
    resample(x: Value, axis: u32, indices: Value, weights: Value) -> One;
    fft(x: Value, axis: u32, inverse: bool) -> One;
    quantize(x: Value, scale: Value, zero_point: Option<Value>, axis: Option<u32>, dtype: Dtype) -> One;
    dequantize(x: Value, scale: Value, zero_point: Option<Value>, axis: Option<u32>) -> One;
    random_bits(key: Value, dims: Vec<WitDim>) -> One;
}

wire_enum! {
    wit::ScatterMode { Replace, Add, Mul, Max, Min }
    wit::PadMode { Constant, Reflect, Edge, Wrap }
    wit::ResizeMode { Nearest, Bilinear, Bicubic }
    wit::GeluForm { Erf, Tanh }
    wit::Recurrence { Lstm, Gru, RnnTanh, RnnRelu }
}

wire_struct! {
    wit::Window { strides, pads_before, pads_after, dilations }
    wit::AttentionOptions { heads, kv_heads, scale, causal, window }
}

impl Wire for Dtype {
    fn put(&self, to: &mut Writer) {
        dtype_in(*self).put(to);
    }

    fn take(from: &mut Reader) -> Taken<Dtype> {
        Ok(dtype_out(DType::take(from)?))
    }
}

impl Wire for WitDim {
    fn put(&self, to: &mut Writer) {
        dim_in(self.clone()).put(to);
    }

    fn take(from: &mut Reader) -> Taken<WitDim> {
        Ok(dim_out(&Dim::take(from)?))
    }
}

impl Wire for wit::StateInit {
    fn put(&self, to: &mut Writer) {
        let value = match self {
            wit::StateInit::Zeros => None,
            wit::StateInit::Value(value) => Some(*value),
        };
        value.put(to);
    }

    fn take(from: &mut Reader) -> Taken<wit::StateInit> {
        let value: Option<Value> = Wire::take(from)?;
        Ok(value.map_or(wit::StateInit::Zeros, wit::StateInit::Value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::state;
    use crate::package::{NoFiles, PackageInfo, World};
    use crate::sandbox::Sandbox;
    use crate::state::CallContext;
    use crate::{Limits, SandboxConfig};
    use aimass_dispatch::{DispatchConfig, Dispatcher, SystemClock};
    use std::sync::Arc;
    use std::time::Duration;

    fn call(limits: Limits) -> CallState {
        let folder = tempfile::tempdir().unwrap();
        let mut config = SandboxConfig::new(folder.path());
        config.instances_max = Some(1);
        let dispatcher = Dispatcher::new(DispatchConfig::default(), Arc::new(SystemClock));
        let sandbox = Sandbox::new(config, dispatcher).unwrap();
        let package = PackageInfo {
            name: "acme/test".into(),
            version: "1.0.0".into(),
            digest: [0; 32],
            world: World::Format,
            capabilities: Default::default(),
            limits,
            config: b"{}".as_slice().into(),
            files: Arc::new(NoFiles),
        };
        state(&sandbox, &Arc::new(package), CallContext::system(Duration::from_secs(60)))
    }

    fn answered<T>(result: HostResult<T>) -> T {
        result.unwrap_or_else(|error| match error {
            HostError::Answer(error) => panic!("{}", error.message),
            HostError::Trap(error) => panic!("{error:#}"),
        })
    }

    /// A graph with a constant, a region and a refused call, and its record.
    fn recorded() -> (String, Vec<u8>) {
        let mut state = call(Limits::default());
        let mut to = Recorder::of(&mut state);
        let b = HostBuilder::new(&mut to).unwrap();
        let dims = vec![WitDim::Batch, WitDim::Fixed(3)];
        let x = answered(to.input(again(&b), "x".into(), Dtype::F32, dims.clone()));
        let bytes: Vec<u8> = [1f32, 2., 3.].iter().flat_map(|n| n.to_le_bytes()).collect();
        let c = answered(to.constant(again(&b), Dtype::F32, vec![3], bytes));
        let sum = answered(to.add(again(&b), x, c));
        assert!(to.add(again(&b), x, 999).is_err(), "what was refused is not recorded");
        let begun = to.region_begin(again(&b), vec![c], vec![(Dtype::F32, dims)]);
        let params = answered(begun);
        let inside = answered(to.relu(again(&b), params[params.len() - 1]));
        let region = answered(to.region_end(again(&b), vec![inside]));
        let called = answered(to.call(again(&b), region, vec![sum]));
        answered(to.output(again(&b), "y".into(), called[0]));
        let graph = answered(to.finish(b));
        let made = state.table.delete(graph).unwrap();
        (format!("{:?}", made.graph), made.record)
    }

    #[test]
    fn a_graph_that_is_built_again_is_the_same() {
        let (graph, record) = recorded();
        let mut host = call(Limits::default());
        let again = answered(replay(&mut host, Buffer::shared(Arc::new(record))));
        assert_eq!(format!("{again:?}"), graph);
        assert_eq!((host.graphs, host.table.is_empty()), (0, true), "nothing is left behind");
    }

    #[test]
    fn records_that_are_cut_changed_or_too_long_are_errors() {
        let (_, record) = recorded();
        let replayed = |bytes: &[u8]| {
            let record = Buffer::shared(Arc::new(bytes.to_vec()));
            replay(&mut call(Limits::default()), record)
        };
        for len in (0..record.len()).step_by(7) {
            assert!(replayed(&record[..len]).is_err(), "{len} bytes");
        }
        for at in (0..record.len()).step_by(11) {
            let mut changed = record.clone();
            changed[at] ^= 0x5a;
            let _ = replayed(&changed);
        }
        let few = Limits { host_calls_max: 3, ..Limits::default() };
        let record = Buffer::shared(Arc::new(record));
        assert!(matches!(replay(&mut call(few), record), Err(HostError::Trap(_))));
    }
}

//! `tensor`: tensors by handle.
//!
//! Bytes cross once: `create` borrows the guest's list and copies it into a pooled block, `read` is
//! written into the guest's memory straight from the tensor. Handles share the memory.

use super::bytes::{SharedBytes, tensor_bytes};
use super::{HostError, HostResult, answer};
use crate::error::ErrorFamily;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::state::{Account, CallState, Charge};
use crate::worlds::bindings::types::{Dtype, Error, Parameter};
use crate::worlds::convert::{dtype_in, dtype_out};
use aimass_graph::Attribute;
use aimass_tensor::{Buffer, BufferMut, DType, RANK_MAX, Shape, Strings, Tensor};
use std::ops::Range;
use std::sync::Arc;
use wasmtime::component::{Linker, Resource, ResourceType, WasmList};
use wasmtime::{Result, StoreContextMut};

/// A tensor that a guest holds, and the share of the call's host memory that it made.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct TensorHandle {
    /// The tensor.
    pub(crate) tensor: Tensor,
    charge: Option<Arc<Charge>>,
}

type Handle = Resource<TensorHandle>;
type Cx<'a> = StoreContextMut<'a, CallState>;
type Answer<T> = Result<(std::result::Result<T, Error>,)>;

impl TensorHandle {
    /// A tensor that the call did not make: an input.
    pub(crate) fn given(tensor: Tensor) -> TensorHandle {
        TensorHandle { tensor, charge: None }
    }

    /// The tensor, and the share of the call's host memory that it holds.
    pub(crate) fn into_parts(self) -> (Tensor, Option<Arc<Charge>>) {
        (self.tensor, self.charge)
    }

    /// A tensor that the call made, and what was charged for it beforehand.
    pub(crate) fn made(tensor: Tensor, charge: Arc<Charge>) -> TensorHandle {
        TensorHandle { tensor, charge: Some(charge) }
    }
}

/// The answer to a guest whose tensors take too much host memory.
pub(crate) fn no_host_bytes(limits: &Limits, account: &Account, bytes: u64) -> HostError {
    let (max, left) = (limits.host_bytes_max, account.left());
    let message = format!(
        "the plugin's tensors may take {max} bytes of host memory; {left} are left, {bytes} were \
         asked for"
    );
    HostError::answer(ErrorFamily::Limit, "host-bytes", message)
}

impl CallState {
    /// Hands a tensor that this call made to the guest.
    ///
    /// # Errors
    /// `limit/host-bytes`, `limit/handles`.
    pub(crate) fn push_made(&mut self, tensor: Tensor) -> HostResult<Handle> {
        let charge = self.charge(tensor.byte_len())?;
        Ok(self.table.push(TensorHandle { tensor, charge: Some(charge) })?)
    }

    /// The tensor behind a handle, to share.
    pub(crate) fn tensor(&self, handle: &Handle) -> HostResult<Tensor> {
        Ok(self.table.get(handle)?.tensor.clone())
    }

    /// As [`CallState::tensor`], with the share of host memory that it holds.
    pub(crate) fn charged_tensor(
        &self,
        handle: &Handle,
    ) -> HostResult<(Tensor, Option<Arc<Charge>>)> {
        let TensorHandle { tensor, charge } = self.table.get(handle)?;
        Ok((tensor.clone(), charge.clone()))
    }

    /// A share of the call's host memory.
    ///
    /// # Errors
    /// `limit/host-bytes`.
    pub(crate) fn charge(&self, bytes: usize) -> HostResult<Arc<Charge>> {
        let bytes = bytes as u64;
        let charge = self.host_bytes.charge(bytes);
        charge.ok_or_else(|| no_host_bytes(self.limits(), &self.host_bytes, bytes))
    }

    /// Handles of the same memory under another shape; `view` gets the tensor.
    fn view(
        &mut self,
        handle: &Handle,
        view: impl FnOnce(&Tensor) -> HostResult<Tensor>,
    ) -> HostResult<Handle> {
        let shared = self.table.get(handle)?;
        let (tensor, charge) = (view(&shared.tensor)?, shared.charge.clone());
        Ok(self.table.push(TensorHandle { tensor, charge })?)
    }
}

/// Binds the interface.
///
/// # Errors
/// wasmtime's, if a name were defined twice.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut it = linker.instance("aimass:plugin/tensor@0.1.0")?;
    it.resource("tensor", ResourceType::host::<TensorHandle>(), |mut cx, rep| {
        cx.data_mut().table.delete(Handle::new_own(rep))?;
        Ok(())
    })?;
    it.func_wrap("[static]tensor.create", create)?;
    it.func_wrap("[static]tensor.create-strings", create_strings)?;
    it.func_wrap("[method]tensor.dtype", |mut cx: Cx<'_>, (t,): (Handle,)| {
        cx.data_mut().count_host_call()?;
        Ok((dtype_out(cx.data().table.get(&t)?.tensor.dtype()),))
    })?;
    it.func_wrap("[method]tensor.shape", |mut cx: Cx<'_>, (t,): (Handle,)| {
        cx.data_mut().count_host_call()?;
        let shape = *cx.data().table.get(&t)?.tensor.shape();
        Ok((shape.dims().iter().map(|&extent| extent as u64).collect::<Vec<u64>>(),))
    })?;
    it.func_wrap("[method]tensor.byte-len", |mut cx: Cx<'_>, (t,): (Handle,)| {
        cx.data_mut().count_host_call()?;
        Ok((tensor_bytes(&cx.data().table.get(&t)?.tensor).len() as u64,))
    })?;
    it.func_wrap("[method]tensor.read", read)?;
    it.func_wrap("[method]tensor.string-offsets", string_offsets)?;
    it.func_wrap("[method]tensor.reshape", reshape)?;
    it.func_wrap("[method]tensor.rows", rows)?;
    it.func_wrap("[method]tensor.share", |mut cx: Cx<'_>, (t,): (Handle,)| {
        cx.data_mut().count_host_call()?;
        answer(cx.data_mut().view(&t, |tensor| Ok(tensor.clone())))
    })?;
    it.func_wrap("run", run)?;
    Ok(())
}

fn create(
    mut cx: Cx<'_>,
    (dtype, shape, data): (Dtype, WasmList<u64>, WasmList<u8>),
) -> Answer<Handle> {
    cx.data_mut().count_host_call()?;
    let made = make(&cx, dtype_in(dtype), &shape, &data);
    answer(made.and_then(|(tensor, charge)| {
        let state = cx.data_mut();
        Metrics::add(&state.metrics.bytes_created, tensor.byte_len() as u64);
        Ok(state.table.push(TensorHandle { tensor, charge: Some(charge) })?)
    }))
}

/// Checks before it takes memory: shape, byte count, host memory left.
fn make(
    cx: &Cx<'_>,
    dtype: DType,
    shape: &WasmList<u64>,
    data: &WasmList<u8>,
) -> HostResult<(Tensor, Arc<Charge>)> {
    let shape = shape_in(shape.as_le_slice(cx))?;
    let bytes = data.as_le_slice(cx);
    if dtype == DType::Bytes {
        return Err(HostError::input("dtype", "tensors of dtype bytes are made by create-strings"));
    }
    let expected = dtype.bytes_for(shape.elements());
    if expected != Some(bytes.len()) {
        let takes = expected.map_or("no whole number of".into(), |n| n.to_string());
        let got = bytes.len();
        let message = format!("a {dtype} tensor of shape {shape} takes {takes} bytes, got {got}");
        return Err(HostError::input("byte-count", message));
    }
    let charge = cx.data().charge(bytes.len())?;
    let tensor = Tensor::new(dtype, shape, copied(bytes));
    Ok((tensor.map_err(|error| HostError::input("shape", error.to_string()))?, charge))
}

fn create_strings(
    mut cx: Cx<'_>,
    (shape, offsets, data): (WasmList<u64>, WasmList<u8>, WasmList<u8>),
) -> Answer<Handle> {
    cx.data_mut().count_host_call()?;
    let made = make_strings(&cx, &shape, &offsets, &data);
    answer(made.and_then(|(tensor, charge)| {
        let state = cx.data_mut();
        Metrics::add(&state.metrics.bytes_created, tensor.byte_len() as u64);
        Ok(state.table.push(TensorHandle { tensor, charge: Some(charge) })?)
    }))
}

fn make_strings(
    cx: &Cx<'_>,
    shape: &WasmList<u64>,
    offsets: &WasmList<u8>,
    data: &WasmList<u8>,
) -> HostResult<(Tensor, Arc<Charge>)> {
    let shape = shape_in(shape.as_le_slice(cx))?;
    let (offsets, data) = (offsets.as_le_slice(cx), data.as_le_slice(cx));
    let (offsets, rest) = offsets.as_chunks::<4>();
    if !rest.is_empty() || Some(offsets.len()) != shape.elements().checked_add(1) {
        let message = format!(
            "shape {shape} takes {} + 1 offsets of 4 bytes, got {} bytes",
            shape.elements(),
            4 * offsets.len() + rest.len()
        );
        return Err(HostError::input("offsets", message));
    }
    let charge = cx.data().charge(data.len() + 4 * offsets.len())?;
    let offsets = offsets.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
    let strings = Strings::new(offsets, copied(data))
        .map_err(|error| HostError::input("offsets", error.to_string()))?;
    let tensor = Tensor::from_strings(shape, strings)
        .map_err(|error| HostError::input("shape", error.to_string()))?;
    Ok((tensor, charge))
}

fn read(mut cx: Cx<'_>, (t, offset, len): (Handle, u64, u64)) -> Answer<SharedBytes> {
    let state = cx.data_mut();
    state.count_host_call()?;
    answer(state.read_tensor(&t, offset, len))
}

impl CallState {
    fn read_tensor(&self, handle: &Handle, offset: u64, len: u64) -> HostResult<SharedBytes> {
        let tensor = &self.table.get(handle)?.tensor;
        let range = self.read_range(offset, len)?;
        Metrics::add(&self.metrics.bytes_read, len);
        SharedBytes::of_tensor(tensor, range).ok_or_else(|| {
            let has = tensor_bytes(tensor).len();
            let message = format!("{len} bytes from {offset} are not inside the tensor's {has}");
            HostError::input("out-of-range", message)
        })
    }

    /// The range of a read, if one read may be that long.
    ///
    /// # Errors
    /// `limit/read-bytes`, `input/out-of-range` on overflow.
    pub(crate) fn read_range(&self, offset: u64, len: u64) -> HostResult<Range<usize>> {
        let max = self.limits().read_bytes_max;
        if len > max {
            let message = format!("one read gives at most {max} bytes, {len} were asked for");
            return Err(HostError::answer(ErrorFamily::Limit, "read-bytes", message));
        }
        let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
        match (usize::try_from(offset), end) {
            (Ok(start), Some(end)) => Ok(start..end),
            _ => Err(HostError::input("out-of-range", format!("offset {offset} is too large"))),
        }
    }
}

fn string_offsets(mut cx: Cx<'_>, (t,): (Handle,)) -> Answer<SharedBytes> {
    let state = cx.data_mut();
    state.count_host_call()?;
    let tensor = &state.table.get(&t)?.tensor;
    answer(match tensor.strings() {
        Some(strings) => {
            let bytes: Vec<u8> =
                strings.offsets().iter().flat_map(|offset| offset.to_le_bytes()).collect();
            Metrics::add(&state.metrics.bytes_read, bytes.len() as u64);
            Ok(SharedBytes::of_vec(bytes))
        }
        None => {
            let message = format!("expected a tensor of dtype bytes, got {}", tensor.dtype());
            Err(HostError::input("dtype", message))
        }
    })
}

fn reshape(mut cx: Cx<'_>, (t, shape): (Handle, WasmList<u64>)) -> Answer<Handle> {
    cx.data_mut().count_host_call()?;
    let shape = shape_in(shape.as_le_slice(&cx));
    answer(shape.and_then(|shape| {
        cx.data_mut().view(&t, |tensor| {
            tensor.reshaped(shape).map_err(|error| HostError::input("shape", error.to_string()))
        })
    }))
}

fn rows(mut cx: Cx<'_>, (t, start, end): (Handle, u64, u64)) -> Answer<Handle> {
    cx.data_mut().count_host_call()?;
    answer(cx.data_mut().view(&t, |tensor| rows_of(tensor, start, end)))
}

fn rows_of(tensor: &Tensor, start: u64, end: u64) -> HostResult<Tensor> {
    let shape = tensor.shape();
    let Some(&rows) = shape.dims().first() else {
        return Err(HostError::input("out-of-range", "a scalar has no rows"));
    };
    if start > end || end > rows as u64 {
        let message = format!("rows {start}..{end} are not inside the {rows} rows of {shape}");
        return Err(HostError::input("out-of-range", message));
    }
    if tensor.dtype().size().is_none() && tensor.dtype() != DType::Bytes {
        let message = format!("rows of packed dtype {} cannot be cut", tensor.dtype());
        return Err(HostError::answer(ErrorFamily::Unsupported, "unsupported", message));
    }
    Ok(tensor.rows(start as usize..end as usize))
}

type Attributes = Vec<(String, Parameter)>;

fn run(
    mut cx: Cx<'_>,
    (op, inputs, attributes): (String, Vec<Handle>, Attributes),
) -> Answer<Vec<Handle>> {
    let state = cx.data_mut();
    state.count_host_call()?;
    answer(state.run_op(&op, &inputs, attributes))
}

impl CallState {
    fn run_op(
        &mut self,
        op: &str,
        inputs: &[Handle],
        attributes: Attributes,
    ) -> HostResult<Vec<Handle>> {
        let inputs: Vec<Tensor> =
            inputs.iter().map(|handle| self.tensor(handle)).collect::<HostResult<_>>()?;
        let attributes: Vec<(String, Attribute)> =
            attributes.into_iter().map(|(name, parameter)| (name, attribute(parameter))).collect();
        let outputs = aimass_graph::run_op(op, &inputs, &attributes)?;
        outputs.into_iter().map(|tensor| self.push_made(tensor)).collect()
    }
}

fn attribute(parameter: Parameter) -> Attribute {
    match parameter {
        Parameter::Boolean(value) => Attribute::Bool(value),
        Parameter::Integer(value) => Attribute::Int(value),
        Parameter::Float(value) => Attribute::Float(value),
        Parameter::Text(value) => Attribute::Text(value),
        Parameter::Integers(values) => Attribute::Ints(values),
    }
}

/// A shape that a guest names.
///
/// # Errors
/// `input/shape` beyond 8 dimensions or if the elements overflow.
pub(crate) fn shape_in(extents: &[u64]) -> HostResult<Shape> {
    let mut dims = [0usize; RANK_MAX];
    if extents.len() > RANK_MAX {
        let message = format!("expected at most {RANK_MAX} dimensions, got {}", extents.len());
        return Err(HostError::input("shape", message));
    }
    for (dim, &extent) in dims.iter_mut().zip(extents) {
        *dim = usize::try_from(extent)
            .map_err(|_| HostError::input("shape", format!("extent {extent} is too large")))?;
    }
    Shape::new(&dims[..extents.len()]).map_err(|error| HostError::input("shape", error.to_string()))
}

fn copied(bytes: &[u8]) -> Buffer {
    let mut block = BufferMut::uninit(bytes.len());
    block.as_mut_slice().copy_from_slice(bytes);
    block.freeze()
}

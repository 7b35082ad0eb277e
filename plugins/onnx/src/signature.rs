//! Inputs and outputs of a model as the contract names them.

use crate::proto::{DimProto, Graph, Model, TensorType, ValueInfo, ValueType};
use crate::tracer::input;
use crate::value::{Extent, T};
use aimass_sdk::{DType, Dim, Error, Result, Signature, TensorSpec, TracedInput};

/// The model's signature. With `batch`, axis 0 of the inputs is `batch` where the model leaves it open
/// under one name that stands nowhere else.
///
/// # Errors
/// `unsupported/onnx-type` for an input or output that is no tensor of the contract's types.
pub(crate) fn of_model(model: &Model, batch: bool) -> Result<Signature> {
    let graph = &model.graph;
    let rows = if batch { rows_of(graph) } else { None };
    let mut signature = Signature::new();
    for info in inputs(graph) {
        signature.inputs.push(spec(model, info, rows.as_ref())?);
    }
    for info in &graph.outputs {
        // What a model says of the shapes of its outputs is often wrong, and nobody depends on it: a
        // trace tells the right ones.
        signature.outputs.push(TensorSpec { dims: None, ..spec(model, info, None)? });
    }
    Ok(signature)
}

/// The inputs of the first trace: with open rows, if the signature has any, and with known ones.
pub(crate) struct Traced {
    pub(crate) open: Option<Vec<(String, T)>>,
    pub(crate) exact: Vec<(String, T)>,
}

/// Pairs what a call brings with the signature.
///
/// # Errors
/// `internal/inputs` if the host brings other inputs than the signature's.
pub(crate) fn traced(signature: &Signature, inputs: &[TracedInput]) -> Result<Traced> {
    let (mut open, mut exact) = (Vec::new(), Vec::new());
    let mut any = false;
    for spec in &signature.inputs {
        let found = inputs.iter().find(|traced| traced.name == spec.name);
        let found = found
            .ok_or_else(|| Error::internal("inputs", format!("expected an input {}", spec.name)))?;
        let dims: Vec<Extent> = found.shape.iter().map(|&extent| Extent::Fixed(extent)).collect();
        let mut rows = dims.clone();
        if let (Some(Dim::Batch), Some(first)) =
            (spec.dims.as_ref().and_then(|dims| dims.first()), rows.first_mut())
        {
            *first = Extent::Batch;
            any = true;
        }
        open.push((spec.name.clone(), input(&spec.name, found.dtype, rows)));
        exact.push((spec.name.clone(), input(&spec.name, found.dtype, dims)));
    }
    Ok(Traced { open: any.then_some(open), exact })
}

/// Inputs that a call has to bring: those without a default value.
fn inputs(graph: &Graph) -> impl Iterator<Item = &ValueInfo> {
    graph.inputs.iter().filter(|info| !graph.initializers.contains_key(&info.name))
}

/// The one dimension that counts rows.
fn rows_of(graph: &Graph) -> Option<DimProto> {
    let mut rows: Option<DimProto> = None;
    for info in inputs(graph) {
        let ValueType::Tensor(TensorType { dims: Some(dims), .. }) = &info.ty else { return None };
        for (axis, dim) in dims.iter().enumerate() {
            match (axis, dim, &rows) {
                (0, DimProto::Named(_), None) => rows = Some(dim.clone()),
                (0, DimProto::Open, None) if graph_has_one_input(graph) => rows = Some(dim.clone()),
                _ => {}
            }
        }
    }
    let rows = rows?;
    let elsewhere = inputs(graph).any(|info| match &info.ty {
        ValueType::Tensor(TensorType { dims: Some(dims), .. }) => {
            matches!(&rows, DimProto::Named(_)) && dims.iter().skip(1).any(|dim| *dim == rows)
        }
        _ => false,
    });
    if elsewhere { None } else { Some(rows) }
}

fn graph_has_one_input(graph: &Graph) -> bool {
    inputs(graph).count() == 1
}

fn spec(model: &Model, info: &ValueInfo, rows: Option<&DimProto>) -> Result<TensorSpec> {
    let name = model.names.text(info.name);
    let ty = match &info.ty {
        ValueType::Tensor(ty) => ty,
        ValueType::Optional(inner) => match &**inner {
            ValueType::Tensor(ty) => ty,
            _ => return Err(no_tensor(name)),
        },
        ValueType::Unknown | ValueType::Sequence | ValueType::Other => {
            return Err(no_tensor(name));
        }
    };
    let Some(dtype) = ty.element.dtype() else {
        let message =
            format!("`{name}` has elements of type {}, which no plan takes", ty.element.name());
        return Err(Error::unsupported("onnx-type", message));
    };
    Ok(TensorSpec {
        name: name.to_owned(),
        dtype: Some(dtype),
        dims: ty.dims.as_ref().map(|dims| contract_dims(name, dims, (rows, dtype))),
        description: String::new(),
    })
}

/// The dimensions of a value. One that the model leaves open without a name, or with the `?` of some
/// exporters, gets a name of its own: equal names mean equal extents.
fn contract_dims(
    value: &str,
    dims: &[DimProto],
    (rows, dtype): (Option<&DimProto>, DType),
) -> Vec<Dim> {
    let own_name = |axis: usize| format!("{}:{axis}", value.chars().take(60).collect::<String>());
    let dim = |(axis, dim): (usize, &DimProto)| match dim {
        _ if axis == 0 && rows == Some(dim) && dtype != DType::Bytes => Dim::Batch,
        DimProto::Known(extent) => Dim::Fixed(*extent),
        DimProto::Named(name) if name != "?" => Dim::Dynamic(name.chars().take(64).collect()),
        DimProto::Named(_) | DimProto::Open => Dim::Dynamic(own_name(axis)),
    };
    dims.iter().enumerate().map(dim).collect()
}

fn no_tensor(name: &str) -> Error {
    let message =
        format!("`{name}` is a sequence, map or optional; a model takes and gives tensors");
    Error::unsupported("onnx-type", message)
}

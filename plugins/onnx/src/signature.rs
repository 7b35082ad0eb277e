//! Inputs and outputs of a model as the contract names them.

use crate::proto::{DimProto, Graph, Model, Node, TensorType, ValueInfo, ValueType};
use crate::tracer::input;
use crate::value::{Extent, T, shown};
use aimass_sdk::{DType, Dim, Error, Result, Signature, TensorSpec, TracedInput};

/// The model's signature. With `batch`, axis 0 of the inputs is `batch` where the model leaves it open
/// under one name that stands nowhere else.
///
/// # Errors
/// `unsupported/onnx-type` for an input or output that is no tensor of the contract's types.
pub(crate) fn of_model(model: &Model, batch: bool) -> Result<Signature> {
    let graph = &model.graph;
    let rows = if batch { rows_of(model).ok() } else { None };
    let mut signature = Signature::new();
    for info in inputs(graph) {
        signature.inputs.push(spec(model, info, rows.as_ref())?);
    }
    for info in &graph.outputs {
        if is_scores(graph, info) {
            let name = model.names.text(info.name).to_owned();
            let (dtype, description) = (Some(DType::F32), "scores, one a class".to_owned());
            signature.outputs.push(TensorSpec { name, dtype, dims: None, description });
            continue;
        }
        // What a model says of the shapes of its outputs is often wrong, and nobody depends on it: a
        // trace tells the right ones.
        signature.outputs.push(TensorSpec { dims: None, ..spec(model, info, None)? });
    }
    Ok(signature)
}

/// The inputs of the first trace: with open rows, if the signature has any, and with known ones.
pub(crate) struct Traced {
    /// Or why none is left open.
    pub(crate) open: std::result::Result<Vec<(String, T)>, String>,
    pub(crate) exact: Vec<(String, T)>,
}

/// Pairs what a call brings with the signature, which was made with `batch`.
///
/// # Errors
/// `internal/inputs` if the host brings other inputs than the signature's.
pub(crate) fn traced(
    model: &Model,
    signature: &Signature,
    (inputs, batch): (&[TracedInput], bool),
) -> Result<Traced> {
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
    let open = match (any, batch) {
        (true, _) => Ok(open),
        (false, false) => Err("`batch = false` in the configuration".to_owned()),
        (false, true) => Err(match rows_of(model) {
            Ok(_) => "rows of texts".to_owned(),
            Err(why) => why,
        }),
    };
    Ok(Traced { open, exact })
}

/// Inputs that a call has to bring: those without a default value.
fn inputs(graph: &Graph) -> impl Iterator<Item = &ValueInfo> {
    graph.inputs.iter().filter(|info| !graph.initializers.contains_key(&info.name))
}

/// Whether an output is what a `ZipMap` makes: a list of maps to ONNX, the tensor of scores to us.
fn is_scores(graph: &Graph, info: &ValueInfo) -> bool {
    let makes = |node: &std::rc::Rc<Node>| node.outputs.first() == Some(&info.name);
    let maker = graph.nodes.iter().find(|node| makes(node));
    maker.is_some_and(|node| node.domain == "ai.onnx.ml" && node.op == "ZipMap")
}

/// The one dimension that counts rows, or why there is none.
fn rows_of(model: &Model) -> std::result::Result<DimProto, String> {
    let graph = &model.graph;
    let text = |info: &ValueInfo| shown(model.names.text(info.name));
    let mut rows: Option<DimProto> = None;
    for info in inputs(graph) {
        let ValueType::Tensor(TensorType { dims: Some(dims), .. }) = &info.ty else {
            return Err(format!("input `{}`: the model does not say its rank", text(info)));
        };
        for (axis, dim) in dims.iter().enumerate() {
            match (axis, dim, &rows) {
                (0, DimProto::Named(_), None) => rows = Some(dim.clone()),
                (0, DimProto::Open, None) if graph_has_one_input(graph) => rows = Some(dim.clone()),
                _ => {}
            }
        }
    }
    let Some(rows) = rows else {
        let first = inputs(graph).next().map(text);
        return Err(match first {
            Some(name) => format!("input `{name}`: no first dimension is left open under a name"),
            None => "no input".to_owned(),
        });
    };
    let DimProto::Named(name) = &rows else { return Ok(rows) };
    let elsewhere = inputs(graph).find(|info| match &info.ty {
        ValueType::Tensor(TensorType { dims: Some(dims), .. }) => {
            dims.iter().skip(1).any(|dim| *dim == rows)
        }
        _ => false,
    });
    match elsewhere {
        None => Ok(rows),
        Some(info) => Err(format!(
            "input `{}`: the rows, `{}`, lie along another axis than 0",
            text(info),
            shown(name)
        )),
    }
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

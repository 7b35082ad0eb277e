//! An infer request: JSON, then binary data in the order of the inputs that announce it.

use super::{binary, data};
use crate::config::{REQUEST_ID_BYTES_MAX, TENSORS_MAX};
use crate::failure::Failure;
use crate::object::Object;
use aimass_engine::Parameter;
use aimass_tensor::{Buffer, DType, RANK_MAX, Shape, Tensor};
use bytes::Bytes;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// An infer request, read and checked against itself; the model has not been asked yet.
#[derive(Debug)]
pub(crate) struct ParsedRequest {
    pub(crate) id: Option<String>,
    pub(crate) inputs: Vec<(String, Tensor)>,
    /// For the plugins: everything that the protocol does not use itself.
    pub(crate) parameters: BTreeMap<String, Parameter>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) wanted: Wanted,
}

/// Which outputs are wanted, and how.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Whether outputs that nothing else is said about come as binary data.
    pub(crate) binary: bool,
    /// Names asked for, and what was said about each; empty asks for all.
    pub(crate) outputs: Vec<(String, Option<bool>)>,
}

impl Wanted {
    /// Whether output `name` goes out as binary data.
    pub(crate) fn is_binary(&self, name: &str) -> bool {
        let said = self.outputs.iter().find(|(output, _)| output == name);
        said.and_then(|(_, binary)| *binary).unwrap_or(self.binary)
    }
}

/// Reads an infer request. `json_len` is the `Inference-Header-Content-Length`, absent if the body
/// is nothing but JSON.
pub(crate) fn parse(body: &Bytes, json_len: Option<usize>) -> Result<ParsedRequest, Failure> {
    let json_len = json_len.unwrap_or(body.len());
    let Some((json, blobs)) = body.split_at_checked(json_len) else {
        return Err(Failure::invalid(format!(
            "Inference-Header-Content-Length is {json_len}, but the body has {} bytes",
            body.len()
        )));
    };
    let text = std::str::from_utf8(json)
        .map_err(|error| Failure::invalid(format!("the request JSON is not UTF-8: {error}")))?;
    let Object(wire) = serde_json::from_str::<Object<WireRequest<'_>>>(text)
        .map_err(|error| Failure::invalid(format!("request JSON: {error}")))?;
    let id = wire.id.map(|id| id.0.into_owned());
    if id.as_ref().is_some_and(|id| id.len() > REQUEST_ID_BYTES_MAX) {
        let message = format!("id: expected at most {REQUEST_ID_BYTES_MAX} bytes");
        return Err(Failure::invalid(message));
    }
    let shared = Buffer::shared(Arc::new(body.clone()));
    let inputs = inputs(&wire.inputs.0, &shared, json_len, blobs.len())?;
    let (parameters, timeout, binary) = parameters(wire.parameters)?;
    let outputs = outputs(wire.outputs)?;
    Ok(ParsedRequest { id, inputs, parameters, timeout, wanted: Wanted { binary, outputs } })
}

fn inputs(
    wire: &[WireInput<'_>],
    body: &Buffer,
    json_len: usize,
    blobs_len: usize,
) -> Result<Vec<(String, Tensor)>, Failure> {
    let mut inputs: Vec<(String, Tensor)> = Vec::with_capacity(wire.len());
    let mut at = 0;
    for input in wire {
        let name = &*input.name.0;
        if inputs.iter().any(|(other, _)| other == name) {
            return Err(fault(name, "given twice"));
        }
        let tensor = tensor(input, |size| {
            let end = at + usize::try_from(size).ok().filter(|&size| size <= blobs_len - at)?;
            let blob = body.slice(json_len + at..json_len + end);
            at = end;
            Some(blob)
        })?;
        inputs.push((name.to_owned(), tensor));
    }
    if at < blobs_len {
        return Err(Failure::invalid(format!(
            "{blobs_len} bytes follow the request JSON, but binary_data_size announces {at}"
        )));
    }
    Ok(inputs)
}

fn tensor(
    input: &WireInput<'_>,
    mut next_blob: impl FnMut(u64) -> Option<Buffer>,
) -> Result<Tensor, Failure> {
    let name = &*input.name.0;
    let dtype = DType::from_oip_name(&input.datatype.0).map_err(|error| fault(name, error))?;
    let shape = input.shape.to_shape().map_err(|error| fault(name, error))?;
    if input.parameters.0.shared_memory_region.is_some() {
        return Err(fault(name, "shared memory is not supported; send the data in the request"));
    }
    match (&input.data, input.parameters.0.binary_data_size) {
        (Some(data), None) => {
            data::tensor(dtype, shape, data.get()).map_err(|error| fault(name, error))
        }
        (None, Some(size)) => {
            let blob = next_blob(size).ok_or_else(|| {
                fault(name, format!("binary_data_size {size} reaches beyond the end of the body"))
            })?;
            binary::tensor(dtype, shape, blob).map_err(|error| fault(name, error))
        }
        (Some(_), Some(_)) => Err(fault(name, "has both data and binary_data_size; send one")),
        (None, None) => Err(fault(name, "has neither data nor binary_data_size")),
    }
}

fn fault(input: &str, problem: impl fmt::Display) -> Failure {
    let name: String = input.chars().take(128).collect();
    Failure::invalid(format!("input {name:?}: {problem}"))
}

type ParametersRead = (BTreeMap<String, Parameter>, Option<Duration>, bool);

/// Takes out what the protocol itself uses: `timeout` in microseconds, `binary_data_output`.
fn parameters(wire: WireParameters<'_>) -> Result<ParametersRead, Failure> {
    let (mut rest, mut timeout, mut binary) = (BTreeMap::new(), None, false);
    for (name, value) in wire.0 {
        match (&*name.0, value.0) {
            ("binary_data_output", Parameter::Bool(value)) => binary = value,
            ("binary_data_output", _) => {
                return Err(Failure::invalid("binary_data_output: expected true or false"));
            }
            ("timeout", Parameter::Int(micros)) if micros >= 0 => {
                timeout = (micros > 0).then(|| Duration::from_micros(micros as u64));
            }
            ("timeout", _) => {
                return Err(Failure::invalid("timeout: expected a number of microseconds"));
            }
            (_, value) => {
                rest.insert(name.0.into_owned(), value);
            }
        }
    }
    Ok((rest, timeout, binary))
}

fn outputs(wire: Option<Capped<WireOutput<'_>>>) -> Result<Vec<(String, Option<bool>)>, Failure> {
    let mut outputs: Vec<(String, Option<bool>)> = Vec::new();
    for output in wire.map_or(Vec::new(), |outputs| outputs.0) {
        let name = output.name.0.into_owned();
        let problem = |text| Err(Failure::invalid(format!("output {name:?}: {text}")));
        if output.parameters.0.shared_memory_region.is_some() {
            return problem("shared memory is not supported");
        }
        if output.parameters.0.classification.is_some() {
            return problem("classification is not supported; use a softmax-topk step");
        }
        if outputs.iter().any(|(other, _)| *other == name) {
            return problem("asked for twice");
        }
        outputs.push((name, output.parameters.0.binary_data));
    }
    Ok(outputs)
}

#[derive(Deserialize)]
struct WireRequest<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    parameters: WireParameters<'a>,
    #[serde(borrow)]
    inputs: Capped<WireInput<'a>>,
    #[serde(borrow, default)]
    outputs: Option<Capped<WireOutput<'a>>>,
}

#[derive(Deserialize)]
struct WireInput<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    shape: WireShape,
    #[serde(borrow)]
    datatype: Text<'a>,
    #[serde(default)]
    parameters: Object<WireInputParameters>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireInputParameters {
    binary_data_size: Option<u64>,
    shared_memory_region: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WireOutput<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(default)]
    parameters: Object<WireOutputParameters>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireOutputParameters {
    binary_data: Option<bool>,
    classification: Option<IgnoredAny>,
    shared_memory_region: Option<IgnoredAny>,
}

/// A string, borrowed from the body unless it is escaped (serde's derive would copy an optional
/// `Cow`).
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A list of at most [`TENSORS_MAX`] objects.
struct Capped<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Capped<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Capped<T>, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = Capped<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Capped<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(Object(item)) = seq.next_element()? {
                    if items.len() == TENSORS_MAX {
                        let message = format!("expected at most {TENSORS_MAX} items");
                        return Err(A::Error::custom(message));
                    }
                    items.push(item);
                }
                Ok(Capped(items))
            }
        }
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

/// Extents, at most [`RANK_MAX`].
struct WireShape {
    rank: usize,
    dims: [u64; RANK_MAX],
}

impl WireShape {
    fn to_shape(&self) -> Result<Shape, aimass_tensor::ShapeError> {
        let mut dims = [0usize; RANK_MAX];
        for (to, from) in dims.iter_mut().zip(self.dims) {
            *to = usize::try_from(from).unwrap_or(usize::MAX);
        }
        Shape::new(&dims[..self.rank])
    }
}

impl<'de> Deserialize<'de> for WireShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WireShape, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = WireShape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of extents")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<WireShape, A::Error> {
                let mut shape = WireShape { rank: 0, dims: [0; RANK_MAX] };
                while let Some(extent) = seq.next_element()? {
                    let Some(slot) = shape.dims.get_mut(shape.rank) else {
                        let message = format!("expected at most {RANK_MAX} dimensions");
                        return Err(A::Error::custom(message));
                    };
                    *slot = extent;
                    shape.rank += 1;
                }
                Ok(shape)
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

/// Parameters in the order sent, at most [`TENSORS_MAX`].
#[derive(Default)]
struct WireParameters<'a>(Vec<(Text<'a>, WireParameter)>);

impl<'de: 'a, 'a> Deserialize<'de> for WireParameters<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor;
        impl<'de> Visitor<'de> for MapVisitor {
            type Value = WireParameters<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of parameters")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = map.next_entry()? {
                    if items.len() == TENSORS_MAX {
                        let message = format!("expected at most {TENSORS_MAX} parameters");
                        return Err(A::Error::custom(message));
                    }
                    items.push(item);
                }
                Ok(WireParameters(items))
            }
        }
        deserializer.deserialize_map(MapVisitor)
    }
}

struct WireParameter(Parameter);

impl<'de> Deserialize<'de> for WireParameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WireParameter, D::Error> {
        struct ParameterVisitor;
        impl Visitor<'_> for ParameterVisitor {
            type Value = WireParameter;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, true or false as the value of a parameter")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<WireParameter, E> {
                Ok(WireParameter(Parameter::Bool(value)))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<WireParameter, E> {
                Ok(WireParameter(Parameter::Int(value)))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<WireParameter, E> {
                let value = i64::try_from(value)
                    .map_err(|_| E::custom("a whole number above 9223372036854775807"))?;
                Ok(WireParameter(Parameter::Int(value)))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<WireParameter, E> {
                Ok(WireParameter(Parameter::Float(value)))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<WireParameter, E> {
                Ok(WireParameter(Parameter::Text(value.to_owned())))
            }
        }
        deserializer.deserialize_any(ParameterVisitor)
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

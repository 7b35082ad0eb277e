//! `ModelInferRequest`: one block of Protocol Buffers becomes named tensors that lie in it.
//!
//! Field numbers are those of `kserve/open-inference-protocol` and of Triton's
//! `grpc_service.proto`, which agree on this message but for two kinds of parameter.

use super::contents;
use super::wire::{Field, Fields, WireFault};
use crate::config::{REQUEST_ID_BYTES_MAX, TENSORS_MAX};
use crate::failure::Failure;
use crate::oip::binary;
use crate::oip::request::{ParsedRequest, Wanted};
use aimass_engine::{Parameter, Selector};
use aimass_tensor::{Buffer, DType, RANK_MAX, Shape, Tensor};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A request, and the model that it is for.
#[derive(Debug)]
pub(crate) struct GrpcInfer {
    pub(crate) model: String,
    pub(crate) selector: Selector,
    pub(crate) request: ParsedRequest,
}

/// What a `ModelInferRequest` says, before tensors are made of it.
#[derive(Default)]
struct Wire<'a> {
    model: &'a str,
    version: &'a str,
    id: &'a str,
    parameters: Vec<Range<usize>>,
    inputs: Vec<Range<usize>>,
    outputs: Vec<Range<usize>>,
    raw: Vec<Range<usize>>,
}

/// Reads a `ModelInferRequest`.
///
/// # Errors
/// 400 for bytes that are no such message, for more than 64 inputs, outputs or parameters, and for
/// data that is not what datatype and shape say.
pub(crate) fn parse(block: &Bytes) -> Result<GrpcInfer, Failure> {
    let wire = read(block)?;
    if wire.id.len() > REQUEST_ID_BYTES_MAX {
        return Err(Failure::invalid(format!("id: expected at most {REQUEST_ID_BYTES_MAX} bytes")));
    }
    let (parameters, timeout) = parameters(block, &wire.parameters)?;
    let outputs = wire.outputs.iter().map(|range| output(block, range));
    let outputs: Result<Vec<_>, Failure> = outputs.collect();
    Ok(GrpcInfer {
        model: wire.model.to_owned(),
        selector: wire.version.parse()?,
        request: ParsedRequest {
            id: (!wire.id.is_empty()).then(|| wire.id.to_owned()),
            inputs: inputs(block, &wire)?,
            parameters,
            timeout,
            wanted: Wanted { binary: true, outputs: outputs? },
        },
    })
}

/// The name of the model in a message that may be broken behind it.
pub(crate) fn model_name(block: &[u8]) -> Option<&str> {
    let mut fields = Fields::of(block, 0..block.len());
    while let Ok(Some(field)) = fields.next() {
        if field.number == 1 {
            return field.text(block).ok();
        }
    }
    None
}

/// The id of a request that may be broken elsewhere.
pub(crate) fn request_id(block: &[u8]) -> Option<&str> {
    let mut fields = Fields::of(block, 0..block.len());
    while let Ok(Some(field)) = fields.next() {
        if field.number == 3 {
            return field.text(block).ok().filter(|id| id.len() <= REQUEST_ID_BYTES_MAX);
        }
    }
    None
}

fn read(block: &[u8]) -> Result<Wire<'_>, Failure> {
    let mut wire = Wire::default();
    let mut fields = Fields::of(block, 0..block.len());
    while let Some(field) = fields.next()? {
        let list = match field.number {
            1 => {
                wire.model = field.text(block)?;
                continue;
            }
            2 => {
                wire.version = field.text(block)?;
                continue;
            }
            3 => {
                wire.id = field.text(block)?;
                continue;
            }
            4 => &mut wire.parameters,
            5 => &mut wire.inputs,
            6 => &mut wire.outputs,
            7 => &mut wire.raw,
            _ => continue,
        };
        if list.len() == TENSORS_MAX {
            let what = ["parameters", "inputs", "outputs", "raw_input_contents"];
            let what = what[field.number as usize - 4];
            return Err(Failure::invalid(format!("{what}: expected at most {TENSORS_MAX}")));
        }
        list.push(field.range()?);
    }
    Ok(wire)
}

fn inputs(block: &Bytes, wire: &Wire<'_>) -> Result<Vec<(String, Tensor)>, Failure> {
    if !wire.raw.is_empty() && wire.raw.len() != wire.inputs.len() {
        return Err(Failure::invalid(format!(
            "raw_input_contents: expected one for each of the {} inputs, got {}",
            wire.inputs.len(),
            wire.raw.len()
        )));
    }
    let shared = Buffer::shared(Arc::new(block.clone()));
    let mut inputs: Vec<(String, Tensor)> = Vec::with_capacity(wire.inputs.len());
    for (index, range) in wire.inputs.iter().enumerate() {
        let input = Input::read(block, range)?;
        if inputs.iter().any(|(other, _)| other == input.name) {
            return Err(input.fault("given twice"));
        }
        let raw = wire.raw.get(index).map(|range| shared.slice(range.clone()));
        let tensor = input.tensor(block, &shared, raw)?;
        inputs.push((input.name.to_owned(), tensor));
    }
    Ok(inputs)
}

/// An `InferInputTensor`.
struct Input<'a> {
    name: &'a str,
    datatype: &'a str,
    dims: [usize; RANK_MAX],
    rank: usize,
    contents: Option<Range<usize>>,
}

impl<'a> Input<'a> {
    fn read(block: &'a [u8], range: &Range<usize>) -> Result<Input<'a>, Failure> {
        let (name, datatype) = ("", "");
        let mut input = Input { name, datatype, dims: [0; RANK_MAX], rank: 0, contents: None };
        let mut fields = Fields::of(block, range.clone());
        while let Some(field) = fields.next()? {
            match field.number {
                1 => input.name = field.text(block)?,
                2 => input.datatype = field.text(block)?,
                3 => input.extents(block, &field)?,
                4 if is_shared_memory(parameter(block, &field.range()?)?.0) => {
                    return Err(
                        input.fault("shared memory is not supported; send the data in the request")
                    );
                }
                5 if input.contents.is_some() => return Err(input.fault("has contents twice")),
                5 => input.contents = Some(field.range()?),
                _ => {}
            }
        }
        Ok(input)
    }

    /// One extent, or all of them packed.
    fn extents(&mut self, block: &[u8], field: &Field) -> Result<(), Failure> {
        let Ok(range) = field.range() else {
            return self.extent(field.number()?);
        };
        let mut numbers = Fields::of(block, range);
        while !numbers.is_empty() {
            self.extent(numbers.varint()?)?;
        }
        Ok(())
    }

    fn extent(&mut self, extent: u64) -> Result<(), Failure> {
        let signed = extent as i64;
        let extent = usize::try_from(signed).map_err(|_| {
            self.fault(format!("shape: expected extents of 0 and more, got {signed}"))
        });
        let (rank, extent) = (self.rank, extent?);
        if rank == RANK_MAX {
            return Err(self.fault(format!("expected at most {RANK_MAX} dimensions")));
        }
        self.dims[rank] = extent;
        self.rank += 1;
        Ok(())
    }

    fn tensor(
        &self,
        block: &[u8],
        shared: &Buffer,
        raw: Option<Buffer>,
    ) -> Result<Tensor, Failure> {
        let dtype = DType::from_oip_name(self.datatype).map_err(|error| self.fault(error))?;
        let shape = Shape::new(&self.dims[..self.rank]).map_err(|error| self.fault(error))?;
        match (raw, &self.contents) {
            (Some(raw), None) => {
                binary::tensor(dtype, shape, raw).map_err(|error| self.fault(error))
            }
            // KServe's client sends empty contents beside the raw ones.
            (Some(raw), Some(contents)) if contents.is_empty() => {
                binary::tensor(dtype, shape, raw).map_err(|error| self.fault(error))
            }
            (Some(_), Some(_)) => {
                Err(self.fault("has both contents and raw_input_contents; send one"))
            }
            (None, contents) => {
                let range = contents.clone().unwrap_or(0..0);
                contents::tensor(block, shared, range, dtype, shape)
                    .map_err(|error| self.fault(error))
            }
        }
    }

    fn fault(&self, problem: impl std::fmt::Display) -> Failure {
        let name: String = self.name.chars().take(128).collect();
        Failure::invalid(format!("input {name:?}: {problem}"))
    }
}

/// An `InferRequestedOutputTensor`.
fn output(block: &[u8], range: &Range<usize>) -> Result<(String, Option<bool>), Failure> {
    let mut name = "";
    let mut fields = Fields::of(block, range.clone());
    while let Some(field) = fields.next()? {
        let refused = match field.number {
            1 => {
                name = field.text(block)?;
                None
            }
            2 => match parameter(block, &field.range()?)?.0 {
                "classification" => {
                    Some("classification is not supported; use a softmax-topk step in the model")
                }
                key if is_shared_memory(key) => Some("shared memory is not supported"),
                _ => None,
            },
            _ => None,
        };
        if let Some(text) = refused {
            return Err(Failure::invalid(format!("output {name:?}: {text}")));
        }
    }
    Ok((name.to_owned(), None))
}

fn is_shared_memory(key: &str) -> bool {
    key.starts_with("shared_memory")
}

type Parameters = BTreeMap<String, Parameter>;

/// All parameters but `timeout` (microseconds), which the protocol uses itself.
fn parameters(
    block: &[u8],
    ranges: &[Range<usize>],
) -> Result<(Parameters, Option<Duration>), Failure> {
    let (mut rest, mut timeout) = (Parameters::new(), None);
    for range in ranges {
        let (key, value) = parameter(block, range)?;
        match (key, value) {
            ("timeout", Some(Parameter::Int(micros))) if micros >= 0 => {
                timeout = (micros > 0).then(|| Duration::from_micros(micros as u64));
            }
            ("timeout", _) => {
                return Err(Failure::invalid("timeout: expected a number of microseconds"));
            }
            // What tritonclient puts there for itself.
            ("binary_data_output", _) => {}
            (_, Some(value)) => {
                rest.insert(key.to_owned(), value);
            }
            (_, None) => {
                let key: String = key.chars().take(128).collect();
                return Err(Failure::invalid(format!("parameter {key:?} has no value")));
            }
        }
    }
    Ok((rest, timeout))
}

/// An entry of a map to `InferParameter`.
fn parameter<'a>(
    block: &'a [u8],
    range: &Range<usize>,
) -> Result<(&'a str, Option<Parameter>), Failure> {
    let (mut key, mut value) = ("", None);
    let mut fields = Fields::of(block, range.clone());
    while let Some(field) = fields.next()? {
        match field.number {
            1 => key = field.text(block)?,
            2 => value = choice(block, field.range()?)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn choice(block: &[u8], range: Range<usize>) -> Result<Option<Parameter>, Failure> {
    let mut value = None;
    let mut fields = Fields::of(block, range);
    while let Some(field) = fields.next()? {
        value = Some(match field.number {
            1 => Parameter::Bool(field.number()? != 0),
            2 => Parameter::Int(field.number()? as i64),
            3 => Parameter::Text(field.text(block)?.to_owned()),
            4 => Parameter::Float(field.double()?),
            5 => Parameter::Int(i64::try_from(field.number()?).map_err(|_| {
                Failure::invalid("a parameter is a whole number above 9223372036854775807")
            })?),
            _ => continue,
        });
    }
    Ok(value)
}

impl From<WireFault> for Failure {
    fn from(fault: WireFault) -> Failure {
        Failure::invalid(format!("the message is no ModelInferRequest: {fault}"))
    }
}

#[cfg(test)]
#[path = "infer_request_tests.rs"]
mod tests;

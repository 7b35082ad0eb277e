//! The protobuf messages of `onnx.proto3` that inference needs, read straight from the file.

mod check;
#[cfg(test)]
mod fixture;
mod message;
#[cfg(test)]
mod mutations;
mod names;
mod parse;
mod tensor;
mod uses;
mod wire;

pub(crate) use check::{check, opset};
pub(crate) use message::{
    Attribute, AttributeValue, DimProto, Function, Graph, Model, Node, SparseTensor, TensorType,
    ValueInfo, ValueType,
};
pub(crate) use names::{Name, NameMap, NameSet, Names};
pub(crate) use parse::{read, read_model};
pub(crate) use tensor::{ElementType, Payload, TensorProto};
pub(crate) use uses::{captured, last_uses};

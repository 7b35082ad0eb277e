//! A node as its lowering sees it: attributes by name, inputs by position.

use crate::emit::Emitter;
use crate::proto::{Attribute, AttributeValue, Names, Node, TensorProto};
use crate::value::{R, T, Value, invalid};
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// What a lowering works with: the node, and through it the [`Emitter`].
pub(crate) struct Cx<'a> {
    pub(crate) emitter: &'a mut Emitter,
    pub(crate) node: &'a Node,
    /// The texts of the model's names.
    pub(crate) names: &'a Names,
    /// Version of the default domain's operators.
    pub(crate) opset: i64,
    /// Attributes of the function around the node.
    pub(crate) function: Option<&'a HashMap<String, Attribute>>,
}

impl Deref for Cx<'_> {
    type Target = Emitter;

    fn deref(&self) -> &Emitter {
        self.emitter
    }
}

impl DerefMut for Cx<'_> {
    fn deref_mut(&mut self) -> &mut Emitter {
        self.emitter
    }
}

/// The attribute's value, through a function's attribute if it refers to one.
pub(crate) fn attribute<'a>(
    node: &'a Node,
    function: Option<&'a HashMap<String, Attribute>>,
    name: &str,
) -> Option<&'a AttributeValue> {
    let attribute = node.attributes.get(name)?;
    let attribute = match &attribute.reference {
        Some(reference) => function?.get(reference)?,
        None => attribute,
    };
    match &attribute.value {
        AttributeValue::None => None,
        value => Some(value),
    }
}

impl<'a> Cx<'a> {
    /// The attribute's value, if it is set.
    pub(crate) fn attribute(&self, name: &str) -> Option<&'a AttributeValue> {
        attribute(self.node, self.function, name)
    }

    /// Whether the attribute is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    fn wrong(&self, name: &str, expected: &str) -> crate::value::Stop {
        invalid(format!("attribute {name}: expected {expected}"))
    }

    pub(crate) fn attr_int_opt(&self, name: &str) -> R<Option<i64>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(AttributeValue::Int(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(name, "a whole number")),
        }
    }

    pub(crate) fn attr_int(&self, name: &str, default: i64) -> R<i64> {
        Ok(self.attr_int_opt(name)?.unwrap_or(default))
    }

    pub(crate) fn attr_flag(&self, name: &str) -> R<bool> {
        Ok(self.attr_int(name, 0)? != 0)
    }

    pub(crate) fn attr_float_opt(&self, name: &str) -> R<Option<f32>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(AttributeValue::Float(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(name, "a number")),
        }
    }

    pub(crate) fn attr_float(&self, name: &str, default: f32) -> R<f32> {
        Ok(self.attr_float_opt(name)?.unwrap_or(default))
    }

    pub(crate) fn attr_ints_opt(&self, name: &str) -> R<Option<&'a [i64]>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(AttributeValue::Ints(values)) => Ok(Some(values)),
            Some(_) => Err(self.wrong(name, "a list of whole numbers")),
        }
    }

    pub(crate) fn attr_floats_opt(&self, name: &str) -> R<Option<&'a [f32]>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(AttributeValue::Floats(values)) => Ok(Some(values)),
            Some(_) => Err(self.wrong(name, "a list of numbers")),
        }
    }

    pub(crate) fn attr_text_opt(&self, name: &str) -> R<Option<&'a str>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(AttributeValue::Text(text)) => {
                std::str::from_utf8(text).map(Some).map_err(|_| self.wrong(name, "UTF-8"))
            }
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    pub(crate) fn attr_text(&self, name: &str, default: &'static str) -> R<&'a str> {
        Ok(self.attr_text_opt(name)?.unwrap_or(default))
    }

    pub(crate) fn attr_texts_opt(&self, name: &str) -> R<Option<&'a [Vec<u8>]>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(AttributeValue::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(self.wrong(name, "a list of texts")),
        }
    }

    pub(crate) fn attr_tensor_opt(&self, name: &str) -> R<Option<&'a Rc<TensorProto>>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(AttributeValue::Tensor(tensor)) => Ok(Some(tensor)),
            Some(_) => Err(self.wrong(name, "a tensor")),
        }
    }

    /// How many outputs the node names.
    pub(crate) fn output_count(&self) -> usize {
        self.node.outputs.len()
    }

    /// Whether an output is asked for.
    pub(crate) fn wants_output(&self, index: usize) -> bool {
        self.node.outputs.get(index).is_some_and(|name| !name.is_empty())
    }
}

/// The inputs of a node; one that is left out is none.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a>(pub(crate) &'a [Option<Value>]);

impl<'a> Inputs<'a> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Input `index`, if it is given.
    pub(crate) fn value_opt(&self, index: usize) -> Option<&'a Value> {
        self.0.get(index).and_then(Option::as_ref)
    }

    /// Input `index`.
    pub(crate) fn value(&self, index: usize) -> R<&'a Value> {
        self.value_opt(index).ok_or_else(|| invalid(format!("expected an input {index}")))
    }

    /// Input `index` as a tensor, if it is given.
    pub(crate) fn tensor_opt(&self, index: usize) -> R<Option<&'a T>> {
        match self.value_opt(index) {
            None => Ok(None),
            Some(value) => as_tensor(value).map(Some),
        }
    }

    /// Input `index` as a tensor.
    pub(crate) fn tensor(&self, index: usize) -> R<&'a T> {
        as_tensor(self.value(index)?)
    }

    /// Input `index` as a list.
    pub(crate) fn sequence(&self, index: usize) -> R<&'a Rc<Vec<Value>>> {
        match self.value(index)? {
            Value::Sequence(values) => Ok(values),
            Value::Tensor(_) | Value::Optional(_) => {
                Err(invalid(format!("input {index}: expected a sequence")))
            }
        }
    }

    /// All inputs as tensors.
    pub(crate) fn tensors(&self) -> R<Vec<&'a T>> {
        (0..self.len()).map(|index| self.tensor(index)).collect()
    }
}

/// The tensor of a value; an optional that holds one counts.
pub(crate) fn as_tensor(value: &Value) -> R<&T> {
    match value {
        Value::Tensor(tensor) => Ok(tensor),
        Value::Optional(Some(inner)) => as_tensor(inner),
        Value::Sequence(_) => Err(invalid("expected a tensor, got a sequence")),
        Value::Optional(None) => Err(invalid("expected a tensor, got an empty optional")),
    }
}

/// An axis as an index; negative ones count from the end.
pub(crate) fn axis_of(axis: i64, rank: usize) -> R<usize> {
    let index = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(index)
        .ok()
        .filter(|index| *index < rank.max(1))
        .ok_or_else(|| invalid(format!("expected an axis of a tensor of rank {rank}, got {axis}")))
}

/// Axes as indices, sorted.
pub(crate) fn axes_of(axes: &[i64], rank: usize) -> R<Vec<usize>> {
    let mut indices = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<R<Vec<usize>>>()?;
    indices.sort_unstable();
    indices.dedup();
    Ok(indices)
}

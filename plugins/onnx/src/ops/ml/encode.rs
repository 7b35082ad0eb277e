//! Encoders of labels and categories.

use super::mapping::Mapping;
use super::{Table, one};
use crate::constant::constant;
use crate::content::{float_tensor, full, int_tensor, int_vector};
use crate::node::{Cx, Inputs};
use crate::value::{R, T, TensorValue, Value, invalid};
use aimass_sdk::{DType, Error};

pub(super) const TABLE: Table = &[
    ("CategoryMapper", |cx, inputs| {
        let texts = text_vector(cx.attr_texts_opt("cats_strings")?.unwrap_or_default());
        let numbers = int_vector(cx.attr_ints_opt("cats_int64s")?.unwrap_or_default());
        let mapping = both_ways(cx, inputs.tensor(0)?, texts, numbers)?;
        one(mapping.apply(cx, inputs.tensor(0)?)?)
    }),
    ("LabelEncoder", label_encoder),
    ("OneHotEncoder", one_hot_encoder),
];

/// Elements of a one-hot encoding of texts.
const HOT_ELEMENTS_MAX: u64 = 16 << 20;

fn text_vector(texts: &[Vec<u8>]) -> T {
    TensorValue::of_strings(&[texts.len() as u64], texts.to_vec())
}

fn default_text(cx: &Cx<'_>) -> R<T> {
    let text = cx.attr_text("default_string", "_Unused")?;
    Ok(TensorValue::of_strings(&[1], vec![text.as_bytes().to_vec()]))
}

fn default_number(cx: &Cx<'_>) -> R<T> {
    Ok(int_tensor(&[1], &[cx.attr_int("default_int64", -1)?]))
}

/// Texts to numbers or numbers to texts, whichever `x` is.
fn both_ways(cx: &Cx<'_>, x: &T, texts: T, numbers: T) -> R<Mapping> {
    Ok(match x.dtype {
        DType::Bytes => Mapping { keys: texts, values: numbers, default: default_number(cx)? },
        _ => Mapping { keys: numbers, values: texts, default: default_text(cx)? },
    })
}

fn label_encoder(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    if let Some(classes) = cx.attr_texts_opt("classes_strings")? {
        let places: Vec<i64> = (0..classes.len() as i64).collect();
        let mapping = both_ways(cx, x, text_vector(classes), int_vector(&places))?;
        return one(mapping.apply(cx, x)?);
    }
    let keys = list(cx, ["keys_tensor", "keys_strings", "keys_int64s", "keys_floats"])?;
    let values = list(cx, ["values_tensor", "values_strings", "values_int64s", "values_floats"])?;
    let default = match cx.attr_tensor_opt("default_tensor")? {
        Some(tensor) => {
            let tensor = constant(cx, tensor)?;
            if tensor.elements()? != 1 {
                return Err(invalid("default_tensor: expected one element"));
            }
            tensor
        }
        None => match values.dtype {
            DType::Bytes => default_text(cx)?,
            DType::I64 => default_number(cx)?,
            DType::F32 => float_tensor(&[1], &[cx.attr_float("default_float", -0.0)?]),
            dtype @ (DType::F64 | DType::F16 | DType::Bf16) => full(dtype, &[1], -0.0)?,
            dtype => full(dtype, &[1], -1.0)?,
        },
    };
    one(Mapping { keys, values, default }.apply(cx, x)?)
}

/// The vector that one of these attributes holds: a tensor, texts, whole numbers or floats.
fn list(cx: &mut Cx<'_>, [tensor, texts, ints, floats]: [&str; 4]) -> R<T> {
    if let Some(tensor) = cx.attr_tensor_opt(tensor)? {
        let tensor = constant(cx, tensor)?;
        let count = tensor.elements()?;
        return match tensor.dtype {
            DType::Bytes => Ok(tensor),
            _ => cx.reshape_to(&tensor, &[count]),
        };
    }
    if let Some(texts) = cx.attr_texts_opt(texts)? {
        return Ok(text_vector(texts));
    }
    if let Some(ints) = cx.attr_ints_opt(ints)? {
        return Ok(int_vector(ints));
    }
    match cx.attr_floats_opt(floats)? {
        Some(floats) => Ok(float_tensor(&[floats.len() as u64], floats)),
        None => Err(invalid(format!("expected one of {tensor}, {texts}, {ints}, {floats}"))),
    }
}

/// A one for the category of each element, along a new last axis.
fn one_hot_encoder(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let zeros = cx.attr_int("zeros", 1)? != 0;
    let hot = if x.dtype == DType::Bytes {
        let categories = cx.attr_texts_opt("cats_strings")?.unwrap_or_default();
        let elements = x.elements()?.saturating_mul(categories.len() as u64);
        if elements > HOT_ELEMENTS_MAX {
            let message = format!("expected at most {HOT_ELEMENTS_MAX} elements, got {elements}");
            return Err(Error::limit("onnx-one-hot", message).into());
        }
        let mut hot = Vec::with_capacity(elements as usize);
        for text in cx.strings(x)?.iter() {
            hot.extend(categories.iter().map(|category| u8::from(category == text)));
        }
        let mut shape = x.shape()?;
        shape.push(categories.len() as u64);
        TensorValue::of_bytes(DType::Bool, &shape, hot)
    } else {
        let categories = int_vector(cx.attr_ints_opt("cats_int64s")?.unwrap_or_default());
        let whole = cx.cast(x, DType::I64)?;
        let column = cx.unsqueeze(&whole, x.rank())?;
        cx.equal(&column, &categories)?
    };
    let hot = cx.cast(&hot, DType::F32)?;
    if !zeros {
        let kept = cx.keep(|emitter| {
            let found = emitter.reduce_max(&hot, &[x.rank()], false)?;
            let axes: Vec<usize> = (0..x.rank()).collect();
            Ok(vec![emitter.reduce_min(&found, &axes, false)?])
        })?;
        if cx.float(&kept[0])? == 0.0 {
            return Err(invalid("an element is of no category"));
        }
    }
    one(hot)
}

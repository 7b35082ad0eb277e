//! From a name and attributes to a call of the builder.

mod indexed;
mod integers;
mod windowed;

use super::Attribute;
use crate::builder::UNSUPPORTED;
use crate::op::PadMode;
use crate::{
    AttentionOptions, AttentionValues, Contraction, Dim, GeluForm, GraphBuilder, GraphError,
    RunError, ValueId,
};
use aimass_tensor::DType;
use std::cell::Cell;

type One = fn(&mut GraphBuilder, ValueId) -> Result<ValueId, GraphError>;
type Two = fn(&mut GraphBuilder, ValueId, ValueId) -> Result<ValueId, GraphError>;
type Axes = fn(&mut GraphBuilder, ValueId, &[u32], bool) -> Result<ValueId, GraphError>;

const ONE: &[(&str, One)] = &[
    ("neg", GraphBuilder::neg),
    ("abs", GraphBuilder::abs),
    ("sign", GraphBuilder::sign),
    ("exp", GraphBuilder::exp),
    ("log", GraphBuilder::log),
    ("sqrt", GraphBuilder::sqrt),
    ("rsqrt", GraphBuilder::rsqrt),
    ("reciprocal", GraphBuilder::reciprocal),
    ("sin", GraphBuilder::sin),
    ("cos", GraphBuilder::cos),
    ("tan", GraphBuilder::tan),
    ("asin", GraphBuilder::asin),
    ("acos", GraphBuilder::acos),
    ("atan", GraphBuilder::atan),
    ("sinh", GraphBuilder::sinh),
    ("cosh", GraphBuilder::cosh),
    ("tanh", GraphBuilder::tanh),
    ("asinh", GraphBuilder::asinh),
    ("acosh", GraphBuilder::acosh),
    ("atanh", GraphBuilder::atanh),
    ("erf", GraphBuilder::erf),
    ("floor", GraphBuilder::floor),
    ("ceil", GraphBuilder::ceil),
    ("round", GraphBuilder::round),
    ("sigmoid", GraphBuilder::sigmoid),
    ("relu", GraphBuilder::relu),
    ("silu", GraphBuilder::silu),
    ("softplus", GraphBuilder::softplus),
    ("logical-not", GraphBuilder::logical_not),
    ("bit-not", GraphBuilder::bit_not),
    ("is-nan", GraphBuilder::is_nan),
    ("is-inf", GraphBuilder::is_inf),
    ("hard-swish", GraphBuilder::hard_swish),
    ("shape-of", GraphBuilder::shape_of),
    ("positions", GraphBuilder::positions),
];

const TWO: &[(&str, Two)] = &[
    ("add", GraphBuilder::add),
    ("sub", GraphBuilder::sub),
    ("mul", GraphBuilder::mul),
    ("div", GraphBuilder::div),
    ("rem", GraphBuilder::rem),
    ("pow", GraphBuilder::pow),
    ("maximum", GraphBuilder::maximum),
    ("minimum", GraphBuilder::minimum),
    ("logical-and", GraphBuilder::logical_and),
    ("logical-or", GraphBuilder::logical_or),
    ("logical-xor", GraphBuilder::logical_xor),
    ("bit-and", GraphBuilder::bit_and),
    ("bit-or", GraphBuilder::bit_or),
    ("bit-xor", GraphBuilder::bit_xor),
    ("shift-left", GraphBuilder::shift_left),
    ("shift-right", GraphBuilder::shift_right),
    ("equal", GraphBuilder::equal),
    ("not-equal", GraphBuilder::not_equal),
    ("less", GraphBuilder::less),
    ("less-equal", GraphBuilder::less_equal),
    ("greater", GraphBuilder::greater),
    ("greater-equal", GraphBuilder::greater_equal),
    ("matmul", GraphBuilder::matmul),
    ("ragged-mean", GraphBuilder::ragged_mean),
    ("ragged-sum", GraphBuilder::ragged_sum),
    ("ragged-max", GraphBuilder::ragged_max),
    ("ragged-first", GraphBuilder::ragged_first),
    ("ragged-last", GraphBuilder::ragged_last),
];

const AXES: &[(&str, Axes)] = &[
    ("reduce-sum", GraphBuilder::reduce_sum),
    ("reduce-mean", GraphBuilder::reduce_mean),
    ("reduce-prod", GraphBuilder::reduce_prod),
    ("reduce-max", GraphBuilder::reduce_max),
    ("reduce-min", GraphBuilder::reduce_min),
];

/// Adds the op to the builder; answers its outputs.
pub(super) fn build(
    b: &mut GraphBuilder,
    name: &str,
    inputs: &[ValueId],
    attributes: &[(String, Attribute)],
) -> Result<Vec<ValueId>, RunError> {
    if UNSUPPORTED.contains(&name) {
        return Err(GraphError::unsupported(name, "no kernel yet").into());
    }
    let arguments = Arguments { inputs, attributes, asked: Cell::new(0) };
    let outputs = match simple(b, name, &arguments)? {
        Some(outputs) => outputs,
        None => match shaped(b, name, &arguments)? {
            Some(outputs) => outputs,
            None => match windowed::build(b, name, &arguments)? {
                Some(output) => vec![output],
                None => match indexed::build(b, name, &arguments)? {
                    Some(outputs) => outputs,
                    None => match integers::build(b, name, &arguments)? {
                        Some(output) => vec![output],
                        None => layer(b, name, &arguments)?,
                    },
                },
            },
        },
    };
    arguments.all_asked()?;
    Ok(outputs)
}

/// Ops without attributes, reductions, elementwise ops with attributes.
fn simple(
    b: &mut GraphBuilder,
    name: &str,
    a: &Arguments<'_>,
) -> Result<Option<Vec<ValueId>>, RunError> {
    if let Some((_, op)) = ONE.iter().find(|(own, _)| *own == name) {
        let [x] = a.values()?;
        return Ok(Some(vec![op(b, x)?]));
    }
    if let Some((_, op)) = TWO.iter().find(|(own, _)| *own == name) {
        let [x, y] = a.values()?;
        return Ok(Some(vec![op(b, x, y)?]));
    }
    if let Some((_, op)) = AXES.iter().find(|(own, _)| *own == name) {
        let [x] = a.values()?;
        return Ok(Some(vec![op(b, x, &a.axes("axes")?, a.flag("keep")?)?]));
    }
    let one = match name {
        "gelu" => {
            let [x] = a.values()?;
            let form = match a.text("form")? {
                None | Some("erf") => GeluForm::Erf,
                Some("tanh") => GeluForm::Tanh,
                Some(other) => return Err(wrong("form", "erf or tanh", &other)),
            };
            b.gelu(x, form)?
        }
        "leaky-relu" => {
            let [x] = a.values()?;
            b.leaky_relu(x, a.float("alpha")? as f32)?
        }
        "elu" => {
            let [x] = a.values()?;
            b.elu(x, a.float("alpha")? as f32)?
        }
        "hard-sigmoid" => {
            let [x] = a.values()?;
            b.hard_sigmoid(x, a.float("alpha")? as f32, a.float("beta")? as f32)?
        }
        "clamp" => {
            let [x] = a.values()?;
            b.clamp(x, a.float("low")?, a.float("high")?)?
        }
        "cast" => {
            let [x] = a.values()?;
            b.cast(x, a.dtype("dtype")?)?
        }
        "bitcast" => {
            let [x] = a.values()?;
            b.bitcast(x, a.dtype("dtype")?)?
        }
        "select" => {
            let [condition, x, y] = a.values()?;
            b.select(condition, x, y)?
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![one]))
}

/// Ops on shapes and indices.
fn shaped(
    b: &mut GraphBuilder,
    name: &str,
    a: &Arguments<'_>,
) -> Result<Option<Vec<ValueId>>, RunError> {
    let one = match name {
        "concat" => b.concat(a.inputs, a.axis("axis")?)?,
        "gather" => {
            let [x, indices] = a.values()?;
            b.gather(x, indices, a.axis("axis")?)?
        }
        "iota" => {
            let [] = a.values()?;
            let start = a.int_or("start", 0)?;
            b.iota(&a.dims("dims")?, a.axis("axis")?, start, a.int_or("step", 1)?)?
        }
        "reshape" | "broadcast" | "transpose" | "slice" | "split" | "pad" | "tile" | "reverse"
        | "one-hot" | "arg-max" | "arg-min" | "cumulative-sum" | "cumulative-prod" | "top-k"
        | "sort" => {
            let [x] = a.values()?;
            return one_shaped(b, name, x, a).map(Some);
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![one]))
}

fn one_shaped(
    b: &mut GraphBuilder,
    name: &str,
    x: ValueId,
    a: &Arguments<'_>,
) -> Result<Vec<ValueId>, RunError> {
    Ok(vec![match name {
        "reshape" => b.reshape(x, &a.dims("dims")?)?,
        "broadcast" => b.broadcast(x, &a.dims("dims")?)?,
        "transpose" => b.transpose(x, &a.axes("permutation")?)?,
        "slice" => {
            let (axis, start) = (a.axis("axis")?, a.count_or("start", 0)?);
            b.slice(x, axis, start, a.count_or("end", u64::MAX)?, a.count_or("step", 1)?)?
        }
        "split" => return Ok(b.split(x, a.axis("axis")?, &a.counts("sizes")?)?),
        "pad" => {
            let mode = match a.text("mode")? {
                None | Some("constant") => PadMode::Constant,
                Some("reflect") => PadMode::Reflect,
                Some("edge") => PadMode::Edge,
                Some("wrap") => PadMode::Wrap,
                Some(other) => return Err(wrong("mode", "constant, reflect or edge", &other)),
            };
            let (before, after) = (a.counts("before")?, a.counts("after")?);
            b.pad(x, &before, &after, mode, a.float_or("fill", 0.0)?)?
        }
        "tile" => b.tile(x, &a.counts("repeats")?)?,
        "reverse" => b.reverse(x, a.axis("axis")?)?,
        "one-hot" => b.one_hot(x, a.count("depth")?, a.dtype("dtype")?)?,
        "arg-max" => b.arg_max(x, a.axis("axis")?, a.flag("keep")?)?,
        "arg-min" => b.arg_min(x, a.axis("axis")?, a.flag("keep")?)?,
        "cumulative-sum" => {
            b.cumulative_sum(x, a.axis("axis")?, a.flag("exclusive")?, a.flag("reverse")?)?
        }
        "cumulative-prod" => {
            b.cumulative_prod(x, a.axis("axis")?, a.flag("exclusive")?, a.flag("reverse")?)?
        }
        "top-k" => {
            let (values, indices) = b.top_k(x, a.count("k")?, a.flag_or("largest", true)?)?;
            return Ok(vec![values, indices]);
        }
        _ => {
            let (values, indices) = b.sort(x, a.flag("descending")?)?;
            return Ok(vec![values, indices]);
        }
    }])
}

/// Linear algebra and neural layers.
fn layer(b: &mut GraphBuilder, name: &str, a: &Arguments<'_>) -> Result<Vec<ValueId>, RunError> {
    let epsilon = || a.float("epsilon").map(|epsilon| epsilon as f32);
    Ok(vec![match name {
        "softmax" => {
            let [x] = a.values()?;
            b.softmax(x, a.axis("axis")?)?
        }
        "log-softmax" => {
            let [x] = a.values()?;
            b.log_softmax(x, a.axis("axis")?)?
        }
        "l2-normalize" => {
            let [x] = a.values()?;
            b.l2_normalize(x, epsilon()?)?
        }
        "rms-norm" => {
            let [x, scale] = a.values()?;
            b.rms_norm(x, scale, epsilon()?)?
        }
        "layer-norm" => {
            let ([x, scale], bias) = a.values_and()?;
            b.layer_norm(x, scale, bias, epsilon()?)?
        }
        "linear" => {
            let ([x, w], bias) = a.values_and()?;
            b.linear(x, w, bias, a.flag("transposed")?)?
        }
        "dot-general" => {
            let [x, y] = a.values()?;
            let (batch_x, batch_y) = (a.axes_or_none("batch-x")?, a.axes_or_none("batch-y")?);
            let (contract_x, contract_y) = (a.axes("contract-x")?, a.axes("contract-y")?);
            let axes = Contraction {
                batch_x: &batch_x,
                batch_y: &batch_y,
                contract_x: &contract_x,
                contract_y: &contract_y,
            };
            b.dot_general(x, y, axes)?
        }
        "attention" => {
            let ([q, k, v], mask) = a.values_and()?;
            b.attention(AttentionValues { q, k, v }, mask, a.attention()?)?
        }
        "ragged-attention" => {
            let [q, k, v, offsets] = a.values()?;
            b.ragged_attention(AttentionValues { q, k, v }, offsets, a.attention()?)?
        }
        _ => return Err(GraphError::unsupported(name, "it is no op of the contract").into()),
    }])
}

/// Arguments of one op, and which of its attributes were asked for.
struct Arguments<'a> {
    inputs: &'a [ValueId],
    attributes: &'a [(String, Attribute)],
    asked: Cell<u64>,
}

fn wrong(argument: &'static str, expected: &str, got: &impl ToString) -> RunError {
    let got = got.to_string().chars().take(80).collect();
    GraphError::Argument { op: "tensor.run", argument, expected: expected.to_owned(), got }.into()
}

impl Arguments<'_> {
    fn values<const N: usize>(&self) -> Result<[ValueId; N], RunError> {
        let got = self.inputs.len();
        self.inputs.try_into().map_err(|_| RunError::InputCount { expected: N, got })
    }

    /// `N` values and perhaps one more.
    fn values_and<const N: usize>(&self) -> Result<([ValueId; N], Option<ValueId>), RunError> {
        let got = self.inputs.len();
        let wrong = RunError::InputCount { expected: N, got };
        let Some((first, rest)) = self.inputs.split_first_chunk::<N>() else { return Err(wrong) };
        match rest {
            [] => Ok((*first, None)),
            [one] => Ok((*first, Some(*one))),
            [_, _, ..] => Err(wrong),
        }
    }

    /// `N` values, then optional ones. An attribute of its name says whether an optional value is
    /// there; unless one says so, as many are there as inputs are left, from the first on.
    fn values_and_named<const N: usize, const M: usize>(
        &self,
        names: [&'static str; M],
    ) -> Result<([ValueId; N], [Option<ValueId>; M]), RunError> {
        let got = self.inputs.len();
        let wrong = RunError::InputCount { expected: N, got };
        let Some((first, rest)) = self.inputs.split_first_chunk::<N>() else { return Err(wrong) };
        let mut rest = rest.iter().copied();
        let mut named = [None; M];
        for (value, name) in named.iter_mut().zip(names) {
            if self.flag_or(name, true)? {
                *value = rest.next();
            }
        }
        if rest.next().is_some() { Err(wrong) } else { Ok((*first, named)) }
    }

    fn find(&self, name: &'static str) -> Option<&Attribute> {
        let index = self.attributes.iter().position(|(own, _)| own == name)?;
        self.asked.set(self.asked.get() | 1 << index);
        Some(&self.attributes[index].1)
    }

    fn all_asked(&self) -> Result<(), RunError> {
        let asked = self.asked.get();
        let unknown = (0..self.attributes.len()).find(|index| asked & (1 << index) == 0);
        match unknown {
            Some(index) => {
                Err(wrong("attributes", "each argument of the op once", &self.attributes[index].0))
            }
            None => Ok(()),
        }
    }

    fn int_or(&self, name: &'static str, default: i64) -> Result<i64, RunError> {
        match self.find(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(other) => Err(wrong(name, "a whole number", &format!("{other:?}"))),
        }
    }

    fn count_or(&self, name: &'static str, default: u64) -> Result<u64, RunError> {
        match self.find(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => {
                u64::try_from(*value).map_err(|_| wrong(name, "at least 0", value))
            }
            Some(other) => Err(wrong(name, "a whole number", &format!("{other:?}"))),
        }
    }

    fn count(&self, name: &'static str) -> Result<u64, RunError> {
        match self.find(name) {
            None => Err(wrong(name, "a whole number", &"nothing")),
            Some(_) => self.count_or(name, 0),
        }
    }

    fn axis(&self, name: &'static str) -> Result<u32, RunError> {
        let axis = self.count(name)?;
        u32::try_from(axis).map_err(|_| wrong(name, "an axis", &axis))
    }

    fn flag_or(&self, name: &'static str, default: bool) -> Result<bool, RunError> {
        match self.find(name) {
            None => Ok(default),
            Some(Attribute::Bool(value)) => Ok(*value),
            Some(Attribute::Int(value @ (0 | 1))) => Ok(*value == 1),
            Some(other) => Err(wrong(name, "a bool", &format!("{other:?}"))),
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, RunError> {
        self.flag_or(name, false)
    }

    fn float_or(&self, name: &'static str, default: f64) -> Result<f64, RunError> {
        match self.find(name) {
            None => Ok(default),
            Some(Attribute::Float(value)) => Ok(*value),
            Some(Attribute::Int(value)) => Ok(*value as f64),
            Some(other) => Err(wrong(name, "a number", &format!("{other:?}"))),
        }
    }

    fn float(&self, name: &'static str) -> Result<f64, RunError> {
        match self.find(name) {
            None => Err(wrong(name, "a number", &"nothing")),
            Some(_) => self.float_or(name, 0.0),
        }
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, RunError> {
        match self.find(name) {
            None => Ok(None),
            Some(Attribute::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a text", &format!("{other:?}"))),
        }
    }

    fn dtype(&self, name: &'static str) -> Result<DType, RunError> {
        let text = self.text(name)?.unwrap_or("");
        let known = DType::ALL.into_iter().find(|dtype| dtype.name() == text);
        match (known, DType::from_oip_name(text)) {
            (Some(dtype), _) | (None, Ok(dtype)) => Ok(dtype),
            (None, Err(_)) => Err(wrong(name, "a dtype such as f32 or FP32", &text)),
        }
    }

    fn ints(&self, name: &'static str) -> Result<&[i64], RunError> {
        match self.find(name) {
            Some(Attribute::Ints(values)) => Ok(values),
            None => Err(wrong(name, "a list of whole numbers", &"nothing")),
            Some(other) => Err(wrong(name, "a list of whole numbers", &format!("{other:?}"))),
        }
    }

    fn counts(&self, name: &'static str) -> Result<Vec<u64>, RunError> {
        let count =
            |&value: &i64| u64::try_from(value).map_err(|_| wrong(name, "at least 0", &value));
        self.ints(name)?.iter().map(count).collect()
    }

    fn axes(&self, name: &'static str) -> Result<Vec<u32>, RunError> {
        let axis = |&value: &i64| u32::try_from(value).map_err(|_| wrong(name, "axes", &value));
        self.ints(name)?.iter().map(axis).collect()
    }

    fn axes_or_none(&self, name: &'static str) -> Result<Vec<u32>, RunError> {
        match self.find(name) {
            Some(_) => self.axes(name),
            None => Ok(Vec::new()),
        }
    }

    fn dims(&self, name: &'static str) -> Result<Vec<Dim>, RunError> {
        let dim = |&value: &i64| match value {
            -1 => Ok(Dim::Dynamic("".into())),
            _ => u64::try_from(value).map(Dim::Fixed).map_err(|_| wrong(name, "extents", &value)),
        };
        self.ints(name)?.iter().map(dim).collect()
    }

    fn attention(&self) -> Result<AttentionOptions, RunError> {
        let heads = self.axis("heads")?;
        let kv_heads = match self.find("kv-heads") {
            Some(_) => self.axis("kv-heads")?,
            None => heads,
        };
        let scale = match self.find("scale") {
            Some(_) => Some(self.float("scale")? as f32),
            None => None,
        };
        let window = match self.find("window") {
            Some(_) => Some(self.axis("window")?),
            None => None,
        };
        let causal = self.flag("causal")?;
        Ok(AttentionOptions { heads, kv_heads, scale, causal, window })
    }
}

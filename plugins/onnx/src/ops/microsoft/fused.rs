//! Operators with a neighbor folded into them.

use crate::content::scalar;
use crate::node::{Cx, Inputs};
use crate::ops::layer_norm::{layer_norm, rms_norm};
use crate::ops::rotary::{Angles, rotate};
use crate::ops::{Table, matmul, one};
use crate::value::{Extent, R, T, Value, invalid, unsupported};
use aimass_sdk::DType;
use aimass_sdk::graph::GeluForm;

pub(super) const TABLE: Table = &[
    ("BiasGelu", |cx, x| gelu(cx, x, GeluForm::Erf)),
    ("EmbedLayerNormalization", embed_layer_normalization),
    ("FastGelu", |cx, x| gelu(cx, x, GeluForm::Tanh)),
    ("FusedConv", |cx, x| {
        let sum = crate::ops::conv::convolved(cx, x)?;
        let sum = match x.tensor_opt(3)? {
            Some(more) => cx.add(&sum, more)?,
            None => sum,
        };
        one(activated(cx, &sum)?)
    }),
    ("FusedGemm", |cx, x| {
        let product = matmul::gemm(cx, x)?;
        one(activated(cx, &product)?)
    }),
    ("FusedMatMul", fused_matmul),
    ("Gelu", |cx, x| gelu(cx, x, GeluForm::Erf)),
    ("QuickGelu", |cx, x| {
        let alpha = cx.attr_float("alpha", 1.702)?;
        let scaled = cx.mul_number(x.tensor(0)?, alpha.into())?;
        let gate = cx.sigmoid(&scaled)?;
        one(cx.mul(x.tensor(0)?, &gate)?)
    }),
    ("RotaryEmbedding", rotary_embedding),
    ("TransposeMatMul", fused_matmul),
    ("SkipLayerNormalization", skip_layer_normalization),
    ("SkipSimplifiedLayerNormalization", skip_simplified_layer_normalization),
];

fn gelu(cx: &mut Cx<'_>, inputs: Inputs<'_>, form: GeluForm) -> R<Vec<Value>> {
    let x = match inputs.tensor_opt(1)? {
        Some(bias) => cx.add(inputs.tensor(0)?, bias)?,
        None => inputs.tensor(0)?.clone(),
    };
    one(cx.gelu(&x, form)?)
}

/// The attribute `activation` of a fused operator.
fn activated(cx: &mut Cx<'_>, x: &T) -> R<T> {
    let numbers = cx.attr_floats_opt("activation_params")?.unwrap_or_default();
    let number = |index: usize, name: &str, default: f32| match numbers.get(index) {
        Some(number) => Ok(*number),
        None => cx.attr_float(name, default),
    };
    let (alpha, beta) = (number(0, "activation_alpha", 0.01)?, number(1, "activation_beta", 0.0)?);
    match cx.attr_text("activation", "")? {
        "" => Ok(x.clone()),
        "Clip" => cx.clamp(x, alpha.into(), beta.into()),
        "HardSigmoid" => cx.hard_sigmoid(x, alpha, beta),
        "LeakyRelu" => cx.leaky_relu(x, alpha),
        "Relu" => cx.relu(x),
        "Sigmoid" => cx.sigmoid(x),
        "Tanh" => cx.tanh(x),
        other => Err(unsupported(format!("activation `{other}`"))),
    }
}

/// `alpha * x' · y'`, each side perhaps transposed.
fn fused_matmul(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    if cx.attr_flag("transBatchA")? || cx.attr_flag("transBatchB")? {
        return Err(unsupported("transposed batch axes"));
    }
    let mut sides = Vec::with_capacity(2);
    for (index, name) in [(0, "transA"), (1, "transB")] {
        let x = inputs.tensor(index)?;
        let rank = x.rank();
        sides.push(match cx.attr_flag(name)? && rank >= 2 {
            true => {
                let axes: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
                cx.transpose(x, &axes)?
            }
            false => x.clone(),
        });
    }
    let product = matmul::product(cx, &sides[0], &sides[1])?;
    one(match cx.attr_float("alpha", 1.0)? {
        1.0 => product,
        alpha => cx.mul_number(&product, alpha.into())?,
    })
}

/// Adds the last axis' bias, if there is one.
fn plus(cx: &mut Cx<'_>, x: &T, bias: Option<&T>) -> R<T> {
    match bias {
        Some(bias) => cx.add(x, bias),
        None => Ok(x.clone()),
    }
}

/// Output, mean and inverse deviation (which nothing reads when a model serves), and the sum.
fn with_sum(cx: &Cx<'_>, y: T, sum: T) -> R<Vec<Value>> {
    if cx.wants_output(1) || cx.wants_output(2) {
        return Err(unsupported("statistics of a fused normalization"));
    }
    Ok(match cx.wants_output(3) {
        true => vec![y.clone().into(), y.clone().into(), y.into(), sum.into()],
        false => vec![y.into()],
    })
}

fn skip_layer_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let sum = cx.add(inputs.tensor(0)?, inputs.tensor(1)?)?;
    let sum = plus(cx, &sum, inputs.tensor_opt(4)?)?;
    let epsilon = cx.attr_float("epsilon", 1e-12)?;
    let last = last_axis(&sum)?;
    let vectors = (inputs.tensor(2)?, inputs.tensor_opt(3)?);
    let y = layer_norm(cx, &sum, vectors, last, epsilon)?;
    with_sum(cx, y, sum)
}

fn skip_simplified_layer_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let sum = cx.add(inputs.tensor(0)?, inputs.tensor(1)?)?;
    let sum = plus(cx, &sum, inputs.tensor_opt(3)?)?;
    let epsilon = cx.attr_float("epsilon", 1e-12)?;
    let last = last_axis(&sum)?;
    let y = rms_norm(cx, &sum, inputs.tensor(2)?, last, epsilon)?;
    with_sum(cx, y, sum)
}

fn last_axis(x: &T) -> R<usize> {
    x.rank().checked_sub(1).ok_or_else(|| invalid("expected a tensor of some axes"))
}

/// Sum of word, position and segment embeddings, normalized; and the lengths that a mask says.
fn embed_layer_normalization(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (ids, words, places) = (inputs.tensor(0)?, inputs.tensor(2)?, inputs.tensor(3)?);
    if ids.rank() != 2 {
        return Err(invalid(format!("expected ids [batch, tokens], got rank {}", ids.rank())));
    }
    let mut sum = cx.gather(words, ids, 0)?;
    let own = match inputs.tensor_opt(8)? {
        Some(positions) => cx.gather(places, positions, 0)?,
        None => cx.slice(places, 0, (0, ids.extent(1)?), 1)?,
    };
    sum = cx.add(&sum, &own)?;
    if let (Some(segments), Some(table)) = (inputs.tensor_opt(1)?, inputs.tensor_opt(4)?) {
        let own = cx.gather(table, segments, 0)?;
        sum = cx.add(&sum, &own)?;
    }
    let epsilon = cx.attr_float("epsilon", 1e-12)?;
    let y = layer_norm(cx, &sum, (inputs.tensor(5)?, Some(inputs.tensor(6)?)), 2, epsilon)?;
    let mut outputs = vec![y.into()];
    if cx.output_count() > 1 {
        let lengths = match inputs.tensor_opt(7)? {
            Some(mask) => {
                let mask = cx.cast(mask, DType::I32)?;
                cx.reduce_sum(&mask, &[1], false)?
            }
            None => cx.broadcast(&scalar(DType::I32, 0.0)?, &[ids.dims[0]])?,
        };
        outputs.extend([lengths.into(), sum.into()]);
    }
    Ok(outputs)
}

/// Positions are those of the tokens, or that of the first one.
fn rotary_embedding(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, positions) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let tokens = match x.rank() {
        4 => x.dims[2],
        3 => x.dims[1],
        rank => return Err(invalid(format!("expected rank 3 or 4, got {rank}"))),
    };
    let positions = match positions.elements() {
        Ok(1) if positions.rank() <= 1 => {
            let first = cx.reshape_to(positions, &[])?;
            let first = cx.cast(&first, DType::I64)?;
            let steps = cx.iota(&[Extent::Fixed(1), tokens], 1)?;
            let one = cx.add(&steps, &first)?;
            cx.broadcast(&one, &[x.dims[0], tokens])?
        }
        _ => positions.clone(),
    };
    let caches = (inputs.tensor(2)?, inputs.tensor(3)?);
    let angles = Angles::of(cx, caches, Some(&positions))?;
    let rotated = cx.attr_int("rotary_embedding_dim", 0)?;
    let heads = match cx.attr_int("num_heads", 0)? {
        0 if x.rank() == 3 => heads_of(x, &angles, rotated)?,
        heads => heads,
    };
    let interleaved = cx.attr_flag("interleaved")?;
    one(rotate(cx, x, &angles, (rotated, heads), interleaved)?)
}

/// How many heads fill the width, if all of each is rotated.
fn heads_of(x: &T, angles: &Angles, rotated: i64) -> R<i64> {
    let size = angles.cos.extent(2)?.saturating_mul(2);
    match x.extent(2)?.checked_div(size) {
        Some(heads) if rotated == 0 => Ok(i64::try_from(heads).unwrap_or(0)),
        _ => Err(invalid("expected num_heads")),
    }
}

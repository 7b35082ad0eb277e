//! What each operator of ONNX is in the contract's ops, one file a family.

pub(crate) mod attention;
mod cast;
mod composite;
mod conv;
mod deform_conv;
mod detection;
mod determinant;
mod einsum;
mod elementwise;
mod grid;
mod index;
mod layer_norm;
mod layout;
mod linear_attention;
mod loss;
mod matmul;
mod microsoft;
mod norm;
mod pattern;
mod pool;
mod quantize;
mod quantized;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod roi_align;
mod rotary;
mod scatter;
mod shape;
mod signal;
mod softmax;
mod strings;
mod taps;
mod training;
mod unique;
mod window;

use crate::node::{Cx, Inputs};
use crate::value::{R, Value, unsupported};
pub(crate) use composite::lower_composite;

/// Turns a node into ops of the contract; answers its outputs.
pub(crate) type Lowering = fn(&mut Cx<'_>, Inputs<'_>) -> R<Vec<Value>>;

/// Operators of one family.
pub(crate) type Table = &'static [(&'static str, Lowering)];

/// The families of the default domain.
const TABLES: &[Table] = &[
    attention::TABLE,
    cast::TABLE,
    conv::TABLE,
    deform_conv::TABLE,
    detection::TABLE,
    determinant::TABLE,
    einsum::TABLE,
    elementwise::TABLE,
    grid::TABLE,
    index::TABLE,
    layer_norm::TABLE,
    layout::TABLE,
    linear_attention::TABLE,
    loss::TABLE,
    matmul::TABLE,
    norm::TABLE,
    pattern::TABLE,
    pool::TABLE,
    quantize::TABLE,
    quantized::TABLE,
    random::TABLE,
    recurrent::TABLE,
    reduce::TABLE,
    resize::TABLE,
    roi_align::TABLE,
    rotary::TABLE,
    scatter::TABLE,
    shape::TABLE,
    signal::TABLE,
    softmax::TABLE,
    unique::TABLE,
];

/// Lowers one node.
///
/// # Errors
/// `unsupported/onnx-op` for an operator that this plugin does not know.
pub(crate) fn lower(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let tables = match cx.node.domain.as_str() {
        "" => TABLES,
        "com.microsoft" => microsoft::TABLES,
        "ai.onnx.preview.training" => &[training::TABLE],
        _ => &[],
    };
    match tables.iter().flat_map(|table| table.iter()).find(|(name, _)| *name == cx.node.op) {
        Some((_, lowering)) => lowering(cx, inputs),
        None => Err(unsupported(format!("no such operator in opset {} of this plugin", cx.opset))),
    }
}

/// One output.
pub(crate) fn one(output: crate::value::T) -> R<Vec<Value>> {
    Ok(vec![output.into()])
}

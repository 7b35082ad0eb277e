//! What each operator of ONNX is in the contract's ops, one file a family.

mod cast;
mod conv;
mod detection;
mod determinant;
mod einsum;
mod elementwise;
mod grid;
mod index;
mod layer_norm;
mod layout;
mod loss;
mod matmul;
mod norm;
mod pattern;
mod pool;
mod random;
mod reduce;
mod resize;
mod roi_align;
mod scatter;
mod shape;
mod signal;
mod softmax;
mod strings;
mod taps;
mod unique;
mod window;

use crate::node::{Cx, Inputs};
use crate::value::{R, Value, unsupported};

/// Turns a node into ops of the contract; answers its outputs.
pub(crate) type Lowering = fn(&mut Cx<'_>, Inputs<'_>) -> R<Vec<Value>>;

/// Operators of one family.
pub(crate) type Table = &'static [(&'static str, Lowering)];

/// The families of the default domain.
const TABLES: &[Table] = &[
    cast::TABLE,
    conv::TABLE,
    detection::TABLE,
    determinant::TABLE,
    einsum::TABLE,
    elementwise::TABLE,
    grid::TABLE,
    index::TABLE,
    layer_norm::TABLE,
    layout::TABLE,
    loss::TABLE,
    matmul::TABLE,
    norm::TABLE,
    pattern::TABLE,
    pool::TABLE,
    random::TABLE,
    reduce::TABLE,
    resize::TABLE,
    roi_align::TABLE,
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
    let found = match cx.node.domain.as_str() {
        "" => TABLES.iter().flat_map(|table| table.iter()).find(|(name, _)| *name == cx.node.op),
        _ => None,
    };
    match found {
        Some((_, lowering)) => lowering(cx, inputs),
        None => Err(unsupported(format!("no such operator in opset {} of this plugin", cx.opset))),
    }
}

/// One output.
pub(crate) fn one(output: crate::value::T) -> R<Vec<Value>> {
    Ok(vec![output.into()])
}

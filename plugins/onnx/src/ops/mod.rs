//! What each operator of ONNX is in the contract's ops, one file a family.

mod conv;
mod elementwise;
mod layer_norm;
mod loss;
mod matmul;
mod norm;
mod pool;
mod shape;
mod softmax;
mod strings;
mod window;

use crate::node::{Cx, Inputs};
use crate::value::{R, Value, unsupported};

/// Turns a node into ops of the contract; answers its outputs.
pub(crate) type Lowering = fn(&mut Cx<'_>, Inputs<'_>) -> R<Vec<Value>>;

/// Operators of one family.
pub(crate) type Table = &'static [(&'static str, Lowering)];

/// The families of the default domain.
const TABLES: &[Table] = &[
    conv::TABLE,
    elementwise::TABLE,
    layer_norm::TABLE,
    loss::TABLE,
    matmul::TABLE,
    norm::TABLE,
    pool::TABLE,
    shape::TABLE,
    softmax::TABLE,
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

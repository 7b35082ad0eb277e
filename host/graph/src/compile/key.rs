//! The name of a plan by its content.

use crate::graph::{Graph, Origin, StateInit};
use sha2::{Digest, Sha256};

/// Changes whenever kernels or rewriting change results.
const KERNEL_SET: &str = "aimass-cpu-4";

/// Digest of the live graph, the digests of its weights, the state layout and the kernel set.
pub(super) fn digest(graph: &Graph, live: &[bool]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(KERNEL_SET);
    hash.update(format!("{:?}{:?}", graph.signature, graph.outputs));
    for state in &graph.states {
        let init = match state.init {
            StateInit::Zeros => u32::MAX,
            StateInit::Value(value) => value.0,
        };
        hash.update(format!("{}{}{}{:?}", state.name, state.dtype, state.shape, state.write));
        hash.update(init.to_le_bytes());
    }
    for (index, value) in graph.values.iter().enumerate() {
        match &value.origin {
            Origin::Weight(weight) => {
                hash.update(format!("weight {index}"));
                hash.update(weight.digest());
            }
            Origin::Constant(tensor) => {
                hash.update(format!("constant {index} {} {}", tensor.dtype(), tensor.shape()));
                hash.update(Sha256::digest(tensor.bytes()));
            }
            Origin::Input(_) | Origin::State(_) | Origin::Node(_) => {}
        }
    }
    for (node, _) in graph.nodes.iter().zip(live).filter(|(_, live)| **live) {
        hash.update(format!("{:?}{:?}{:?}", node.op, node.inputs, node.outputs));
    }
    hash.finalize().into()
}

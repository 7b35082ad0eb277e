//! Regions of ops are compiled before the graph around them.

use super::{CompileOptions, compile};
use crate::PlanError;
use crate::graph::Graph;
use std::sync::Arc;

/// Compiles the regions of live nodes. Their constants are packed once for all plans that have them.
///
/// # Errors
/// Those of [`compile`].
pub(super) fn compiled(
    graph: &mut Graph,
    live: &[bool],
    options: &CompileOptions,
) -> Result<(), PlanError> {
    let nodes = graph.nodes.iter_mut().zip(live).filter(|(_, live)| **live);
    for (node, _) in nodes {
        for region in node.op.rule_mut().regions_mut() {
            let graph = Graph::clone(&region.graph);
            region.plan = Some(Arc::new(compile(graph, options)?));
        }
    }
    Ok(())
}

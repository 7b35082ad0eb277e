//! What a format plugin answers: graphs by name, checked and compiled.

use crate::error::Cause;
use crate::host_api::graph::GraphHandle;
use crate::signature::PluginSignature;
use crate::state::CallState;
use crate::worlds::convert::signature_in;
use crate::worlds::exports::LoadedModel;
use aimass_graph::{CompileOptions, Graph, Plan};
use std::sync::Arc;

/// Plans of one model at most.
const PLANS_MAX: usize = 64;
/// Bytes of a plan's name at most.
const PLAN_NAME_BYTES_MAX: usize = 64;

/// Plans by name.
pub(super) type Plans = Vec<(Arc<str>, Arc<Plan>)>;
/// Graphs by the names of their plans.
pub(super) type Graphs = Vec<(Arc<str>, Graph)>;
/// Graphs as a guest held them.
pub(super) type Handles = Vec<(Arc<str>, GraphHandle)>;

/// Takes the graphs of a loaded model out of the guest's hands.
///
/// # Errors
/// [`Cause::BadOutput`] for plans or a signature that break a rule.
pub(super) fn take_graphs(
    state: &mut CallState,
    model: LoadedModel,
) -> Result<(Handles, PluginSignature), Cause> {
    let bad = |message| Cause::BadOutput { message };
    check_plan_names(model.plans.iter().map(|plan| plan.name.as_str()))?;
    let mut graphs: Handles = Vec::with_capacity(model.plans.len());
    for plan in model.plans {
        let graph = state.table.delete(plan.graph);
        let graph = graph.map_err(|error| Cause::Host { message: error.to_string() })?;
        graphs.push((plan.name.into(), graph));
    }
    Ok((graphs, signature_in(model.signature).map_err(bad)?))
}

/// Checks how many plans there are, and their names.
///
/// # Errors
/// [`Cause::BadOutput`] with what was expected and what came.
pub(super) fn check_plan_names<'a>(
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Result<(), Cause> {
    let bad = |message| Err(Cause::BadOutput { message });
    if !(1..=PLANS_MAX).contains(&names.len()) {
        return bad(format!("expected 1 to {PLANS_MAX} plans, got {}", names.len()));
    }
    let mut seen = Vec::with_capacity(names.len());
    for name in names {
        if !(1..=PLAN_NAME_BYTES_MAX).contains(&name.len()) {
            let got = name.len();
            return bad(format!("expected plan names of 1 to 64 bytes, got one of {got}"));
        }
        if seen.contains(&name) {
            return bad(format!("expected unique plan names, got `{name}` twice"));
        }
        seen.push(name);
    }
    Ok(())
}

/// Compiles every graph. Takes long: call it on a thread for blocking work.
///
/// # Errors
/// [`Cause::Host`] for the first that does not compile.
pub(super) fn compile(graphs: Graphs, options: &CompileOptions) -> Result<Plans, Cause> {
    let compile = |(name, graph): (Arc<str>, Graph)| {
        let plan = aimass_graph::compile(graph, options).map_err(|error| {
            let message = format!("plan `{name}` does not compile: {error}");
            Cause::Host { message }
        })?;
        Ok((name, Arc::new(plan)))
    };
    graphs.into_iter().map(compile).collect()
}

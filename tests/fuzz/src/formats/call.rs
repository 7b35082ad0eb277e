//! One call of a model, as the engine makes it: plans of small inputs, stage after stage.

use super::Refused;
use crate::graph::tensor;
use aimass_graph::{CompileOptions, Dim, Plan, RunError};
use aimass_sandbox::{NamedTensors, Plugin, PluginTensorSpec, TracedInput};
use aimass_tensor::{DType, Shape, Strings, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// Extent of every dimension that is open.
const OPEN: usize = 2;
/// Elements that an input may have here.
const ELEMENTS_MAX: usize = 64 << 10;

/// Loads a model of the world `format` and runs each of its plans.
pub(super) async fn load(plugin: &Plugin, options: &CompileOptions) -> Result<usize, Refused> {
    let loaded = plugin.load_graph(options).await?;
    for (_, plan) in &loaded.plans {
        let inputs: Option<Vec<Tensor>> = plan
            .signature()
            .inputs
            .iter()
            .map(|input| match &*input.dims {
                [Dim::Dynamic(name)] if name.ends_with("+1") => {
                    Tensor::from_slice(&[3], &[0u32, 1, 2]).ok()
                }
                dims => any_tensor(input.dtype, dims),
            })
            .collect();
        if let Some(inputs) = inputs {
            run(plan, &inputs)?;
        }
    }
    Ok(loaded.plans.len())
}

/// Traces a model of the world `tracing-format` to its end; answers the number of stages.
pub(super) async fn trace(
    plugin: &Arc<Plugin>,
    options: &CompileOptions,
) -> Result<usize, Refused> {
    let signature = Arc::new(plugin.load_signature().await?);
    let inputs: Option<Vec<(Arc<str>, Tensor)>> =
        signature.inputs.iter().map(|spec| Some((spec.name.clone(), input(spec)?))).collect();
    let Some(inputs) = inputs else { return Ok(0) };
    let told = inputs.iter().map(|(name, tensor)| TracedInput {
        name: name.clone(),
        dtype: tensor.dtype(),
        shape: *tensor.shape(),
    });
    let told: Vec<TracedInput> = told.collect();
    let mut values: HashMap<Arc<str>, Tensor> = inputs.into_iter().collect();
    let mut session = plugin.trace_session(&signature, options).await?;
    let (mut stage, mut stages) = (session.trace(&told).await?, 1);
    loop {
        values.extend(stage.known.iter().cloned());
        if let Some(plan) = &stage.plan {
            let names = plan.signature().inputs.iter().map(|input| &input.name);
            let inputs = names.map(|name| value(&values, name)).collect::<Result<Vec<_>, _>>()?;
            let outputs = run(plan, &inputs)?;
            let names = plan.signature().outputs.iter().map(|output| output.name.clone());
            values.extend(names.zip(outputs));
        }
        if stage.observe.is_empty() {
            return Ok(stages);
        }
        let observed = stage.observe.iter();
        let observed = observed.map(|name| Ok((name.clone(), value(&values, name)?)));
        stage = session.resume(observed.collect::<Result<NamedTensors, Refused>>()?).await?;
        stages += 1;
    }
}

fn value(values: &HashMap<Arc<str>, Tensor>, name: &Arc<str>) -> Result<Tensor, Refused> {
    let message = || format!("internal: the host let a stage read `{name}`, which is not there");
    let value = values.get(name).cloned();
    value.ok_or_else(|| Refused { code: "no-value".to_owned(), message: message() })
}

fn run(plan: &Plan, inputs: &[Tensor]) -> Result<Vec<Tensor>, Refused> {
    let refused = |error: RunError| Refused {
        code: error.code().to_owned(),
        message: format!("a plan: {error}"),
    };
    plan.run(inputs, None).map_err(refused)
}

fn input(spec: &PluginTensorSpec) -> Option<Tensor> {
    any_tensor(spec.dtype?, spec.dims.as_deref().unwrap_or(&[Dim::Fixed(2)]))
}

/// A small tensor; `None` if it cannot be small.
fn any_tensor(dtype: DType, dims: &[Dim]) -> Option<Tensor> {
    let extent = |dim: &Dim| match dim.fixed() {
        Some(extent) => usize::try_from(extent).ok(),
        None => Some(OPEN),
    };
    let dims: Vec<usize> = dims.iter().map(extent).collect::<Option<_>>()?;
    let shape = Shape::new(&dims).ok().filter(|shape| shape.room() <= ELEMENTS_MAX)?;
    if dtype == DType::Bytes {
        let strings = Strings::from_slices(&vec!["a b"; shape.elements()]).ok()?;
        return Tensor::from_strings(shape, strings).ok();
    }
    tensor(dtype, shape, 6)
}

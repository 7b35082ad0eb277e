//! Cases of a format that traces: each stage run as the engine runs it, without keeping any.

use aimass_engine::Fixture;
use aimass_graph::CompileOptions;
use aimass_sandbox::{NamedTensors, Plugin, PluginError, TracedInput, TracedStage};
use aimass_tensor::Tensor;
use std::sync::Arc;

/// What a case came to: outputs by name, or the code and the text of an error.
pub(super) type Outcome = Result<Vec<(String, Tensor)>, (String, String)>;

/// Traces the inputs of a case and runs the stages; `code` names an error of the plugin.
pub(super) async fn run(
    plugin: &Arc<Plugin>,
    fixture: &Fixture,
    code: fn(&PluginError) -> String,
) -> Outcome {
    let failed = |error: PluginError| (code(&error), error.to_string());
    let signature = Arc::new(plugin.load_signature().await.map_err(failed)?);
    let mut values: NamedTensors = Vec::new();
    for spec in &signature.inputs {
        let found = fixture.inputs.iter().find(|(name, _)| **name == *spec.name);
        let (_, tensor) = found.ok_or_else(|| missing(&format!("input {}", spec.name)))?;
        values.push((spec.name.clone(), tensor.clone()));
    }
    let told = values.iter().map(|(name, tensor)| TracedInput {
        name: name.clone(),
        dtype: tensor.dtype(),
        shape: *tensor.shape(),
    });
    let told: Vec<TracedInput> = told.collect();
    let session = plugin.trace_session(&signature, &CompileOptions::default()).await;
    let mut session = session.map_err(failed)?;
    let mut stage = session.trace(&told).await.map_err(failed)?;
    loop {
        enter(&stage, &mut values)?;
        if stage.observe.is_empty() {
            break;
        }
        let observed = pick(stage.observe.iter(), &values)?;
        stage = session.resume(observed).await.map_err(failed)?;
    }
    let outputs = pick(signature.outputs.iter().map(|spec| &spec.name), &values)?;
    Ok(outputs.into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect())
}

/// Adds what a stage knows and what its plan answers.
fn enter(stage: &TracedStage, values: &mut NamedTensors) -> Result<(), (String, String)> {
    values.extend(stage.known.iter().cloned());
    let Some(plan) = &stage.plan else { return Ok(()) };
    let inputs = pick(plan.signature().inputs.iter().map(|spec| &spec.name), values)?;
    let inputs: Vec<Tensor> = inputs.into_iter().map(|(_, tensor)| tensor).collect();
    let outputs = plan.run(&inputs, None);
    let outputs = outputs.map_err(|error| (error.code().to_owned(), error.to_string()))?;
    let names = plan.signature().outputs.iter().map(|spec| spec.name.clone());
    values.extend(names.zip(outputs));
    Ok(())
}

fn pick<'a>(
    names: impl Iterator<Item = &'a Arc<str>>,
    values: &NamedTensors,
) -> Result<NamedTensors, (String, String)> {
    let find = |name: &Arc<str>| {
        let found = values.iter().find(|(known, _)| known == name);
        found.cloned().ok_or_else(|| missing(&format!("value {name}")))
    };
    names.map(find).collect()
}

fn missing(what: &str) -> (String, String) {
    ("missing-input".to_owned(), format!("the case lacks {what}"))
}

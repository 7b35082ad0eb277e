//! One case: the plugin is loaded as the case configures it, called, and held against what is expected.

use super::super::test_traced;
use super::super::workbench::{Case, Workbench};
use aimass_engine::{Fixture, compare};
use aimass_graph::CompileOptions;
use aimass_sandbox::{CallStats, Cause, Plugin, PluginError, SandboxError, World};
use aimass_tensor::Tensor;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether a case holds.
pub(super) enum Verdict {
    Passed,
    Failed(String),
    /// Its answer is what is expected from now on.
    Blessed,
}

/// What became of a case.
pub(super) struct CaseReport {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) verdict: Verdict,
    /// Time of the call: a fresh instance, or for formats reading, compiling and running.
    pub(super) took: Option<Duration>,
    /// What the call used; of a format what `load` used. None for traces and failures.
    pub(super) stats: Option<CallStats>,
    /// What the plugin answered, for `--bless`.
    pub(super) outputs: Option<Vec<(String, Tensor)>>,
}

impl CaseReport {
    /// Takes the instructions of the same case in a sandbox that meters.
    pub(super) fn count_instructions(&mut self, metered: CaseReport) {
        if let (Some(stats), Some(metered)) = (&mut self.stats, metered.stats) {
            stats.instructions = metered.instructions;
        }
    }
}

/// An answer, or the code and the text of an error.
type Answer = Result<Answered, (String, String)>;

struct Answered {
    outputs: Vec<(String, Tensor)>,
    took: Duration,
    stats: Option<CallStats>,
}

/// Runs a case.
///
/// # Errors
/// The plugin cannot be loaded at all, for a reason that no case can expect.
pub(super) async fn run_case(bench: &Workbench, case: &Case) -> anyhow::Result<CaseReport> {
    let fixture = &case.fixture;
    let answer = match bench.load(fixture.config.as_deref()).await {
        Ok(plugin) => match plugin.world() {
            World::Processor | World::Model => process(&plugin, case).await,
            World::Format => format(&plugin, fixture).await,
            World::TracingFormat => traced(&plugin, fixture).await,
        },
        Err(SandboxError::Plugin(error)) => Err(failed(&error)),
        // What its schema says of a configuration is the plugin's word, too.
        Err(error @ SandboxError::Refused { code: code @ "config", .. }) => {
            Err((code.to_owned(), error.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    let mut report = CaseReport {
        name: fixture.name.clone(),
        file: case.file.display().to_string(),
        verdict: judge(fixture, &answer),
        took: None,
        stats: None,
        outputs: None,
    };
    if let Ok(answered) = answer {
        report.took = Some(answered.took);
        report.stats = answered.stats;
        report.outputs = Some(answered.outputs);
    }
    Ok(report)
}

fn judge(fixture: &Fixture, answer: &Answer) -> Verdict {
    let held = match (&fixture.error, answer) {
        (None, Ok(answered)) => compare(fixture, &answered.outputs),
        (Some(expected), Err((code, _))) if expected == code => Ok(()),
        (Some(expected), Err((code, text))) => {
            Err(format!("expected error {expected}, got {code}: {text}"))
        }
        (Some(expected), Ok(_)) => Err(format!("expected error {expected}, got an answer")),
        (None, Err((_, text))) => Err(text.clone()),
    };
    match held {
        Ok(()) => Verdict::Passed,
        Err(reason) => Verdict::Failed(reason),
    }
}

async fn process(plugin: &Plugin, case: &Case) -> Answer {
    let answer = plugin.process(case.call(), case.inputs()).await;
    let answer = answer.map_err(|error| failed(&error))?;
    let named = answer.outputs.into_iter().map(|(name, tensor)| (name.to_string(), tensor));
    let (outputs, stats) = (named.collect(), answer.stats);
    Ok(Answered { outputs, took: stats.wall, stats: Some(stats) })
}

/// Builds the plans of a format plugin and runs `main` on the case's inputs.
async fn format(plugin: &Plugin, fixture: &Fixture) -> Answer {
    let start = Instant::now();
    let graph = plugin.load_graph(&CompileOptions::default()).await;
    let graph = graph.map_err(|error| failed(&error))?;
    let main = graph.plans.iter().find(|(name, _)| **name == *"main");
    let built_none = || ("plan".to_owned(), "the plugin built no plan `main`".to_owned());
    let (_, plan) = main.ok_or_else(built_none)?;
    let lacks = |name: &str| ("missing-input".to_owned(), format!("the case lacks {name}"));
    let mut inputs = Vec::new();
    for spec in &plan.signature().inputs {
        let found = fixture.inputs.iter().find(|(name, _)| **name == *spec.name);
        let (_, tensor) = found.ok_or_else(|| lacks(&spec.name))?;
        inputs.push(tensor.clone());
    }
    let outputs = plan.run(&inputs, None);
    let outputs = outputs.map_err(|error| (error.code().to_owned(), error.to_string()))?;
    let names = plan.signature().outputs.iter().map(|spec| spec.name.to_string());
    let outputs = names.zip(outputs).collect();
    Ok(Answered { outputs, took: start.elapsed(), stats: Some(graph.stats) })
}

/// Traces the inputs of a case and runs its stages.
async fn traced(plugin: &Arc<Plugin>, fixture: &Fixture) -> Answer {
    let start = Instant::now();
    let outputs = test_traced::run(plugin, fixture, code).await?;
    Ok(Answered { outputs, took: start.elapsed(), stats: None })
}

fn failed(error: &PluginError) -> (String, String) {
    (code(error), error.to_string())
}

/// What a fixture calls the error: the guest's own code, or the kind of the cause.
fn code(error: &PluginError) -> String {
    match &error.cause {
        Cause::Guest(guest) => guest.code.clone(),
        other => other.kind().as_str().to_owned(),
    }
}

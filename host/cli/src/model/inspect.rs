//! `aimass model inspect`: what a model's plans do, as text, as a picture, as JSON.

mod drawing;
mod json;
mod svg;
mod text;

pub(super) use json::{device_step as device_step_json, step as step_json};

use super::open::{Address, Opened};
use super::sample::{Port, Shapes, sample};
use crate::home::{Home, runtime};
use aimass_engine::{ModelStage, StepRun};
use aimass_graph::{Coalescing, DeviceReport, Plan, PlanReport};
use aimass_tensor::Tensor;
use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Show what a model computes: steps and fusions, shapes, memory, weights, work.
///
/// Weights are loaded and plans are compiled exactly as for serving, but nothing is served, and a
/// package folder need not be published. Open extents are 1 (rows of a ragged dimension 32) unless
/// --shape gives them. A model that is traced is traced for these shapes: its stages are shown, and
/// all but the last are run on random inputs, because later stages may depend on what comes out.
///
/// With --device the plans are compiled for that GPU, too: where each of its steps runs, and what
/// travels between GPU and CPU, follows the plan of the CPU.
///
/// Examples:
///   aimass model inspect minilm
///   aimass model inspect minilm --shape input_ids=128 --shape offsets=5
///   aimass model inspect detector@stable --shape x=1x3x640x640 --svg detector.svg
///   aimass model inspect minilm --device cuda:0
///   aimass model inspect ./my-package --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Inspect {
    #[command(flatten)]
    address: Address,
    /// Shape of an input of the plans, as x=1x3x640x640; the offsets of B sequences are offsets=B+1
    #[arg(long = "shape", value_name = "NAME=EXTENTS")]
    shapes: Vec<String>,
    /// Only the plan of this name
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
    /// Write the plans as a picture, which any browser shows
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the plans as Graphviz DOT text
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Seconds that tracing may take
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
}

/// A model with its plans, ready to be shown.
pub(super) struct Inspection {
    pub(super) model: String,
    pub(super) version: u64,
    pub(super) publisher: String,
    pub(super) platform: String,
    /// Name of each step of the pipeline, and what it runs.
    pub(super) pipeline: Vec<(Arc<str>, String)>,
    pub(super) traced: bool,
    /// Along what calls of all that is shown join, or what stands in the way.
    pub(super) coalescing: Coalescing,
    pub(super) plans: Vec<InspectedPlan>,
}

/// A plan, or a stage of a traced model.
pub(super) struct InspectedPlan {
    /// `plan main` or `stage 1`.
    pub(super) title: String,
    /// None for a stage that only knows values.
    pub(super) report: Option<PlanReport>,
    /// What it does on its device, or why it stays on the CPU; none without a device.
    pub(super) device: Option<Result<DeviceReport, String>>,
    /// Extents that nobody gave.
    pub(super) chosen: Vec<String>,
    pub(super) stage: Option<StageFacts>,
}

/// What a stage is besides its plan.
pub(super) struct StageFacts {
    /// Name, dtype and shape of what the plugin computed while it traced.
    pub(super) known: Vec<String>,
    pub(super) observe: Vec<Arc<str>>,
    pub(super) batched: bool,
    pub(super) reusable: bool,
    /// What keeps it from serving any batch.
    pub(super) blocked_by: Option<Arc<str>>,
}

impl Inspect {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let shapes = Shapes::parse(&self.shapes)?;
        let runtime = runtime()?;
        let opened = runtime.block_on(self.address.open(home, None))?;
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let inspection =
            runtime.block_on(inspect(&opened, &shapes, self.plan.as_deref(), deadline))?;
        let drawings = || drawing::of(&inspection);
        if let Some(path) = &self.svg {
            write(path, &svg::picture(&inspection.model, &drawings()))?;
        }
        if let Some(path) = &self.dot {
            write(path, &drawing::dot(&inspection.model, &drawings()))?;
        }
        match self.json {
            true => println!("{:#}", json::of(&inspection)),
            false => print!("{}", text::of(&inspection)),
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

async fn inspect(
    opened: &Opened,
    shapes: &Shapes,
    only: Option<&str>,
    deadline: Instant,
) -> anyhow::Result<Inspection> {
    let metadata = opened.model.metadata();
    let traced = opened.model.traced_signature().is_some();
    let (plans, traced_coalescing) = match traced {
        true => {
            let (plans, coalescing) = stages(opened, shapes, deadline).await?;
            (plans, Some(coalescing))
        }
        false => (plans(opened, shapes)?, None),
    };
    let plans: Vec<InspectedPlan> = match only {
        None => plans,
        Some(name) => {
            let titles: Vec<String> = plans.iter().map(|plan| plan.title.clone()).collect();
            let wanted = [format!("plan {name}"), name.to_owned()];
            let found: Vec<InspectedPlan> =
                plans.into_iter().filter(|plan| wanted.contains(&plan.title)).collect();
            if found.is_empty() {
                bail!("--plan: there is no plan {name:?}; there are {}", titles.join(", "));
            }
            found
        }
    };
    let pipeline = opened.model.steps().into_iter().map(|step| {
        let runs = match step.run {
            StepRun::Plugin { name } => format!("plugin {name}"),
            StepRun::Plan { name } => format!("plan {name}"),
            StepRun::Traced => "traced, stage by stage".to_owned(),
        };
        (step.name, runs)
    });
    Ok(Inspection {
        model: metadata.name.to_string(),
        version: metadata.version,
        publisher: metadata.publisher.to_string(),
        platform: metadata.platform.to_string(),
        pipeline: pipeline.collect(),
        traced,
        coalescing: traced_coalescing.unwrap_or_else(|| coalescing(&plans)),
        plans,
    })
}

/// Along what calls of these plans join: all of them as the first one, or what stands in the way.
fn coalescing(plans: &[InspectedPlan]) -> Coalescing {
    let mut all = plans.iter().filter_map(|plan| Some((&plan.title, plan.report.as_ref()?)));
    let alone = all.clone().find_map(|(title, report)| match &report.coalescing {
        Coalescing::Alone { blocked_by } => {
            Some(Coalescing::Alone { blocked_by: format!("{title}: {blocked_by}") })
        }
        Coalescing::Batch | Coalescing::Ragged { .. } => None,
    });
    let first = || all.next().map(|(_, report)| report.coalescing.clone());
    let none = || Coalescing::Alone { blocked_by: "there is no plan".to_owned() };
    alone.or_else(first).unwrap_or_else(none)
}

/// The plans that the format plugin built, with the shapes that were asked for.
fn plans(opened: &Opened, shapes: &Shapes) -> anyhow::Result<Vec<InspectedPlan>> {
    let plans = opened.model.plans();
    let inputs = plans.iter().flat_map(|(_, plan)| &plan.signature().inputs);
    shapes.check_names(inputs.map(|spec| &spec.name))?;
    let inspected = plans.iter().map(|(name, plan)| {
        let ports: Vec<Port> = plan.signature().inputs.iter().map(Port::from).collect();
        let sample = sample(&ports, shapes, 0)?;
        let tensors: Vec<Tensor> = sample.tensors.into_iter().map(|(_, tensor)| tensor).collect();
        let report = plan.report(&tensors).with_context(|| hint(name, &sample.chosen))?;
        Ok(InspectedPlan {
            title: format!("plan {name}"),
            report: Some(report),
            device: plan.device_report(),
            chosen: sample.chosen,
            stage: None,
        })
    });
    inspected.collect()
}

fn hint(plan: &str, chosen: &[String]) -> String {
    match chosen.is_empty() {
        true => format!("plan {plan} does not run with these shapes"),
        false => format!(
            "plan {plan} does not run with {}; give other extents with --shape",
            chosen.join(", ")
        ),
    }
}

/// The stages of a traced model for the shapes that were asked for, and along what calls of them join.
async fn stages(
    opened: &Opened,
    shapes: &Shapes,
    deadline: Instant,
) -> anyhow::Result<(Vec<InspectedPlan>, Coalescing)> {
    let signature = opened.model.traced_signature().context("the model is not traced")?;
    shapes.check_names(signature.inputs.iter().map(|spec| &spec.name))?;
    let metadata = opened.model.metadata();
    let ports = signature.inputs.iter().map(|spec| Port::from(spec).fixed_by(&metadata.inputs));
    let ports: Vec<Port> = ports.collect();
    let sample = sample(&ports, shapes, 0)?;
    let tensors: Vec<Tensor> = sample.tensors.into_iter().map(|(_, tensor)| tensor).collect();
    let stages = opened.model.stages(tensors, deadline).await;
    let stages = stages.with_context(|| hint("main", &sample.chosen))?;
    let coalescing = ModelStage::coalescing(&stages);
    let mut inspected = Vec::with_capacity(stages.len());
    for (index, stage) in stages.into_iter().enumerate() {
        inspected.push(inspected_stage(index, stage, &sample.chosen)?);
    }
    Ok((inspected, coalescing))
}

fn inspected_stage(
    index: usize,
    stage: ModelStage,
    chosen: &[String],
) -> anyhow::Result<InspectedPlan> {
    let report = stage.plan.as_ref().map(|plan| plan.report(&stage.inputs)).transpose()?;
    let device = stage.plan.as_deref().and_then(Plan::device_report);
    let known = stage.known.iter();
    let known =
        known.map(|(name, tensor)| format!("{name}: {} {}", tensor.dtype(), tensor.shape()));
    Ok(InspectedPlan {
        title: format!("stage {}", index + 1),
        report,
        device,
        chosen: if index == 0 { chosen.to_vec() } else { Vec::new() },
        stage: Some(StageFacts {
            known: known.collect(),
            observe: stage.observe,
            batched: stage.batched,
            reusable: stage.reusable,
            blocked_by: stage.blocked_by,
        }),
    })
}

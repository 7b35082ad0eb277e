//! `aimass model profile`: where the time of a model goes.

mod device_times;
mod json;
mod machine;
mod text;
mod times;

use super::figures::median;
use super::open::{Address, Opened};
use super::request::{Request, RequestInputs};
use crate::home::{Home, runtime};
use aimass_dispatch::{CallObserver, PlanCall};
use aimass_graph::{Plan, PlanReport};
use aimass_tensor::Tensor;
use anyhow::{Context, ensure};
use clap::Args;
use device_times::{DeviceProfile, measure_on_device};
use machine::Machine;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use times::{PlanTimes, measure};

/// Plan calls of one run that are profiled; the rest are only counted.
const CALLS_MAX: usize = 4096;

/// Run a model and show where its time goes: by pipeline step, by op, by fused step.
///
/// The model is loaded by itself and run a few times to warm up. Then the whole pipeline is timed,
/// and each plan that it calls is run by itself on the very inputs of that call, with a clock around
/// every step and every part of a fusion. Times are medians. The last columns compare with what this
/// machine can do, measured at the start: multiply-adds in registers, and a triad through memory.
///
/// With --device a plan that runs on that GPU is timed there, by the GPU's clock between its steps;
/// plans that stay on the CPU are shown as without.
///
/// Inputs are random unless they are given. Models that take texts use the first fixture of their
/// package.
///
/// Examples:
///   aimass model profile minilm
///   aimass model profile minilm --input text='["a cat", "a dog"]' --threads 1
///   aimass model profile detector --shape x=1x3x640x640 --runs 50 --top 10
///   aimass model profile minilm --device cuda:0
///   aimass model profile detector --inputs case.fixture.json --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Profile {
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    inputs: RequestInputs,
    /// Runs that are measured
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Runs before that
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    warmup: u32,
    /// Rows of each table; 0 prints all
    #[arg(long, default_value_t = 15, value_name = "N")]
    top: usize,
    /// Print JSON instead of text, with every step
    #[arg(long)]
    json: bool,
}

/// A finished profile.
struct Profiled {
    model: String,
    version: u64,
    /// What it ran on, and where that is from.
    inputs: String,
    source: String,
    runs: u32,
    machine: Machine,
    /// Median microseconds of a whole run, and of each step of the pipeline.
    whole_us: f64,
    rooms: Vec<(Arc<str>, f64)>,
    plans: Vec<ProfiledPlan>,
    /// Plan calls beyond the limit.
    calls_left_out: usize,
}

/// A plan with the times of its steps.
struct ProfiledPlan {
    title: String,
    /// Calls in one run of the model.
    calls: usize,
    report: PlanReport,
    times: Times,
}

/// Times of a plan's steps, where they ran.
enum Times {
    Cpu(PlanTimes),
    Device(DeviceProfile),
}

/// Plan calls of one run.
#[derive(Default)]
struct CallLog {
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    recording: bool,
    recorded: Vec<(Arc<Plan>, Vec<Tensor>)>,
    left_out: usize,
}

impl std::fmt::Debug for CallLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallLog")
    }
}

impl CallObserver for CallLog {
    fn called(&self, call: &PlanCall) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if !calls.recording {
            return;
        }
        if calls.recorded.len() == CALLS_MAX {
            calls.left_out += 1;
        } else {
            calls.recorded.push((call.plan.clone(), call.inputs.clone()));
        }
    }
}

impl CallLog {
    fn record(&self, recording: bool) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).recording = recording;
    }

    fn take(&self) -> Calls {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Profile {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let runtime = runtime()?;
        let log = Arc::new(CallLog::default());
        let opened = runtime.block_on(self.address.open(home, Some(log.clone())))?;
        let request = self.inputs.of(&opened.model)?;
        let profiled = runtime.block_on(self.profile(&opened, &request, &log))?;
        match self.json {
            true => println!("{:#}", json::of(&profiled)),
            false => print!("{}", text::of(&profiled, self.top)),
        }
        Ok(())
    }

    async fn profile(
        &self,
        opened: &Opened,
        request: &Request,
        log: &CallLog,
    ) -> anyhow::Result<Profiled> {
        eprintln!("warming up on {}", request.describe());
        let run = || opened.model.infer(request.now());
        // Even without a warm-up one run must come before, to see which plans are called.
        for _ in 1..self.warmup {
            run().await.map_err(|error| request.failed(error))?;
        }
        log.record(true);
        run().await.map_err(|error| request.failed(error))?;
        let calls = log.take();
        eprintln!("running {} times", self.runs);
        let mut whole = Vec::new();
        let mut rooms: Vec<(Arc<str>, Vec<f64>)> = Vec::new();
        for _ in 0..self.runs {
            let start = Instant::now();
            let answer = run().await.map_err(|error| request.failed(error))?;
            whole.push(start.elapsed().as_secs_f64() * 1e6);
            rooms.resize_with(answer.rooms.len(), Default::default);
            for ((name, times), (room, took)) in rooms.iter_mut().zip(answer.rooms) {
                *name = room;
                times.push(took.as_secs_f64() * 1e6);
            }
        }
        let plans = self.plans(opened, &calls)?;
        let threads = plans.first().map_or(1, |plan| plan.report.threads);
        eprintln!("measuring the machine");
        let metadata = opened.model.metadata();
        let rooms = rooms.into_iter().map(|(name, mut times)| (name, median(&mut times)));
        Ok(Profiled {
            model: metadata.name.to_string(),
            version: metadata.version,
            inputs: request.describe(),
            source: request.source.clone(),
            runs: self.runs,
            machine: Machine::measure(threads),
            whole_us: median(&mut whole),
            rooms: rooms.collect(),
            plans,
            calls_left_out: calls.left_out,
        })
    }

    /// Every plan that was called, once for each combination of shapes.
    fn plans(&self, opened: &Opened, calls: &Calls) -> anyhow::Result<Vec<ProfiledPlan>> {
        let mut groups: Vec<(&Arc<Plan>, &Vec<Tensor>, usize)> = Vec::new();
        for (plan, inputs) in &calls.recorded {
            let same = |(other, others, _): &&mut (&Arc<Plan>, &Vec<Tensor>, usize)| {
                Arc::ptr_eq(other, plan)
                    && others.iter().zip(inputs).all(|(a, b)| a.shape() == b.shape())
            };
            match groups.iter_mut().find(same) {
                Some((_, _, count)) => *count += 1,
                None => groups.push((plan, inputs, 1)),
            }
        }
        let named = opened.model.plans();
        let mut profiled = Vec::with_capacity(groups.len());
        for (index, (plan, inputs, calls)) in groups.into_iter().enumerate() {
            let name = named.iter().find(|(_, known)| Arc::ptr_eq(known, plan));
            let title = match name {
                Some((name, _)) => format!("plan {name}"),
                None => format!("stage {}", index + 1),
            };
            eprintln!("profiling {title}");
            let report = plan.report(inputs).with_context(|| title.clone())?;
            let times = match measure_on_device(plan, inputs, self.runs)? {
                Some(times) => Times::Device(times),
                None => {
                    let times = measure(plan, &report, inputs, self.runs)?;
                    ensure!(times.steps.len() == report.steps.len(), "a profile lost a step");
                    Times::Cpu(times)
                }
            };
            profiled.push(ProfiledPlan { title, calls, report, times });
        }
        Ok(profiled)
    }
}

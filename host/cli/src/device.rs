//! `aimass device`: what GPUs there are, and whether they compute what the CPU computes.

use aimass_engine::{DeviceInfo, Gpu, GpuOptions, SelfTest, SelfTestCase, gpu_count};
use aimass_op_tests::{CaseOutcome, SuiteOutcome};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Look at the GPUs of this machine.
#[derive(Subcommand)]
pub(crate) enum Device {
    /// List the GPUs, or say why there is none
    ///
    /// Example: `aimass device list`
    List,
    /// Compare every kernel with the CPU on small inputs, as `serve` does before it uses a GPU
    ///
    /// Examples: `aimass device selftest`, `aimass device selftest --gpu 1 --deterministic`
    Selftest(Chosen),
    /// Run the self-test and the op suite, and write what they saw to one file, to attach to a bug report
    ///
    /// The self-test is that of `aimass device selftest`. The op suite is the developers' own: every op of the
    /// plugin contract, at the edges of what it takes, against plain references on the CPU. It says which forms
    /// of ops have no kernel for GPUs. Fails if a case of either fails; the file is written all the same.
    ///
    /// Example: `aimass device report --output report.json`
    Report(Report),
}

#[derive(Args)]
pub(crate) struct Chosen {
    /// Number of the GPU
    #[arg(long, default_value_t = 0)]
    gpu: usize,
    /// Our own kernels alone, without cuBLASLt
    #[arg(long)]
    deterministic: bool,
    /// As that of `serve`: 0 makes no kernels at run time [default: 64]
    #[arg(long, value_name = "NUMBER")]
    fused_kernels_max: Option<usize>,
}

#[derive(Args)]
pub(crate) struct Report {
    #[command(flatten)]
    chosen: Chosen,
    /// Where to write it
    #[arg(long, default_value = "aimass-device-report.json", value_name = "FILE")]
    output: PathBuf,
}

impl Device {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Device::List => list(),
            Device::Selftest(chosen) => self_test(&chosen),
            Device::Report(report) => report.write(),
        }
    }
}

fn list() -> anyhow::Result<()> {
    let count = match gpu_count() {
        Ok(count) => count,
        Err(error) => {
            println!("no GPU: {error}; models run on the CPU");
            return Ok(());
        }
    };
    for number in 0..count {
        match Gpu::open(number, &GpuOptions::default()) {
            Ok(gpu) => println!("{}\n        {}", line(&gpu), products(&gpu)),
            Err(error) => println!("cuda:{number}  cannot be used: {error}"),
        }
    }
    Ok(())
}

fn line(gpu: &Gpu) -> String {
    let info = gpu.info();
    let DeviceInfo { ordinal, name, capability: (major, minor), cuda, image, .. } = info;
    let gib = info.memory_bytes as f64 / f64::from(1 << 30);
    format!(
        "cuda:{ordinal}  {name}  {gib:.1} GiB  {} multiprocessors  compute capability \
         {major}.{minor}  driver for CUDA {cuda}  kernels {image}  fusion {}",
        info.multiprocessors,
        gpu.state().fusion
    )
}

/// What multiplies matrices there.
fn products(gpu: &Gpu) -> String {
    match gpu.cublaslt() {
        Ok(()) => "products: cuBLASLt, and our own kernels for small ones".to_owned(),
        Err(why) => format!("products: our own kernels; {why}"),
    }
}

impl Chosen {
    fn open(&self) -> anyhow::Result<Arc<Gpu>> {
        let mut options = GpuOptions::default();
        options.device.deterministic = self.deterministic;
        options.fused_kernels_max = self.fused_kernels_max.unwrap_or(options.fused_kernels_max);
        Gpu::open(self.gpu, &options).with_context(|| format!("cuda:{} cannot be used", self.gpu))
    }
}

fn self_test(chosen: &Chosen) -> anyhow::Result<()> {
    let gpu = chosen.open()?;
    println!("{}\n        {}", line(&gpu), products(&gpu));
    let outcome = gpu.self_test_each(show);
    finished(&outcome)
}

/// One line a case of the self-test.
fn show(case: &SelfTestCase) {
    let micros = |seconds: f64| seconds * 1e6;
    match &case.failure {
        None => println!(
            "ok      {}  GPU {:.0} us, CPU {:.0} us",
            case.name,
            micros(case.device_seconds),
            micros(case.cpu_seconds)
        ),
        Some(failure) => println!("FAILED  {}: {failure}", case.name),
    }
}

/// One line a case of the op suite.
fn show_op(case: &CaseOutcome) {
    let CaseOutcome { family, op, failure, seconds, device_runs, on_cpu } = case;
    match failure {
        None => println!(
            "ok      {family} {op}  {device_runs} runs on the GPU, {} forms on the CPU, {:.0} ms",
            on_cpu.len(),
            seconds * 1e3
        ),
        Some(failure) => println!("FAILED  {family} {op}: {failure}"),
    }
}

fn finished(outcome: &SelfTest) -> anyhow::Result<()> {
    let SelfTest { cases, failures, seconds } = outcome;
    if !failures.is_empty() {
        bail!("{} of {cases} cases failed; models would run on the CPU", failures.len());
    }
    println!("{cases} cases hold ({seconds:.1} s)");
    Ok(())
}

/// What a report tells of a GPU.
struct Tried {
    self_test: SelfTest,
    self_test_cases: Vec<Value>,
    op_suite: SuiteOutcome,
    op_suite_cases: Vec<Value>,
}

impl Tried {
    /// Runs both, with a line a case.
    fn run(gpu: &Arc<Gpu>) -> Tried {
        let (mut self_test_cases, mut op_suite_cases) = (Vec::new(), Vec::new());
        let self_test = gpu.self_test_each(|case| {
            show(case);
            self_test_cases.push(as_json(case));
        });
        let op_suite = aimass_op_tests::run(gpu, |case| {
            show_op(case);
            op_suite_cases.push(op_as_json(case));
        });
        Tried { self_test, self_test_cases, op_suite, op_suite_cases }
    }

    /// Says how both went; fails if one did.
    fn finish(&self) -> anyhow::Result<()> {
        let outcomes = [finished(&self.self_test), finished_ops(&self.op_suite)];
        let faults = outcomes.into_iter().filter_map(Result::err);
        let faults: Vec<String> = faults.map(|fault| fault.to_string()).collect();
        if !faults.is_empty() {
            bail!("{}", faults.join("; "));
        }
        Ok(())
    }

    fn counts(&self) -> Value {
        let SelfTest { cases, failures, seconds } = &self.self_test;
        json!({ "run": cases, "failed": failures.len(), "seconds": seconds })
    }

    fn ops(&self) -> Value {
        let SuiteOutcome { cases, failures, left_out, lost, device_runs, seconds } = &self.op_suite;
        json!({
            "run": cases,
            "failed": failures.len(),
            "left_out": left_out,
            "lost": lost,
            "device_runs": device_runs,
            "seconds": seconds,
            "cases": self.op_suite_cases,
        })
    }
}

fn finished_ops(outcome: &SuiteOutcome) -> anyhow::Result<()> {
    let SuiteOutcome { cases, failures, left_out, lost, device_runs, seconds } = outcome;
    if let Some(lost) = lost {
        bail!(
            "op suite: {} of {cases} cases failed and {left_out} were left out, since {lost}",
            failures.len()
        );
    }
    if !outcome.holds() {
        bail!("op suite: {} of {cases} cases failed", failures.len());
    }
    println!("op suite: {cases} cases hold, {device_runs} runs on the GPU ({seconds:.1} s)");
    Ok(())
}

impl Report {
    fn write(self) -> anyhow::Result<()> {
        let (device, tried) = match self.chosen.open() {
            Ok(gpu) => {
                println!("{}", line(&gpu));
                let tried = Tried::run(&gpu);
                (
                    json!({
                        "info": format!("{:?}", gpu.info()),
                        "state": format!("{:?}", gpu.state()),
                        "products": products(&gpu),
                    }),
                    Some(tried),
                )
            }
            Err(error) => (json!({ "error": format!("{error:#}") }), None),
        };
        let system = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let report = json!({
            "aimass": env!("CARGO_PKG_VERSION"),
            "kernel": system("/proc/version"),
            "driver": system("/proc/driver/nvidia/version"),
            "gpus": gpu_count().map_err(|error| error.to_string()),
            "options": { "gpu": self.chosen.gpu, "deterministic": self.chosen.deterministic,
                "fused_kernels_max": self.chosen.fused_kernels_max },
            "device": device,
            "self_test": tried.as_ref().map(Tried::counts),
            "cases": tried.as_ref().map_or(&[][..], |tried| &tried.self_test_cases),
            "op_suite": tried.as_ref().map(Tried::ops),
        });
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&self.output, text)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        println!("wrote {}; nothing in it names models, keys or requests", self.output.display());
        tried.map_or(Ok(()), |tried| tried.finish())
    }
}

fn as_json(case: &SelfTestCase) -> Value {
    json!({
        "case": case.name,
        "failure": case.failure,
        "device_seconds": case.device_seconds,
        "cpu_seconds": case.cpu_seconds,
    })
}

fn op_as_json(case: &CaseOutcome) -> Value {
    json!({
        "case": case.op,
        "family": case.family,
        "failure": case.failure,
        "seconds": case.seconds,
        "device_runs": case.device_runs,
        "on_cpu": case.on_cpu,
    })
}

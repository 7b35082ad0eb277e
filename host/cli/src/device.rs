//! `aimass device`: what GPUs there are, and whether they compute what the CPU computes.

use aimass_engine::{DeviceInfo, Gpu, GpuOptions, SelfTest, SelfTestCase, gpu_count};
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
    /// Run the self-test and write what it saw to one file, to attach to a bug report
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

/// One line a case.
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

fn finished(outcome: &SelfTest) -> anyhow::Result<()> {
    let SelfTest { cases, failures, seconds } = outcome;
    if !failures.is_empty() {
        bail!("{} of {cases} cases failed; models would run on the CPU", failures.len());
    }
    println!("{cases} cases hold ({seconds:.1} s)");
    Ok(())
}

impl Report {
    fn write(self) -> anyhow::Result<()> {
        let mut cases = Vec::new();
        let (device, outcome) = match self.chosen.open() {
            Ok(gpu) => {
                println!("{}", line(&gpu));
                let outcome = gpu.self_test_each(|case| {
                    show(case);
                    cases.push(as_json(case));
                });
                (
                    json!({
                        "info": format!("{:?}", gpu.info()),
                        "state": format!("{:?}", gpu.state()),
                        "products": products(&gpu),
                    }),
                    Some(outcome),
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
            "cases": cases,
        });
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&self.output, text)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        println!("wrote {}; nothing in it names models, keys or requests", self.output.display());
        match outcome {
            Some(outcome) => finished(&outcome),
            None => Ok(()),
        }
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

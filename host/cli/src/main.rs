//! The `aimass` binary: configuration -> engine -> gateway, and the tools of publishers and operators.

mod api_key;
mod dispatch_flags;
mod home;
mod infer;
mod key;
mod logging;
mod model;
mod plugin;
mod serve;
mod trust;

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
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the registry's models over HTTP (OIP v2 and OpenAI-compatible)
    Serve(serve::Serve),
    /// Make, test, sign and publish plugins
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Publish models, move labels, roll back
    #[command(subcommand)]
    Model(model::Model),
    /// Make signing keys; make, list, rotate and revoke API keys
    #[command(subcommand)]
    Key(key::Key),
    /// Check signatures by the rule of this host
    #[command(subcommand)]
    Trust(trust::Trust),
    /// Ask a model of the registry once, without a server
    Infer(infer::Infer),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let logging = logging::start(&arguments.log);
    match run(arguments.data, arguments.command, logging) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(data: Option<PathBuf>, command: Command, logging: Logging) -> anyhow::Result<()> {
    let home = || Home::open(data);
    match command {
        Command::Serve(serve) => serve.run(&home()?, logging),
        Command::Plugin(plugin) => plugin.run(&home()?),
        Command::Model(model) => model.run(&home()?),
        Command::Key(key) => key.run(&home()?),
        Command::Trust(trust) => trust.run(),
        Command::Infer(infer) => infer.run(&home()?),
    }
}

/// A refusal of the trust policy exits with its own code (20 to 33), anything else with 1.
fn exit_code(error: &anyhow::Error) -> u8 {
    let of_refusal = error.downcast_ref::<aimass_trust::Refusal>().map(|refusal| refusal.code);
    let of_engine = || {
        let engine = error.downcast_ref::<aimass_engine::EngineError>()?;
        aimass_trust::RefusalCode::ALL.into_iter().find(|code| code.as_str() == engine.code())
    };
    of_refusal.or_else(of_engine).map_or(1, aimass_trust::RefusalCode::exit_code)
}

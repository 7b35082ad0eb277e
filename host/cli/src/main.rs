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
    Serve(Box<serve::Serve>),
    #[command(subcommand, after_help = plugin::LOOP)]
    Plugin(plugin::Plugin),
    #[command(subcommand)]
    Model(model::Model),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Trust(trust::Trust),
    #[command(subcommand)]
    Market(market::Market),
    /// List, try and report the GPUs of this machine
    #[command(subcommand)]
    Device(device::Device),
    Infer(infer::Infer),
    #[command(subcommand)]
    Batch(batch::Batch),
    Top(top::Top),
    Usage(usage::Usage),
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
            eprintln!("error: {}", text_of(&error));
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

/// The error and its causes, each once: many name their cause in their own text.
fn text_of(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut text, cause| {
        let cause = cause.to_string();
        if text.is_empty() {
            return cause;
        }
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        text
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use clap::CommandFactory;

    #[test]
    fn every_verb_teaches_by_an_example() {
        let mut command = Arguments::command();
        command.build();
        let mut waiting = vec![(String::from("aimass"), &command)];
        let mut without = Vec::new();
        while let Some((name, command)) = waiting.pop() {
            let verbs = command.get_subcommands().filter(|one| one.get_name() != "help");
            waiting.extend(verbs.map(|one| (format!("{name} {}", one.get_name()), one)));
            let about = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            let teaches = about.contains("Example") && about.contains("aimass ");
            if !command.has_subcommands() && !command.is_hide_set() && !teaches {
                without.push(name);
            }
        }
        assert!(without.is_empty(), "no example: {without:?}");
    }

    #[test]
    fn a_cause_is_told_once() {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let named = anyhow::Error::new(missing()).context("a.key: entity not found");
        assert_eq!(text_of(&named), "a.key: entity not found");
        let bare = Err::<(), _>(missing()).context("a.key").expect_err("an error");
        assert_eq!(text_of(&bare), "a.key: entity not found");
    }
}

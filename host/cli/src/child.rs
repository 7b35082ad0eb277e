//! Hidden subcommands: what children of a server are started as. They close the jail around themselves
//! before they read anything, so they run before logs, data folder and threads exist.

use aimass_sandbox::CompileLimits;
use aimass_sandbox::jail::{self, Attempt, Report, Role, Walls};
use clap::Subcommand;
use std::process::ExitCode;
use std::time::Duration;

/// A child of a server.
#[derive(Subcommand)]
pub(crate) enum Child {
    /// Compile components that come on standard input
    #[command(name = aimass_sandbox::compile::COMPILE_COMMAND, hide = true)]
    Compile {
        /// Memory in bytes
        memory_bytes_max: u64,
        /// Processor time in milliseconds
        cpu_ms_max: u64,
        /// Whether the code counts what it executes
        #[arg(action = clap::ArgAction::Set)]
        metering: bool,
    },
    /// Run plugins of the untrusted tier for the server at the other end of standard input
    #[command(name = aimass_sandbox::WORKER_COMMAND, hide = true)]
    Worker {
        /// Instances that may be live at once
        instances_max: u32,
        /// Memory in bytes
        memory_bytes_max: u64,
    },
    /// Try to get out of the jail and print what happened
    #[command(name = PROBE_COMMAND, hide = true)]
    Probe {
        /// Whose jail
        #[arg(value_enum)]
        role: ProbeRole,
    },
}

/// The hidden subcommand that tries the jail.
pub(crate) const PROBE_COMMAND: &str = "__probe";

/// Whose jail is tried.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum ProbeRole {
    Compiler,
    Worker,
}

impl Child {
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Child::Compile { memory_bytes_max, cpu_ms_max, metering } => {
                let cpu_max = Duration::from_millis(cpu_ms_max);
                let limits =
                    CompileLimits { memory_bytes_max, cpu_max, ..CompileLimits::default() };
                match aimass_sandbox::compile::serve(&limits, metering) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        eprintln!("{error}");
                        ExitCode::from(error.exit_code())
                    }
                }
            }
            Child::Worker { instances_max, memory_bytes_max } => {
                match aimass_sandbox::run_worker(instances_max, memory_bytes_max) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => {
                        eprintln!("{error}");
                        ExitCode::FAILURE
                    }
                }
            }
            Child::Probe { role } => probe(role),
        }
    }
}

fn probe(role: ProbeRole) -> ExitCode {
    let role = match role {
        ProbeRole::Compiler => Role::Compiler,
        ProbeRole::Worker => Role::Worker,
    };
    let walls = Walls {
        role,
        memory_bytes_max: 256 << 20,
        cpu_time_max: Some(Duration::from_secs(60)),
        files_open_max: 32,
    };
    match jail::enter(&walls) {
        Ok(report) => {
            println!("{}", as_json(&report, &jail::probe(&walls)));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn as_json(report: &Report, attempts: &[Attempt]) -> serde_json::Value {
    let attempts = attempts.iter().map(|attempt| {
        serde_json::json!({
            "what": attempt.what, "refused": attempt.refused, "answer": attempt.answer,
        })
    });
    serde_json::json!({
        "landlock": report.landlock,
        "shared_namespaces": report.shared_namespaces,
        "attempts": attempts.collect::<Vec<_>>(),
    })
}

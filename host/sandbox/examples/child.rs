//! The children of a sandbox, as `aimass` starts them: what this crate's own tests and measurements run.
//!
//! `cargo run -p aimass-sandbox --example child -- __probe compiler` tries the jail.

use aimass_sandbox::compile::{self, COMPILE_COMMAND};
use aimass_sandbox::jail::{self, Role, Walls};
use aimass_sandbox::{CompileLimits, WORKER_COMMAND, run_worker};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [COMPILE_COMMAND, memory, millis, _] => compile(memory, millis),
        [WORKER_COMMAND, instances, memory] => work(instances, memory),
        ["__probe", role] => probe(role),
        _ => Err(format!(
            "expected `{COMPILE_COMMAND} BYTES MILLISECONDS METERING`, `{WORKER_COMMAND} INSTANCES BYTES` or \
             `__probe ROLE`"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a number, got {text}"))
}

fn compile(memory: &str, millis: &str) -> Result<(), String> {
    let limits = CompileLimits {
        memory_bytes_max: number(memory)?,
        cpu_max: Duration::from_millis(number(millis)?),
        ..CompileLimits::default()
    };
    compile::serve(&limits, false).map_err(|error| error.to_string())
}

fn work(instances: &str, memory: &str) -> Result<(), String> {
    let instances = u32::try_from(number(instances)?).map_err(|error| error.to_string())?;
    run_worker(instances, number(memory)?).map_err(|error| error.to_string())
}

/// Prints what was not refused; nothing if the jail holds.
fn probe(role: &str) -> Result<(), String> {
    let role = match role {
        "compiler" => Role::Compiler,
        "worker" => Role::Worker,
        _ => return Err(format!("expected compiler or worker, got {role}")),
    };
    let walls = Walls { role, memory_bytes_max: 256 << 20, cpu_time_max: None, files_open_max: 32 };
    let report = jail::enter(&walls).map_err(|error| error.to_string())?;
    let attempts = jail::probe(&walls);
    println!("{} attempts, landlock {}", attempts.len(), report.landlock);
    for attempt in attempts.iter().filter(|attempt| !attempt.refused) {
        println!("got out: {}: {}", attempt.what, attempt.answer);
    }
    Ok(())
}

//! The child processes of a sandbox, as `aimass` is for a server: for tests and measurements.

use aimass_sandbox::compile::{self, COMPILE_COMMAND};
use aimass_sandbox::jail::{self, Role, Walls};
use aimass_sandbox::{CompileLimits, WORKER_COMMAND, run_worker};
use std::process::ExitCode;
use std::time::Duration;

/// Tries to get out of a worker's jail and prints what succeeded.
fn probe() -> Result<(), String> {
    let walls = Walls {
        role: Role::Worker,
        memory_bytes_max: 256 << 20,
        cpu_time_max: None,
        files_open_max: 32,
    };
    jail::enter(&walls).map_err(|error| error.to_string())?;
    let attempts = jail::probe(&walls);
    println!("{} attempts", attempts.len());
    for attempt in attempts.iter().filter(|attempt| !attempt.refused) {
        println!("got out: {} ({})", attempt.what, attempt.answer);
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let numbers: Vec<u64> = arguments.filter_map(|number| number.parse().ok()).collect();
    let served = match (command.as_str(), &numbers[..]) {
        (WORKER_COMMAND, &[instances, memory]) => {
            run_worker(instances as u32, memory).map_err(|error| error.to_string())
        }
        (COMPILE_COMMAND, &[memory_bytes_max, seconds]) => {
            let cpu_max = Duration::from_secs(seconds);
            let limits = CompileLimits { memory_bytes_max, cpu_max, ..CompileLimits::default() };
            compile::serve(&limits).map_err(|error| error.to_string())
        }
        ("__probe", _) => probe(),
        _ => Err(format!("expected {WORKER_COMMAND} or {COMPILE_COMMAND} and two numbers")),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

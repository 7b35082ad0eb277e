//! Child processes with a time limit.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a running child is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Most bytes of a child's error output that are kept for a message.
const STDERR_BYTES_MAX: usize = 64 * 1024;

/// Runs `command` silently for at most `limit`; the error is one line that says what happened.
pub(crate) fn run_bounded(mut command: Command, limit: Duration) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || drain(stderr));
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
            Ok(None) => {
                // The child may have ended by itself since; both ways it is gone afterwards.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program} gave no result within {} s", limit.as_secs()));
            }
            Err(error) => return Err(format!("{program}: {error}")),
        }
    };
    if status.success() {
        return Ok(());
    }
    let text = reader.join().unwrap_or_default();
    let reason = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(format!("{program} ended with {status}: {}", reason.trim()))
}

/// Standard output of `command` without the line break at its end, if it succeeds.
pub(crate) fn output_of(mut command: Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// The last [`STDERR_BYTES_MAX`] bytes of `stream`, which is read to its end.
fn drain(stream: Option<impl Read>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut block = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut block) {
        kept.extend_from_slice(&block[..count]);
        let excess = kept.len().saturating_sub(STDERR_BYTES_MAX);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_that_hangs_is_ended_at_its_limit() {
        let error = run_bounded(shell("exec sleep 600"), Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("no result within"), "{error}");
    }

    #[test]
    fn a_failure_carries_the_last_line_that_the_child_said() {
        let error =
            run_bounded(shell("echo first >&2; echo why >&2; exit 3"), Duration::from_secs(60));
        let error = error.unwrap_err();
        assert!(error.contains("why") && !error.contains("first"), "{error}");
    }

    #[test]
    fn output_of_a_failing_command_is_nothing() {
        assert_eq!(output_of(shell("echo yes")).as_deref(), Some("yes"));
        assert_eq!(output_of(shell("echo yes; exit 1")), None);
    }
}

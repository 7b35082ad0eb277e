//! Starting other programs, with errors that show the command line.

use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Runs `command`. What it prints is progress here and goes to standard error: standard output is for
/// results, which other programs may read.
pub(crate) fn check(command: &mut Command) -> anyhow::Result<()> {
    let line = line(command);
    let status = command.stdout(std::io::stderr()).status().with_context(|| line.clone())?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Standard output of `command`; its error output goes through.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = line(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| line.clone())?;
    if !output.status.success() {
        bail!("`{line}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of `{line}`"))
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_command_line() {
        let error = check(Command::new("false").arg("--now")).unwrap_err().to_string();
        assert!(error.contains("`false --now` ended with"), "{error}");
        let error = output(Command::new("/missing/program").arg("x")).unwrap_err().to_string();
        assert!(error.contains("/missing/program x"), "{error}");
    }

    #[test]
    fn output_is_what_the_program_printed() {
        assert_eq!(output(Command::new("echo").arg("word")).unwrap(), "word\n");
    }
}

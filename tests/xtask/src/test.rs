//! `cargo xtask test`: every check in an order that fails early, and one line of sums.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::fetch::Fetched;
use crate::installation::Installation;
use crate::{cuda, cuda_host, emulate, fetch, repository, run};

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    pub(crate) fn plus(self, other: Counts) -> Counts {
        Counts { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

/// The checks so far, each with its time and its count.
#[derive(Default)]
struct Report {
    rows: Vec<(&'static str, Duration, Counts)>,
}

impl Report {
    /// Runs one check; a failure is printed, counts as one and does not stop the next check.
    fn step<T>(
        &mut self,
        name: &'static str,
        check: impl FnOnce() -> anyhow::Result<T>,
    ) -> Option<T> {
        let mut value = None;
        self.counted(name, || {
            value = Some(check()?);
            Ok(Counts::default())
        });
        value
    }

    /// Runs a check that counts its tests itself.
    fn counted(&mut self, name: &'static str, check: impl FnOnce() -> anyhow::Result<Counts>) {
        println!("test: {name}");
        let start = Instant::now();
        let counts = check().unwrap_or_else(|error| {
            println!("test: {name} failed: {error:#}");
            Counts { passed: 0, failed: 1 }
        });
        self.rows.push((name, start.elapsed(), counts));
    }

    fn sum(&self) -> Counts {
        self.rows.iter().fold(Counts::default(), |sum, (_, _, counts)| sum.plus(*counts))
    }

    /// Prints a line a check, then the sums; ends the process with 1 if anything failed.
    fn finish(self) {
        println!();
        for (name, time, counts) in &self.rows {
            let word = if counts.failed == 0 { "ok" } else { "FAILED" };
            println!("{name:<10} {:>7.1} s  {word}", time.as_secs_f64());
        }
        let Counts { passed, failed } = self.sum();
        println!("{passed} passed, {failed} failed");
        if failed > 0 {
            std::process::exit(1);
        }
    }
}

/// Runs all checks, or with `names` only the tests whose names contain one of them. `all` adds
/// the tests marked as slow.
pub(crate) fn test(all: bool, names: &[String]) -> anyhow::Result<()> {
    repository::check_space()?;
    let mut report = Report::default();
    if names.is_empty() {
        report.step("format", || cargo(&["fmt", "--all", "--check"]));
    }
    let fetched = report.step("fetch", fetch::fetch);
    if names.is_empty() {
        report.step("lints", || {
            cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        });
        report.step("docs", docs);
    }
    if let Some(fetched) = &fetched {
        let installation = report
            .step("build", repository::build_all)
            .and_then(|aimass| report.step("plugins", || install(fetched, &aimass)));
        let authoring = report.step("authoring", fetch::authoring_tools);
        let registry = report.step("registry", fetch::oci_registry);
        if let (Some(installation), Some(without_javascript), Some(registry)) =
            (installation, authoring, registry)
        {
            let made = Prepared { fetched, installation, without_javascript, registry };
            report.counted("tests", || cargo_test(&made, all, names));
        }
    }
    if names.is_empty() {
        report.counted("cuda", cuda::ops_on_the_virtual_gpu);
        report.counted("nccl", cuda::collectives_of_virtual_gpus);
        report.counted("cuda-host", || cuda_host::cuda_host(None, all));
        if let Some(fetched) = &fetched {
            report.step("images", || cuda::images_are_those_of_the_sources(&fetched.python, all));
        }
    }
    if all && names.is_empty() {
        match emulate::missing()? {
            None => report.counted("aarch64", || stream_and_count(&mut emulate::command(&[]))),
            Some(missing) => println!("test: aarch64 is left out: {missing}"),
        }
    }
    report.finish();
    Ok(())
}

/// What was fetched and built for the tests.
struct Prepared<'a> {
    fetched: &'a Fetched,
    installation: Installation,
    /// Why there are no compilers of JavaScript, if so.
    without_javascript: Option<String>,
    /// The binary of Debian's OCI registry, or why there is none.
    registry: Result<PathBuf, String>,
}

/// What the end-to-end tests serve: the demo's installation, in a folder of its own.
fn install(fetched: &Fetched, aimass: &Path) -> anyhow::Result<Installation> {
    let folder = repository::target_dir()?.join("test");
    Installation::make(fetched, aimass, &folder)
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    run::check(repository::cargo().args(arguments))
}

fn docs() -> anyhow::Result<()> {
    let mut docs = repository::cargo();
    docs.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings");
    run::check(&mut docs)
}

/// `cargo test`, streamed through, with what was fetched and built in environment variables.
fn cargo_test(made: &Prepared<'_>, all: bool, names: &[String]) -> anyhow::Result<Counts> {
    let Prepared { fetched, installation, without_javascript, registry } = made;
    let mut command = repository::cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast", "--"])
        .args(all.then_some("--include-ignored"))
        .args(names)
        .env("AIMASS_DEVICE", "cpu")
        .env("AIMASS_PYTHON", &fetched.python)
        .env("AIMASS_MODEL_DIR", &fetched.model_dir)
        .env("AIMASS_ONNX_CASES", &fetched.onnx_cases)
        .env("AIMASS_NVRTC", cuda::nvrtc()?)
        .env("AIMASS_ALL", if all { "1" } else { "" })
        .env("AIMASS_PLUGINS_DIR", &installation.components)
        .env("AIMASS_BIN", &installation.aimass)
        .env("AIMASS_TEST_DATA", &installation.data);
    if let Some(why) = without_javascript {
        command.env("AIMASS_WITHOUT_JAVASCRIPT", why);
    }
    match registry {
        Ok(binary) => command.env("AIMASS_REGISTRY_BIN", binary),
        Err(why) => command.env("AIMASS_WITHOUT_REGISTRY", why),
    };
    stream_and_count(&mut command)
}

/// Prints what `command` prints and adds up its result lines.
pub(crate) fn stream_and_count(command: &mut Command) -> anyhow::Result<Counts> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo test")?;
    let mut counts = Counts::default();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line.context("output of cargo test")?;
        println!("{line}");
        if let Some(found) = counts_of(&line) {
            counts = counts.plus(found);
        }
    }
    let status = child.wait().context("cargo test")?;
    if !status.success() && counts.failed == 0 {
        bail!("cargo test ended with {status} before its tests did");
    }
    Ok(counts)
}

/// The counts in a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn counts_of(line: &str) -> Option<Counts> {
    let rest = line.trim_start().strip_prefix("test result: ")?;
    let (_, numbers) = rest.split_once(". ")?;
    let number = |word: &str| {
        let part = numbers.split("; ").find_map(|part| part.strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64) -> Counts {
        Counts { passed, failed }
    }

    #[test]
    fn counts_are_read_from_result_lines_only() {
        let ok = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; \
                  finished in 0.11s";
        assert_eq!(counts_of(ok), Some(counts(12, 0)));
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(counts_of(bad), Some(counts(1, 2)));
        assert_eq!(counts_of("test result_is_named ... ok"), None);
        assert_eq!(counts_of("running 3 tests"), None);
    }

    #[test]
    fn every_line_of_a_run_is_added_up() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; \
                      echo 'test result: FAILED. 1 passed; 4 failed; 0 ignored'; exit 101";
        let found = stream_and_count(Command::new("sh").args(["-c", script]));
        assert_eq!(found.unwrap(), counts(3, 4));
    }

    #[test]
    fn a_run_that_does_not_compile_is_an_error() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 101";
        let error = stream_and_count(Command::new("sh").args(["-c", script])).unwrap_err();
        assert!(error.to_string().contains("101"), "{error}");
    }

    #[test]
    fn a_failed_check_is_one_failure() {
        let mut report = Report::default();
        assert_eq!(report.step("good", || Ok(1)), Some(1));
        assert_eq!(report.step("bad", || -> anyhow::Result<()> { bail!("reason") }), None);
        assert_eq!(report.sum(), counts(0, 1));
    }
}

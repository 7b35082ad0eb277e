//! `cargo xtask cuda-host`: the CUDA kernels compiled as C++ for this machine, under sanitizers, on what
//! tests launch on the virtual GPU.

mod breaks;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::repository;
use crate::test::{Counts, stream_and_count};

/// What watches the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sanitizer {
    /// ThreadSanitizer: races between the threads of a block, and between blocks.
    Thread,
    /// AddressSanitizer and UndefinedBehaviorSanitizer: bounds, alignment, overflow.
    Address,
}

impl Sanitizer {
    /// Flags of the compiler for the kernels, and the macro for the executor.
    fn flags(self) -> (&'static [&'static str], &'static str) {
        match self {
            Sanitizer::Thread => (&["-fsanitize=thread"], "-DWITH_THREAD_SANITIZER"),
            Sanitizer::Address => (
                &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
                "-DWITH_ADDRESS_SANITIZER",
            ),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Sanitizer::Thread => "thread",
            Sanitizer::Address => "address",
        }
    }
}

/// Launches of an entry that run, chosen by the seed, unless all do.
const LAUNCHES: &str = "2";

/// Runs every entry under one sanitizer or both on recorded launches, then checks that broken kernels are
/// found: all launches and breaks with `all`, else some launches and one break, by the clock. Without a
/// C++ compiler nothing runs, which is said.
pub(crate) fn cuda_host(sanitizer: Option<Sanitizer>, all: bool) -> anyhow::Result<Counts> {
    let Some(compiler) = compiler() else {
        println!("cuda-host: left out, 0 cases: no C++ compiler (Debian's package is g++)");
        return Ok(Counts::default());
    };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let folder = repository::target_dir()?.join("cuda-host");
    let lane = Lane {
        compiler,
        sources: repository::root().join("kernels/cuda/src"),
        launches: folder.join("launches"),
        folder,
    };
    let mut counts = lane.record()?;
    let units = units(&lane.sources)?;
    let chosen = [Sanitizer::Thread, Sanitizer::Address];
    for own in chosen.into_iter().filter(|own| sanitizer.is_none_or(|only| only == *own)) {
        println!("cuda-host: {} sanitizer, {}, seed {clock}", own.name(), lane.compiler);
        let binary = lane.build(own, &units)?;
        let mut command = lane.replay(&binary);
        command.args(["--seed", &clock.to_string()]);
        if !all {
            command.args(["--most", LAUNCHES]);
        }
        counts = counts.plus(counted(&output(&mut command)?));
        for broken in breaks::chosen(own, (!all).then_some(clock)) {
            counts = counts.plus(broken.is_found(&lane, &units)?);
        }
    }
    Ok(counts)
}

/// Where things are.
#[derive(Clone, Debug)]
struct Lane {
    compiler: String,
    /// Kernels.
    sources: PathBuf,
    /// What tests launched.
    launches: PathBuf,
    /// For what is made.
    folder: PathBuf,
}

/// A file of kernels with its entries, compiled by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    /// Without its extension.
    name: String,
    /// Names of the entries, and where C++ finds them.
    entries: Vec<(String, String)>,
}

/// All files of kernels, by the table that their compiler leaves.
fn units(sources: &Path) -> anyhow::Result<Vec<Unit>> {
    #[derive(Deserialize)]
    struct Table {
        kernels: Vec<Kernel>,
    }
    #[derive(Deserialize)]
    struct Kernel {
        name: String,
        file: String,
        forms: Vec<String>,
    }
    let table = repository::root().join("kernels/cuda/prebuilt/kernels.json");
    let table: Table = serde_json::from_slice(&std::fs::read(table)?)?;
    let mut units: Vec<Unit> = Vec::new();
    for kernel in table.kernels {
        let text = std::fs::read_to_string(sources.join(&kernel.file))?;
        let space =
            text.lines().find_map(|line| line.strip_prefix("namespace ")?.split(' ').next());
        let space = space.with_context(|| format!("{} has no namespace", kernel.file))?;
        let name = kernel.file.trim_end_matches(".cu").to_owned();
        let entry = |form: &String| match (form.as_str(), &kernel.name) {
            ("", name) => (name.clone(), format!("{space}::{name}")),
            (form, name) => {
                let entry = format!("{name}_{form}");
                let place = format!("{space}::entry_{entry}::{entry}");
                (entry, place)
            }
        };
        let entries = kernel.forms.iter().map(entry);
        match units.iter_mut().find(|unit| unit.name == name) {
            Some(unit) => unit.entries.extend(entries),
            None => units.push(Unit { name, entries: entries.collect() }),
        }
    }
    Ok(units)
}

impl Unit {
    /// Its source: the kernels, and the entries by name.
    fn source(&self) -> String {
        let entries = self.entries.iter();
        let entries =
            entries.map(|(name, place)| format!("    {{\"{name}\", host::call<{place}>}},\n"));
        let entries: String = entries.collect();
        let name = &self.name;
        format!(
            "#include \"replay.h\"\n#include \"{name}.cu\"\n\
             static const bool known = host::know({{\n{entries}}});\n"
        )
    }
}

impl Lane {
    /// Writes down what is launched on the virtual GPU by the self-test, where every entry is, and by drawn
    /// cases of each launcher.
    fn record(&self) -> anyhow::Result<Counts> {
        let _ = std::fs::remove_dir_all(&self.launches);
        let mut counts = Counts::default();
        for chosen in [["self_test", "every_entry"], ["kernels", "drawn_cases"]] {
            let [tests, name] = chosen;
            let mut test = repository::cargo();
            test.args(["test", "--workspace", "--test", tests, name]);
            // A thousand cases of each launcher would leave gigabytes.
            test.env("VGPU_RECORD", &self.launches).env_remove("AIMASS_ALL");
            counts = counts.plus(stream_and_count(&mut test)?);
        }
        let launches = self.launches.display();
        ensure!(counts.failed > 0 || self.launches.is_dir(), "no test left launches in {launches}");
        Ok(counts)
    }

    fn replay(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command.arg(&self.launches);
        command
    }

    /// Compiles everything for a sanitizer.
    fn build(&self, sanitizer: Sanitizer, units: &[Unit]) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(sanitizer.name());
        std::fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
        let host = repository::root().join("kernels/cuda/host");
        let mut steps = Vec::new();
        for name in ["replay", "executor"] {
            steps.push(self.compile(sanitizer, &host.join(name).with_extension("cpp"), &folder));
        }
        for unit in units {
            steps.push(self.unit(sanitizer, unit, &folder)?);
        }
        at_once(steps)?;
        let objects = units.iter().map(|unit| unit.name.as_str()).chain(["replay", "executor"]);
        let objects = objects.map(|name| folder.join(name).with_extension("o"));
        self.link(sanitizer, objects, &folder.join("all"))
    }

    /// Writes a unit's source, and gives what compiles it.
    fn unit(&self, sanitizer: Sanitizer, unit: &Unit, folder: &Path) -> anyhow::Result<Command> {
        let source = folder.join(&unit.name).with_extension("cpp");
        std::fs::write(&source, unit.source()).with_context(|| format!("{}", source.display()))?;
        Ok(self.compile(sanitizer, &source, folder))
    }

    /// Compiles one file. The executor speaks to ThreadSanitizer itself and is not watched.
    fn compile(&self, sanitizer: Sanitizer, source: &Path, folder: &Path) -> Command {
        let host = repository::root().join("kernels/cuda/host");
        let (flags, macro_of_executor) = sanitizer.flags();
        let mut command = Command::new(&self.compiler);
        command.args(["-std=c++20", "-O1", "-g1", "-ffp-contract=off", "-Wno-unknown-pragmas"]);
        command.arg("-c").arg("-I").arg(&host);
        if source.ends_with("executor.cpp") {
            command.arg(macro_of_executor);
        } else {
            command.args(flags).arg("-DHOST_BUILD").arg("-I").arg(&self.sources);
            command.arg("-include").arg(host.join("shim.h"));
        }
        let object = folder.join(source.file_name().unwrap_or_default()).with_extension("o");
        command.arg(source).arg("-o").arg(object);
        command
    }

    fn link(
        &self,
        sanitizer: Sanitizer,
        objects: impl Iterator<Item = PathBuf>,
        binary: &Path,
    ) -> anyhow::Result<PathBuf> {
        let mut link = Command::new(&self.compiler);
        link.args(sanitizer.flags().0).args(objects).arg("-o").arg(binary);
        succeed(link)?;
        Ok(binary.to_owned())
    }
}

/// `$CXX`, else `g++` or `clang++`, if it runs.
fn compiler() -> Option<String> {
    let named = std::env::var("CXX").ok().filter(|name| !name.is_empty());
    let known = ["g++", "clang++"].map(str::to_owned);
    named.into_iter().chain(known).find(|name| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// Runs steps of a build, as many at a time as there are processors.
fn at_once(steps: Vec<Command>) -> anyhow::Result<()> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let waiting = Mutex::new(steps);
    let next = || waiting.lock().ok()?.pop();
    let work = || -> anyhow::Result<()> {
        while let Some(step) = next() {
            succeed(step)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|own| {
            own.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a compiler's thread ended early")))
        })
    })
}

/// Runs a step of a build.
fn succeed(mut step: Command) -> anyhow::Result<()> {
    let made = output(&mut step)?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "{step:?}: {said}");
    Ok(())
}

fn output(command: &mut Command) -> anyhow::Result<Output> {
    command.output().with_context(|| format!("{command:?}"))
}

/// Prints what the cases said and counts their lines. Whatever ends the process early is a failure.
fn counted(said: &Output) -> Counts {
    let text = String::from_utf8_lossy(&said.stdout);
    print!("{text}");
    eprint!("{}", String::from_utf8_lossy(&said.stderr));
    let cases = text.lines().filter(|line| line.starts_with("case "));
    let (good, bad): (Vec<&str>, Vec<&str>) = cases.partition(|line| line.contains(": ok"));
    let unsaid = bad.is_empty() && (!said.status.success() || good.is_empty());
    Counts { passed: good.len() as u64, failed: bad.len() as u64 + u64::from(unsaid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str) -> Counts {
        counted(&Command::new("sh").args(["-c", script]).output().unwrap())
    }

    #[test]
    fn cases_are_counted_and_an_early_end_is_a_failure() {
        assert_eq!(
            said("echo 'case a: ok (launches: 2)'; echo 'case b: ok'"),
            Counts { passed: 2, failed: 0 }
        );
        assert_eq!(
            said("echo 'case a: ok'; echo 'case b: FAILED'; exit 1"),
            Counts { passed: 1, failed: 1 }
        );
        assert_eq!(said("echo 'case a: ok'; exit 66"), Counts { passed: 1, failed: 1 });
        assert_eq!(said("exit 0"), Counts { passed: 0, failed: 1 });
    }

    /// A file that is in no unit would be compiled and watched by nobody.
    #[test]
    fn every_file_of_kernels_is_a_unit() {
        let sources = repository::root().join("kernels/cuda/src");
        let mut units: Vec<String> =
            units(&sources).unwrap().into_iter().map(|unit| unit.name).collect();
        let files = std::fs::read_dir(&sources).unwrap().map(|entry| entry.unwrap().path());
        let kernels = files.filter(|path| path.extension().is_some_and(|own| own == "cu"));
        let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut files: Vec<String> = kernels.map(name).collect();
        files.sort();
        units.sort();
        assert_eq!(units, files);
    }
}

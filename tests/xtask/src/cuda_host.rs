//! `cargo xtask cuda-host`: the CUDA kernels compiled as C++ for this machine, under sanitizers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};

use crate::repository;
use crate::test::Counts;

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

/// A bug that the lane must find, made in a copy of the sources.
struct Break {
    sanitizer: Sanitizer,
    file: &'static str,
    text: &'static str,
    into: &'static str,
    /// The case that runs it, and what is said.
    case: &'static str,
    said: &'static str,
}

/// What ThreadSanitizer says.
const RACE: &str = "WARNING: ThreadSanitizer: data race";

const BREAKS: [Break; 9] = [
    Break {
        sanitizer: Sanitizer::Thread,
        file: "softmax.cu",
        text: "threadIdx.x] = own;\n        __syncthreads();",
        into: "threadIdx.x] = own;",
        case: "softmax_columns",
        said: RACE,
    },
    Break {
        sanitizer: Sanitizer::Address,
        file: "row.cuh",
        text: "if (column + i < n) store(from[i], row + column + i);",
        into: "store(from[i], row + column + i);",
        case: "norm",
        said: "ERROR: AddressSanitizer: heap-buffer-overflow",
    },
    Break {
        sanitizer: Sanitizer::Thread,
        file: "strided.cu",
        text: "        __syncthreads();\n#pragma unroll",
        into: "        if (line < 4) __syncthreads();\n#pragma unroll",
        case: "strided",
        said: "divergence: ",
    },
    // Blocks that share a sum store their parts in one place.
    Break {
        sanitizer: Sanitizer::Thread,
        file: "product.cuh",
        text: "u64 item = (u64)tile.split * s.batch + tile.batch;",
        into: "u64 item = tile.batch;",
        case: "matmul",
        said: RACE,
    },
    // Shared memory whose extent the launch says.
    Break {
        sanitizer: Sanitizer::Thread,
        file: "attention_exact.cu",
        text: "score(scores);\n            __syncthreads();",
        into: "score(scores);",
        case: "attention_exact",
        said: RACE,
    },
    Break {
        sanitizer: Sanitizer::Address,
        file: "attention_exact.cu",
        text: "weights = keys + KEYS * PITCH;",
        into: "weights = keys + KEYS * PITCH + 8;",
        case: "attention_exact",
        said: "ERROR: AddressSanitizer: heap-buffer-overflow",
    },
    // Tensor cores: a barrier, a copy that is not waited for, and a matrix from the wrong lanes.
    Break {
        sanitizer: Sanitizer::Thread,
        file: "matmul_tensor.cu",
        text: "copies_wait<STAGES - 2>();\n        __syncthreads();",
        into: "copies_wait<STAGES - 2>();",
        case: "matmul_tensor",
        said: RACE,
    },
    Break {
        sanitizer: Sanitizer::Address,
        file: "matmul_tensor.cu",
        text: "copies_wait<STAGES - 2>();",
        into: "copies_wait<STAGES>();",
        case: "matmul_tensor",
        said: "case matmul_tensor: FAILED",
    },
    Break {
        sanitizer: Sanitizer::Address,
        file: "conv.cu",
        text: "[lane / 8 % 2 * 8];",
        into: "[lane / 16 * 8];",
        case: "conv",
        said: "case conv: FAILED",
    },
];

/// Runs every case under one sanitizer or both, then checks that broken kernels are found: all breaks
/// with `all`, and 20 seeds of each case, else one break by the clock and one seed. Without a C++
/// compiler nothing runs, which is said.
pub(crate) fn cuda_host(sanitizer: Option<Sanitizer>, all: bool) -> anyhow::Result<Counts> {
    let Some(compiler) = compiler() else {
        println!("cuda-host: left out, 0 cases: no C++ compiler (Debian's package is g++)");
        return Ok(Counts::default());
    };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let folder = repository::target_dir()?.join("cuda-host");
    let sources = repository::root().join("kernels/cuda/src");
    let mut counts = Counts::default();
    let chosen = [Sanitizer::Thread, Sanitizer::Address];
    for own in chosen.into_iter().filter(|own| sanitizer.is_none_or(|only| only == *own)) {
        println!("cuda-host: {} sanitizer, {compiler}, seed {clock}", own.name());
        let binary = build(&compiler, own, &sources, &folder.join(own.name()))?;
        let mut command = Command::new(&binary);
        command.args(["--seed", &clock.to_string()]).args(all.then_some("--all"));
        counts = counts.plus(counted(&output(&mut command)?));
    }
    for (number, own) in BREAKS.iter().enumerate() {
        let wanted = sanitizer.is_none_or(|only| only == own.sanitizer);
        if wanted && (all || number as u64 == clock % BREAKS.len() as u64) {
            counts = counts.plus(own.is_found(&compiler, &sources, &folder.join("broken"))?);
        }
    }
    Ok(counts)
}

impl Break {
    /// One test: whether the sanitizer says what is expected.
    fn is_found(&self, compiler: &str, sources: &Path, folder: &Path) -> anyhow::Result<Counts> {
        let copy = folder.join("src");
        let _ = std::fs::remove_dir_all(&copy);
        std::fs::create_dir_all(&copy).context("a folder for broken sources")?;
        for entry in std::fs::read_dir(sources)? {
            let path = entry?.path();
            let Some(name) = path.file_name().filter(|_| is_kernel_source(&path)) else { continue };
            std::fs::copy(&path, copy.join(name))?;
        }
        let broken = copy.join(self.file);
        let text = std::fs::read_to_string(&broken)?;
        ensure!(
            text.contains(self.text),
            "{} has no `{}`: renew the break in cuda_host.rs",
            self.file,
            self.text
        );
        std::fs::write(&broken, text.replacen(self.text, self.into, 1))?;
        let binary = build(compiler, self.sanitizer, &copy, folder)?;
        let said = output(Command::new(&binary).arg(self.case))?;
        let text = [said.stdout, said.stderr].concat();
        let found = !said.status.success() && String::from_utf8_lossy(&text).contains(self.said);
        let word = if found { "ok" } else { "FAILED" };
        println!("broken {} in {}: {word} ({})", self.case, self.file, self.said.trim());
        Ok(Counts { passed: found.into(), failed: (!found).into() })
    }
}

fn is_kernel_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "cu" || extension == "cuh")
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

/// Compiles the cases with these kernels, the files at once. The executor speaks to ThreadSanitizer itself
/// and is not watched.
fn build(
    compiler: &str,
    sanitizer: Sanitizer,
    sources: &Path,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    let host = repository::root().join("kernels/cuda/host");
    let (flags, macro_of_executor) = sanitizer.flags();
    let common = ["-std=c++20", "-O1", "-g", "-ffp-contract=off", "-Wno-unknown-pragmas", "-c"];
    let object = |name: &str| folder.join(name).with_extension("o");
    let compile = |name: &'static str, watched: bool| {
        let mut command = Command::new(compiler);
        command.args(common).arg("-I").arg(&host);
        if watched {
            command.args(flags).arg("-DHOST_BUILD").arg("-I").arg(sources);
            command.arg("-include").arg(host.join("shim.h"));
        } else {
            command.arg(macro_of_executor);
        }
        command.arg(host.join(name)).arg("-o").arg(object(name));
        command
    };
    let files = [("cases.cpp", true), ("product_cases.cpp", true), ("executor.cpp", false)];
    let steps = files.map(|(name, watched)| compile(name, watched));
    let made = std::thread::scope(|scope| {
        let running = steps.map(|step| scope.spawn(move || succeed(step)));
        running.into_iter().try_for_each(|own| own.join().unwrap_or_else(|_| bail!("a compiler")))
    });
    made?;
    let binary = folder.join("cases");
    let mut link = Command::new(compiler);
    link.args(flags).args(files.map(|(name, _)| object(name))).arg("-o").arg(&binary);
    succeed(link)?;
    Ok(binary)
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
    let (good, bad): (Vec<&str>, Vec<&str>) = cases.partition(|line| line.ends_with(": ok"));
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
        assert_eq!(said("echo 'case a: ok'; echo 'case b: ok'"), Counts { passed: 2, failed: 0 });
        assert_eq!(
            said("echo 'case a: ok'; echo 'case b: FAILED'; exit 1"),
            Counts { passed: 1, failed: 1 }
        );
        assert_eq!(said("echo 'case a: ok'; exit 66"), Counts { passed: 1, failed: 1 });
        assert_eq!(said("exit 0"), Counts { passed: 0, failed: 1 });
    }
}

//! `cargo xtask emulate`: the kernels' tests on another processor's instructions, under qemu.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::{repository, run};

/// The target whose kernels are written here and cannot be run directly on most machines.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Its emulator, and its linker, as Debian's packages name them.
const EMULATOR: &str = "qemu-aarch64";
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// Where the linker's package puts the target's libraries.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";
/// Crates whose results depend on the processor, and the suite of all ops.
const CRATES: [&str; 2] = ["aimass-cpu", "aimass-op-tests"];

/// What of the tools is missing, and how to get it; none if all is there.
pub(crate) fn missing() -> anyhow::Result<Option<String>> {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let mut commands = Vec::new();
    if !runs(EMULATOR) || !runs(LINKER) {
        commands.push("apt-get install -y qemu-user gcc-aarch64-linux-gnu".to_owned());
    }
    let sysroot = run::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if !PathBuf::from(sysroot.trim()).join("lib/rustlib").join(TARGET).exists() {
        commands.push(format!("rustup target add {TARGET}"));
    }
    let commands = commands.iter().map(|command| format!("`{command}`")).collect::<Vec<_>>();
    Ok((!commands.is_empty()).then(|| format!("{} would add what is missing", commands.join(", "))))
}

/// The command that runs the tests; `names` chooses among them.
pub(crate) fn command(names: &[String]) -> Command {
    let mut cargo = repository::cargo();
    cargo.args(["test", "--target", TARGET, "--no-fail-fast"]);
    cargo.args(CRATES.iter().flat_map(|name| ["-p", name])).arg("--").args(names);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    let runner = format!("{EMULATOR} -L {LIBRARIES}");
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    cargo
}

/// Runs them.
pub(crate) fn emulate(names: &[String]) -> anyhow::Result<()> {
    if let Some(missing) = missing()? {
        bail!("cannot run aarch64 programs here: {missing}");
    }
    run::check(&mut command(names))
}

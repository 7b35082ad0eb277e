//! Checks of the CUDA kernels that need no GPU.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::test::{Counts, stream_and_count};
use crate::{cache, repository, run};

/// Architectures that `kernels/cuda/build.py` compiles for.
const ARCHITECTURES: [&str; 7] = ["75", "80", "86", "89", "90", "100", "120"];

/// The op suite on the virtual GPU, with races watched and an order of blocks that a printed seed gives.
pub(crate) fn ops_on_the_virtual_gpu() -> anyhow::Result<Counts> {
    let seed = seconds() % 1_000_000 + 1;
    println!("cuda: AIMASS_DEVICE=virtual VGPU_CHECKS=races VGPU_SEED={seed}");
    let mut command = repository::unit_tests("aimass_op_tests")?;
    command
        .env("AIMASS_DEVICE", "virtual")
        .env("VGPU_CHECKS", "races")
        .env("VGPU_SEED", seed.to_string());
    stream_and_count(&mut command)
}

/// The virtual NCCL through `cudarc`, whose module for it is a feature that no product has: so with the
/// features of that package alone.
pub(crate) fn collectives_of_virtual_gpus() -> anyhow::Result<Counts> {
    let mut command = repository::cargo();
    command.args([
        "test",
        "--package",
        "aimass-vgpu-nccl",
        "--features",
        "cudarc",
        "--no-fail-fast",
    ]);
    stream_and_count(&mut command)
}

/// Rebuilds images from the sources and compares them byte for byte: one architecture, by the clock, or
/// all of them; and the page about them.
pub(crate) fn images_are_those_of_the_sources(python: &Path, all: bool) -> anyhow::Result<()> {
    let chosen = match all {
        true => &ARCHITECTURES[..],
        false => {
            let one = seconds() as usize % ARCHITECTURES.len();
            &ARCHITECTURES[one..=one]
        }
    };
    println!("cuda: images for {}", chosen.join(", "));
    run::check(script(python, "build.py").arg("--check").args(chosen))?;
    run::check(script(python, "evidence.py").arg("--check"))
}

/// Installs the compiler of the kernels into the cache, unless it is there.
pub(crate) fn fetch(python: &Path) -> anyhow::Result<()> {
    run::check(script(python, "build.py").arg("--fetch"))
}

/// The library of that compiler.
pub(crate) fn nvrtc() -> anyhow::Result<PathBuf> {
    Ok(cache::dir()?.join("nvrtc/nvidia/cuda_nvrtc/lib/libnvrtc.so.12"))
}

fn script(python: &Path, script: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(PathBuf::from("kernels/cuda").join(script)).current_dir(repository::root());
    command
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

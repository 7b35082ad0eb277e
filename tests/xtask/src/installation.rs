//! A whole installation made with the `aimass` binary alone, as an operator would make it: a
//! publisher's key, signed plugins, published models.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::fetch::Fetched;
use crate::{plugins, repository, run};

/// Publisher of the first-party plugins.
const PUBLISHER: &str = "aimass";

/// Name of a package's manifest.
const MANIFEST: &str = "model.toml";

/// Files of the model that its package takes from the cache.
pub(crate) const MODEL_FILES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

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
    /// Builds the plugins and makes a fresh installation in `folder`, which is emptied first, with
    /// the models of the demo.
    pub(crate) fn make(
        fetched: &Fetched,
        aimass: &Path,
        folder: &Path,
    ) -> anyhow::Result<Installation> {
        let mut installation = Installation::without_models(aimass, folder)?;
        installation.publish_models(fetched, "tests/xtask/packages", folder)?;
        Ok(installation)
    }

    /// Builds the plugins and makes a fresh installation of them alone.
    pub(crate) fn without_models(aimass: &Path, folder: &Path) -> anyhow::Result<Installation> {
        let components = plugins::build_all(aimass)?;
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let data = folder.join("data");
        std::fs::create_dir_all(&data).with_context(|| data.display().to_string())?;
        let installation =
            Installation { aimass: aimass.to_owned(), data, components, models: Vec::new() };
        installation.publish_plugins(&folder.join("plugins"))?;
        Ok(installation)
    }

    /// Publishes every package of a folder of the repository.
    pub(crate) fn publish_models(
        &mut self,
        fetched: &Fetched,
        packages: &str,
        folder: &Path,
    ) -> anyhow::Result<()> {
        for source in repository::folders(packages)? {
            let name = file_name(&source);
            let manifest = read(&source.join(MANIFEST))?;
            let names = if manifest.contains("[format]") { &MODEL_FILES[..] } else { &[] };
            let mut files: Vec<PathBuf> =
                names.iter().map(|it| fetched.model_dir.join(it)).collect();
            files.extend(files_in(&source)?);
            self.publish_model(&name, &manifest, &files, folder)?;
        }
        Ok(())
    }

    /// Publishes the ONNX models of `tests/onnx`.
    pub(crate) fn publish_onnx_models(
        &mut self,
        fetched: &Fetched,
        folder: &Path,
    ) -> anyhow::Result<()> {
        for source in repository::folders("tests/onnx/packages")? {
            let name = file_name(&source);
            let made = fetched.onnx_cases.join("models").join(&name).join("package");
            let files = files_in(&made)?;
            self.publish_model(&name, &read(&source.join(MANIFEST))?, &files, folder)?;
        }
        Ok(())
    }

    /// Publishes a package of copies of `files` and `manifest`, which replaces one among them.
    pub(crate) fn publish_model(
        &mut self,
        name: &str,
        manifest: &str,
        files: &[PathBuf],
        folder: &Path,
    ) -> anyhow::Result<()> {
        let package = folder.join("packages").join(name);
        std::fs::create_dir_all(&package).with_context(|| package.display().to_string())?;
        for file in files {
            let target = package.join(file_name(file));
            std::fs::copy(file, &target).with_context(|| file.display().to_string())?;
        }
        std::fs::write(package.join(MANIFEST), manifest)
            .with_context(|| package.display().to_string())?;
        run::check(self.command().args(["model", "add", "--name", name]).arg(&package))?;
        run::check(self.command().args(["model", "label", name, "stable", "1"]))?;
        self.models.push(name.to_owned());
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
            let name = file_name(&project);
            let component = self.components.join(&name).with_extension("wasm");
            let bytes =
                std::fs::read(&component).with_context(|| component.display().to_string())?;
            self.publish_plugin(&name, &bytes, signed)?;
        }
        Ok(())
    }

    /// Signs a component and publishes it, by way of a file in the folder `signed`.
    pub(crate) fn publish_plugin(
        &self,
        name: &str,
        component: &[u8],
        signed: &Path,
    ) -> anyhow::Result<()> {
        let file = signed.join(name).with_extension("wasm");
        std::fs::write(&file, component).with_context(|| file.display().to_string())?;
        run::check(self.command().args(["plugin", "sign"]).arg(&file))?;
        run::check(self.command().args(["plugin", "publish"]).arg(&file))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = folder.read_dir().with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| file.display().to_string())
}

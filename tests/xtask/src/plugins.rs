//! `cargo xtask plugins`: first-party plugins, built as a third party would build them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{repository, run};

/// The one place that knows how `aimass plugin build` is called.
fn build_command(aimass: &Path, project: &Path, target: &Path, component: &Path) -> Command {
    let mut command = Command::new(aimass);
    command.args(["plugin", "build"]).arg(project);
    // One target folder, so that what plugins share is compiled once.
    command.arg("--target-dir").arg(target);
    command.args(["--profile", "plugin"]).arg("--out").arg(component);
    command
}

/// Builds every plugin of `plugins/` and returns the folder of the unsigned components, each
/// named after its plugin's folder.
pub(crate) fn build_all(aimass: &Path) -> anyhow::Result<PathBuf> {
    let target = repository::target_dir()?;
    let folder = target.join("plugins");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let projects = repository::projects("plugins")?;
    if projects.is_empty() {
        bail!("plugins/ holds no project; expected one folder with a Cargo.toml for each plugin");
    }
    for project in projects {
        let name = project.file_name().unwrap_or_default();
        let component = folder.join(name).with_extension("wasm");
        eprintln!("plugins: {}", name.display());
        run::check(&mut build_command(aimass, &project, &target, &component))?;
    }
    Ok(folder)
}

//! `aimass plugin build`: from a project to a component with its manifest.

use super::manifest;
use aimass_build::{ComponentBuild, WasmToolchain};
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};

/// Build a project to a component.
///
/// Needs Rust with the target wasm32-unknown-unknown; finds rustup's or Debian's.
#[derive(Args)]
pub(crate) struct Build {
    /// Project folder, with Cargo.toml and plugin.toml
    #[arg(default_value = ".")]
    project: PathBuf,
    /// Where the component goes [default: TARGET_DIR/plugins/PUBLISHER-NAME-VERSION.wasm]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Cargo's target folder [default: PROJECT/target]
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    /// Cargo profile
    #[arg(long, default_value = "release")]
    profile: String,
    /// Install a missing Wasm toolchain (rustup target add, else apt-get)
    #[arg(long)]
    install_toolchain: bool,
}

impl Build {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let toolchain = find_toolchain(self.install_toolchain)?;
        let target_dir = self.target_dir.unwrap_or_else(|| self.project.join("target"));
        let path = build(&toolchain, &self.project, &target_dir, &self.profile, self.out)?;
        println!("built     {}", path.display());
        println!("next      aimass plugin test {}", self.project.display());
        println!("          aimass plugin sign {}", path.display());
        Ok(())
    }
}

/// The Wasm toolchain of this machine.
pub(super) fn find_toolchain(install: bool) -> anyhow::Result<WasmToolchain> {
    Ok(WasmToolchain::find(install, &mut |line| eprintln!("{line}"))?)
}

/// Builds `project` and returns the component's path.
pub(super) fn build(
    toolchain: &WasmToolchain,
    project: &Path,
    target_dir: &Path,
    profile: &str,
    out: Option<PathBuf>,
) -> anyhow::Result<PathBuf> {
    let manifest = manifest::read(project)?;
    let target_dir = std::path::absolute(target_dir)?;
    let component = toolchain.build_component(&ComponentBuild {
        project_dir: project,
        target_dir: &target_dir,
        profile,
        rustflags: &[],
    })?;
    for warning in super::advice::check(project, &component, &manifest)? {
        eprintln!("warning: {warning}");
    }
    let component = aimass_trust::embed_manifest(&component, &manifest)?;
    let path =
        out.unwrap_or_else(|| target_dir.join("plugins").join(manifest::component_file(&manifest)));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(&path, component).with_context(|| path.display().to_string())?;
    Ok(path)
}

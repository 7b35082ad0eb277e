//! `aimass plugin build`: from a project to a component with its manifest.

use super::manifest;
use aimass_build::{ComponentBuild, GuestBuild, Language, Tools, WasmToolchain};
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};

/// Build a project to a component.
///
/// `language` of plugin.toml says how. Rust needs the target wasm32-unknown-unknown: rustup's or Debian's is
/// found. The compilers of Python, JavaScript, C and Zig are fetched from PyPI and npm into the user's
/// cache by the first build; later builds need no network.
///
/// Example: `aimass plugin build hello`
///
/// Next: `aimass plugin test hello`, then `aimass plugin sign FILE`.
#[derive(Args)]
pub(crate) struct Build {
    /// Project folder, with plugin.toml
    #[arg(default_value = ".")]
    project: PathBuf,
    /// Where the component goes [default: TARGET_DIR/plugins/PUBLISHER-NAME-VERSION.wasm]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Folder of what is built, Cargo's target folder for Rust [default: PROJECT/target]
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    /// Cargo profile, for Rust
    #[arg(long, default_value = "release")]
    profile: String,
    /// Install a missing Wasm toolchain (rustup target add, else apt-get)
    #[arg(long)]
    install_toolchain: bool,
}

impl Build {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let target_dir = self.target_dir.unwrap_or_else(|| self.project.join("target"));
        let path = build_project(&ProjectBuild {
            project: &self.project,
            target_dir: &target_dir,
            profile: &self.profile,
            out: self.out,
            install_toolchain: self.install_toolchain,
        })?;
        println!("built     {}", path.display());
        println!("next      aimass plugin test {}", self.project.display());
        println!("          aimass plugin sign {}", path.display());
        Ok(())
    }
}

/// What to build, and where to.
pub(super) struct ProjectBuild<'a> {
    pub(super) project: &'a Path,
    pub(super) target_dir: &'a Path,
    /// Cargo profile, for Rust.
    pub(super) profile: &'a str,
    /// Where the component goes, if not below `target_dir`.
    pub(super) out: Option<PathBuf>,
    /// Whether a missing Rust target may be installed.
    pub(super) install_toolchain: bool,
}

/// Builds a project of any language and returns the component's path.
pub(super) fn build_project(build: &ProjectBuild<'_>) -> anyhow::Result<PathBuf> {
    let manifest = manifest::read(build.project)?;
    let target_dir = std::path::absolute(build.target_dir)?;
    let component = match manifest::language(build.project)? {
        Language::Rust => build_rust(build, &target_dir)?,
        language @ (Language::Python | Language::Js | Language::C | Language::Zig) => {
            let capabilities: Vec<String> =
                manifest.capabilities.iter().map(|(it, _)| it.as_str().to_owned()).collect();
            // Folders of a project's own, so that projects may share one target folder.
            let own = format!("{}-{}", manifest.name.publisher(), manifest.name.name());
            let mut report = |line: &str| eprintln!("{line}");
            GuestBuild {
                project_dir: build.project,
                target_dir: &target_dir.join("build").join(own),
                language,
                world: manifest.world.kind(),
                capabilities: &capabilities,
            }
            .component(&mut Tools::of_this_user(&mut report)?)?
        }
    };
    for warning in super::advice::check(build.project, &component, &manifest)? {
        eprintln!("warning: {warning}");
    }
    let component = aimass_trust::embed_manifest(&component, &manifest)?;
    let in_target = || target_dir.join("plugins").join(manifest::component_file(&manifest));
    let path = build.out.clone().unwrap_or_else(in_target);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(&path, component).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn build_rust(build: &ProjectBuild<'_>, target_dir: &Path) -> anyhow::Result<Vec<u8>> {
    let toolchain = WasmToolchain::find(build.install_toolchain, &mut |line| eprintln!("{line}"))?;
    Ok(toolchain.build_component(&ComponentBuild {
        project_dir: build.project,
        target_dir,
        profile: build.profile,
        rustflags: &[],
    })?)
}

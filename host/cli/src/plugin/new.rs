//! `aimass plugin new`: a project that builds, is tested and is signed with the commands that it prints.
//!
//! The SDK and the contract travel inside this binary and are written into the project's `vendor`
//! folder, so that a plugin builds wherever the binary runs.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// Start a project.
#[derive(Args)]
pub(crate) struct New {
    /// `publisher/name`: a-z, 0-9 and `-`
    name: String,
    /// What the plugin is: `processor` for pre- and postprocessing, `format` for a model format,
    /// `model` for glue that calls plans and models
    #[arg(long, value_enum, default_value = "processor")]
    world: World,
    /// Folder to make [default: the name without its publisher]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum World {
    Processor,
    Format,
    Model,
}

impl World {
    fn template(self) -> &'static str {
        match self {
            World::Processor => "processor-rust/",
            World::Format => "format-rust/",
            World::Model => "model-rust/",
        }
    }
}

impl New {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let name: aimass_trust::PackageName = self.name.parse()?;
        let folder = self.folder.unwrap_or_else(|| PathBuf::from(name.name()));
        if folder.exists() {
            bail!("{} exists already; choose another folder with --folder", folder.display());
        }
        let fill = |text: &str| {
            text.replace("{{publisher}}", name.publisher())
                .replace("{{name}}", name.name())
                .replace("{{crate}}", &name.name().replace('-', "_"))
        };
        for (path, text) in embedded::TEMPLATES {
            if let Some(path) = path.strip_prefix(self.world.template()) {
                let path = path.strip_suffix(".template").unwrap_or(path);
                write(&folder.join(path), &fill(text))?;
            }
        }
        for (path, text) in embedded::SDK {
            write(&folder.join("vendor").join(path), text)?;
        }
        write(&folder.join("Cargo.lock"), embedded::LOCK)?;
        let publisher = name.publisher();
        println!("made      {}", folder.display());
        println!("next      cd {}", folder.display());
        println!("          aimass plugin build");
        println!("          aimass plugin test");
        println!("          aimass key new publisher {publisher}      # once");
        println!(
            "          aimass plugin sign target/plugins/{publisher}-{}-0.1.0.wasm",
            name.name()
        );
        println!(
            "          aimass plugin publish target/plugins/{publisher}-{}-0.1.0.wasm",
            name.name()
        );
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

//! `aimass plugin new`: a project that builds, is tested and is signed with the commands that it prints.
//!
//! Templates are folders `WORLD-LANGUAGE` of sdk/templates. The SDK and the contract travel inside this binary and are written into the project's `vendor`
//! folder, so that a plugin builds wherever the binary runs.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// Start a project: `aimass plugin new acme/hello`.
///
/// The folder has the source of a small plugin that works, unit tests, fixtures, and the SDK, so that it
/// builds wherever this program runs.
///
/// Example: `aimass plugin new acme/hello --language python`
///
/// Next: `aimass plugin test hello`
#[derive(Args)]
pub(crate) struct New {
    /// `publisher/name`: a-z, 0-9 and `-`
    name: String,
    /// What the plugin is: `processor` for pre- and postprocessing, `format` for a model format,
    /// `model` for glue that calls plans and models
    #[arg(long, value_enum, default_value = "processor")]
    world: World,
    /// What it is written in
    #[arg(long, value_enum, default_value = "rust")]
    language: Language,
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

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Language {
    Rust,
    Python,
    Js,
    C,
    Zig,
}

/// The name of a value on the command line.
fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Folders of [`embedded::GUEST_SDK`] that a project gets.
fn vendored(language: Language) -> &'static [&'static str] {
    match language {
        Language::Rust => &[],
        Language::Python => &["sdk/python/", "wit/"],
        Language::Js => &["sdk/js/", "wit/"],
        Language::C => &["sdk/c/", "wit/"],
        Language::Zig => &["sdk/c/", "sdk/zig/", "wit/"],
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
        let template = format!("{}-{}/", name_of(self.world), name_of(self.language));
        let found = || {
            let files = embedded::TEMPLATES.iter();
            files.filter_map(|(path, text)| Some((path.strip_prefix(&*template)?, text)))
        };
        if found().next().is_none() {
            let (world, language) = (name_of(self.world), name_of(self.language));
            bail!(
                "there is no template of the world {world} in {language}; expected one of {}",
                templates().join(", ")
            );
        }
        for (path, text) in found() {
            let path = path.strip_suffix(".template").unwrap_or(path);
            write(&folder.join(path), &fill(text))?;
        }
        write_sdk(&folder, self.language)?;
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

/// What there is a template of: `processor-python`.
fn templates() -> Vec<&'static str> {
    let folders = embedded::TEMPLATES.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0));
    let mut folders: Vec<_> = folders.collect();
    folders.dedup();
    folders
}

/// The SDK of the language and the contract, into `vendor`.
fn write_sdk(folder: &Path, language: Language) -> anyhow::Result<()> {
    let vendor = folder.join("vendor");
    if language == Language::Rust {
        for (path, text) in embedded::SDK {
            write(&vendor.join(path), text)?;
        }
        return write(&folder.join("Cargo.lock"), embedded::LOCK);
    }
    for (path, text) in embedded::GUEST_SDK {
        if vendored(language).iter().any(|part| path.starts_with(part)) {
            write(&vendor.join(path), text)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

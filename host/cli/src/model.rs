//! `aimass model`: publish models, move labels, roll back, look into them.

mod compare;
mod figures;
mod inspect;
mod new;
mod open;
mod profile;
mod request;
mod review;
mod sample;
mod show;
mod sign;

use crate::home::{Home, runtime};
use aimass_engine::PackageFolder;
use aimass_market::host::audit::Event;
use aimass_registry::VersionState;
use aimass_trust::{ModelRelease, Timestamp};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Publish models, move labels, roll back, look into them.
#[derive(Subcommand)]
pub(crate) enum Model {
    New(new::New),
    Sign(sign::Sign),
    Review(review::Review),
    Add(Add),
    /// List models, versions and labels
    ///
    /// Example: `aimass model list`
    List,
    Show(show::Show),
    /// Point a label at a version: `aimass model label minilm stable 3`
    ///
    /// A running server follows within a second. What the label pointed at is remembered.
    ///
    /// Example: `aimass model label minilm stable 3`
    ///
    /// Next: `aimass model rollback minilm stable` takes it back.
    Label {
        /// Serving name
        model: String,
        /// Label: a letter, then letters, digits, `.`, `_` or `-`
        label: String,
        /// Version
        version: u64,
    },
    /// Point a label back at the version that it had before
    ///
    /// Example: `aimass model rollback minilm stable`
    Rollback {
        /// Serving name
        model: String,
        /// Label
        #[arg(default_value = "stable")]
        label: String,
    },
    /// Remove a version that no label points to
    ///
    /// Example: `aimass model remove minilm 2`
    Remove {
        /// Serving name
        model: String,
        /// Version
        version: u64,
    },
    Inspect(inspect::Inspect),
    Profile(profile::Profile),
    Compare(compare::Compare),
}

/// Sign a package folder, check its fixtures and publish it.
///
/// The folder holds `model.toml`, the model's files and `*.fixture.json`, and no folders. The version is
/// visible only after the signature, every plugin and every fixture held; a running server follows
/// within a second.
///
/// Example: `aimass model add ./greeter`
///
/// Next: `aimass model label greeter stable 1`
#[derive(Args)]
pub(crate) struct Add {
    /// Package folder
    folder: PathBuf,
    /// Serving name [default: the name in model.toml without its publisher]
    #[arg(long)]
    name: Option<String>,
    /// Signing key [default: the publisher's own, unless the folder has a statement]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Days until the statement expires
    #[arg(long, default_value_t = 365, value_parser = crate::plugin::days)]
    days: u64,
}

impl Model {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        match self {
            Model::New(new) => new.run(home),
            Model::Sign(sign) => sign.run(home),
            Model::Review(review) => review.run(home),
            Model::Add(add) => runtime()?.block_on(add.run(home)),
            Model::List => list(home),
            Model::Show(show) => show.run(home),
            Model::Label { model, label, version } => {
                let now = SystemTime::now();
                let previous = home.registry()?.set_label(&model, &label, version, now)?;
                note_label(home, &model, &label, version, now)?;
                match previous {
                    Some(previous) => println!("{model}@{label} -> {version} (was {previous})"),
                    None => println!("{model}@{label} -> {version}"),
                }
                Ok(())
            }
            Model::Rollback { model, label } => {
                let now = SystemTime::now();
                let version = home.registry()?.rollback(&model, &label, now)?;
                note_label(home, &model, &label, version, now)?;
                println!("{model}@{label} -> {version}");
                Ok(())
            }
            Model::Inspect(inspect) => inspect.run(home),
            Model::Profile(profile) => profile.run(home),
            Model::Compare(compare) => compare.run(home),
            Model::Remove { model, version } => {
                home.registry()?.remove(&model, version)?;
                println!("removed {model} version {version}");
                Ok(())
            }
        }
    }
}

impl Add {
    async fn run(self, home: &Home) -> anyhow::Result<()> {
        let package = PackageFolder::read(&self.folder)
            .with_context(|| format!("reading {}", self.folder.display()))?;
        let name = self.name.clone().unwrap_or_else(|| serving_name(&package));
        let statement = signed_statement(home, &package, self.key.as_deref(), self.days)?;
        let engine = home.publishing_engine().await?;
        let published = engine.publish_model(&name, &package, &statement).await?;
        println!("published {name} version {}", published.version);
        match published.fixtures {
            0 => println!("fixtures  none; add *.fixture.json so that a broken version is refused"),
            count => println!("fixtures  {count} passed"),
        }
        println!("signed by {}", published.release.signed_by);
        for key in &published.release.reviewed_by {
            println!("reviewed  {key}");
        }
        println!("next      aimass model label {name} stable {}", published.version);
        Ok(())
    }
}

/// Writes down that a label points at a version now.
fn note_label(
    home: &Home,
    model: &str,
    label: &str,
    version: u64,
    now: SystemTime,
) -> anyhow::Result<()> {
    let subject = format!("model {model} version {version}");
    let detail = format!("label {label}");
    Ok(home.markets().note(Event::Released, ("", &subject), &detail, now)?)
}

/// The name that a package is served by unless another is given: its own without the publisher.
pub(crate) fn serving_name(package: &PackageFolder) -> String {
    package.manifest.model.name.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The statement in the folder, or one signed now: with the key at `key`, or the publisher's own.
///
/// # Errors
/// The statement cannot be read, or there is no such key.
pub(crate) fn signed_statement(
    home: &Home,
    package: &PackageFolder,
    key: Option<&Path>,
    days: u64,
) -> anyhow::Result<Vec<u8>> {
    if let (Some(statement), None) = (package.statement()?, key) {
        return Ok(statement);
    }
    sign_now(home, package, key, days)
}

/// A statement signed now, whatever lies in the folder.
fn sign_now(
    home: &Home,
    package: &PackageFolder,
    key: Option<&Path>,
    days: u64,
) -> anyhow::Result<Vec<u8>> {
    let section = &package.manifest.model;
    let name: aimass_trust::PackageName = section.name.parse()?;
    let key = home.load_signing_key(key, name.publisher())?;
    let now = Timestamp::from_system(SystemTime::now());
    let release = ModelRelease {
        name,
        version: section.version.parse()?,
        sequence: u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?,
        not_before: now,
        expires: now.plus_days(days),
    };
    Ok(aimass_trust::sign_model(&release, &package.digests(), &key)?)
}

fn list(home: &Home) -> anyhow::Result<()> {
    let models = home.registry()?.models()?;
    match models.first() {
        Some(first) => eprintln!("how a version came to serve: aimass model show {}", first.name),
        None => println!("no models yet; publish one with `aimass model add FOLDER`"),
    }
    for model in models {
        println!("{}", model.name);
        for version in &model.versions {
            let state = match &version.state {
                VersionState::Ready => "ready".to_owned(),
                VersionState::Pending => "pending".to_owned(),
                VersionState::Failed { reason } => format!("failed: {reason}"),
            };
            let labels = model.labels.iter().filter(|(_, labeled)| **labeled == version.version);
            let labels: Vec<&str> = labels.map(|(label, _)| label.as_str()).collect();
            println!(
                "  {:>4}  {:>9.1} MB  {state}  {}",
                version.version,
                version.bytes as f64 / 1e6,
                labels.join(" ")
            );
        }
    }
    Ok(())
}

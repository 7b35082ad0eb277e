//! `aimass plugin watch`: build, test, sign, publish and reload whenever a file is saved.
//!
//! Files are looked at by their times: that needs no kernel interface, and works on every file system,
//! network mounts included.

mod files;

use super::test::run_cases;
use super::workbench::{Case, Workbench};
use super::{build, manifest, sign, workbench};
use crate::home::{Home, runtime};
use crate::model::{serving_name, signed_statement};
use aimass_engine::{Engine, PackageFolder};
use aimass_trust::{Manifest, SigningKey};
use anyhow::{Context, bail};
use clap::Args;
use files::Watched;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long nothing may change before a round begins, so that a save of many files is one.
const QUIET: Duration = Duration::from_millis(300);
/// Days until a release of a round expires.
const RELEASE_DAYS: u64 = 30;
/// Rounds whose versions stay in the registry: the last one, and the one that may still be served
/// while the last one is being loaded.
const ROUNDS_KEPT: usize = 2;

/// Build, test and publish on every save; a running server reloads.
///
/// Each round publishes a version of its own (`0.1.1-dev.TIME` for `0.1.0`), signed by your key, and then
/// every model folder named with --model, locked to it; a server on the same data folder takes
/// the new version when it is loaded. A round that fails changes nothing: what was published before
/// keeps serving. Versions of earlier rounds are removed.
///
/// Examples: `aimass plugin watch`, `aimass plugin watch . --model ../my-model`
///
/// Next: `aimass infer MODEL` asks what was published last.
#[derive(Args)]
pub(crate) struct Watch {
    /// Project folder
    #[arg(default_value = ".")]
    project: PathBuf,
    /// Package folder of a model that uses the plugin; published after each round (at most 16)
    #[arg(long, value_name = "DIR")]
    model: Vec<PathBuf>,
    /// Signing key [default: the publisher's own in the data folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Cargo's target folder [default: PROJECT/target]
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    /// Cargo profile
    #[arg(long, default_value = "release")]
    profile: String,
    /// One round, without watching; fails if the round does
    #[arg(long)]
    once: bool,
}

/// Models that one watch publishes.
const MODELS_MAX: usize = 16;

impl Watch {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        if self.model.len() > MODELS_MAX {
            bail!("expected at most {MODELS_MAX} models, got {}", self.model.len());
        }
        let publisher = manifest::read(&self.project)?.name.publisher().to_owned();
        let key = home.load_signing_key(self.key.as_deref(), &publisher)?;
        runtime()?.block_on(async {
            let engine = home.publishing_engine().await?;
            let mut rounds = Rounds { watch: &self, home, key, engine, kept: VecDeque::new() };
            if self.once {
                return rounds.round().await;
            }
            rounds.forever().await
        })
    }

    fn watched(&self) -> anyhow::Result<Watched> {
        Watched::of(std::iter::once(&self.project).chain(&self.model))
    }
}

/// What a round published.
struct Published {
    plugin: [u8; 32],
    models: Vec<(String, u64)>,
}

struct Rounds<'a> {
    watch: &'a Watch,
    home: &'a Home,
    key: SigningKey,
    engine: Arc<Engine>,
    /// The last rounds, oldest first.
    kept: VecDeque<Published>,
}

impl Rounds<'_> {
    /// A round now, and one after each change, until the program is stopped.
    async fn forever(&mut self) -> anyhow::Result<()> {
        loop {
            let seen = self.watch.watched()?;
            if let Err(error) = self.round().await {
                eprintln!("failed    {error:#}");
                eprintln!("          nothing was changed; what was published before keeps serving");
            }
            println!("watching  {} files; Ctrl-C ends", seen.len());
            self.wait(seen).await?;
        }
    }

    /// Waits until files are other than they were, and have been quiet for a moment.
    async fn wait(&self, seen: Watched) -> anyhow::Result<()> {
        let mut last = seen.clone();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.watch.watched()?;
            if now == seen {
                continue;
            }
            if now == last {
                return Ok(());
            }
            last = now;
            tokio::time::sleep(QUIET).await;
        }
    }

    /// Builds, tests, signs and publishes once.
    async fn round(&mut self) -> anyhow::Result<()> {
        let started = std::time::Instant::now();
        let Watch { project, target_dir, profile, .. } = self.watch;
        let target = target_dir.clone().unwrap_or_else(|| project.join("target"));
        let built = build::build_project(&build::ProjectBuild {
            project,
            target_dir: &target,
            profile,
            out: None,
            install_toolchain: false,
        })?;
        let component = std::fs::read(&built).with_context(|| built.display().to_string())?;
        self.test(&component).await?;
        let mut manifest = manifest::read(project)?;
        manifest.version = round_version(&manifest)?;
        let component = aimass_trust::embed_manifest(&component, &manifest)?;
        let signed =
            aimass_trust::sign_plugin(&component, &sign::release(RELEASE_DAYS)?, &self.key)?;
        let record = self.engine.publish_plugin(signed.wasm, &signed.dsse).await?;
        println!("published {}@{}", record.name, record.version);
        let mut published = Published { plugin: record.digest, models: Vec::new() };
        for folder in &self.watch.model {
            let model = self.publish_model(folder).await;
            let (name, version) = model.with_context(|| folder.display().to_string())?;
            println!("published {name} version {version}; a running server loads it now");
            published.models.push((name, version));
        }
        self.kept.push_back(published);
        self.tidy();
        println!("done      in {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn test(&self, component: &[u8]) -> anyhow::Result<()> {
        let project = &self.watch.project;
        let package = workbench::sign_for_this_run(project, component)?;
        let files = workbench::folder(&project.join("fixtures/files"))?;
        let cases: Vec<Case> = workbench::read_cases(&project.join("fixtures"))?;
        run_cases(&Workbench::new(package, files, false)?, &cases).await
    }

    async fn publish_model(&self, folder: &Path) -> anyhow::Result<(String, u64)> {
        let package = PackageFolder::read(folder)?;
        let name = serving_name(&package);
        let statement = signed_statement(self.home, &package, None, RELEASE_DAYS)?;
        let published = self.engine.publish_model(&name, &package, &statement).await?;
        Ok((name, published.version))
    }

    /// Removes what rounds before the last two published. What something else uses stays.
    fn tidy(&mut self) {
        while self.kept.len() > ROUNDS_KEPT {
            let Some(old) = self.kept.pop_front() else { return };
            for (name, version) in &old.models {
                if let Err(error) = self.engine.registry().remove(name, *version) {
                    println!("kept      {name} version {version}: {error}");
                }
            }
            if let Err(error) = self.engine.registry().remove_plugin(&old.plugin) {
                println!("kept      a plugin version of an earlier round: {error}");
            }
        }
    }
}

/// A version of its own for this round: after the one in `plugin.toml`, before the one that follows.
fn round_version(manifest: &Manifest) -> anyhow::Result<aimass_trust::Version> {
    let (major, minor, patch) = manifest.version.numbers();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let next = patch.checked_add(1).context("the patch number of plugin.toml has no successor")?;
    Ok(format!("{major}.{minor}.{next}-dev.{now}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounds_version_is_after_the_manifests_and_before_the_next() {
        let text =
            br#"{"name":"acme/hello","version":"1.2.3","world":"aimass:plugin/processor@0.1.0",
            "capabilities":{}}"#;
        let version = round_version(&Manifest::parse(text).unwrap()).unwrap().to_string();
        assert!(version.starts_with("1.2.4-dev.1"), "{version}");
    }
}

//! `aimass plugin install`, `update` and `approve`: releases of marketplaces come to this host.

use crate::home::{Home, runtime};
use crate::market::{hex, release};
use crate::report::Report;
use aimass_engine::{Engine, EngineError, Installed};
use aimass_trust::{PackageName, Version};
use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Install a plugin from a marketplace or a bundle.
///
/// The marketplace is one that this host follows (`aimass trust add`). Everything is checked: metadata, signatures, reviews, the log with its witnesses, revocations, and
/// what the plugin asks for. Nothing of it runs before all of that holds.
///
/// Examples: `aimass plugin install acme/hello`, `aimass plugin install hello.ampkg`
///
/// Next: `aimass plugin list`, and a model.toml that names it.
#[derive(Args)]
pub(crate) struct Install {
    /// `publisher/name`, `publisher/name@version`, or a file `.ampkg`
    what: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Bring installed plugins to their newest allowed version.
///
/// Updates that ask for more than the installed release are held, and shown. Models stay locked to the
/// release that they were published with.
///
/// Example: `aimass plugin update`
///
/// Next: `aimass plugin approve NAME@VERSION` for an update that is held.
#[derive(Args)]
pub(crate) struct Update {
    /// Only this package: `publisher/name`
    name: Option<PackageName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Install an update that asks for more than the installed release.
///
/// What it asks for beyond that is in `aimass plugin list`. trust.toml must allow it, too: approving adds
/// nothing to what the marketplace may bring.
///
/// Example: `aimass plugin approve acme/hello@2.0.0`
///
/// Next: `aimass plugin list`
#[derive(Args)]
pub(crate) struct Approve {
    /// `publisher/name@version`, or a file `.ampkg`
    what: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Install {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let mut report = Report::new(self.json);
        let installed = with_engine(home, |engine| install(engine, &self.what, false))?;
        match installed {
            Some(installed) => show(&installed, &mut report),
            None => {
                report.line("installed", format!("{} already: nothing newer is listed", self.what));
                report.field("installed", serde_json::Value::Null);
                report.next("aimass plugin list");
            }
        }
        report.print();
        Ok(())
    }
}

impl Approve {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let mut report = Report::new(self.json);
        if !is_bundle(&self.what)? {
            release(&self.what)?;
        }
        let installed = with_engine(home, |engine| install(engine, &self.what, true))?;
        let installed = installed.context("nothing was installed")?;
        report.line("approved", format!("that {} asks for more", self.what));
        show(&installed, &mut report);
        report.print();
        Ok(())
    }
}

impl Update {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let mut report = Report::new(self.json);
        let (mut updated, mut failed) = (Vec::new(), Vec::new());
        with_engine(home, |engine| {
            for (name, held) in installed_names(home, self.name.as_ref())? {
                if held {
                    report.line(
                        "held",
                        format!(
                            "{name}  by this host; `aimass plugin hold --release` lets it go on"
                        ),
                    );
                    continue;
                }
                match engine.install((&name, None), false, SystemTime::now()) {
                    Ok(Some(installed)) => {
                        show(&installed, &mut report);
                        updated.push(format!("{name}@{}", installed.record.version));
                    }
                    Ok(None) => report.line("unchanged", name.to_string()),
                    Err(error) => {
                        report.line("refused", format!("{name}  {error}"));
                        failed.push(json!({ "name": name.to_string(), "code": error.code(), "error": error.to_string() }));
                    }
                }
            }
            Ok(())
        })?;
        report.field("updated", updated);
        report.field("refused", failed);
        report.print();
        Ok(())
    }
}

/// Packages that marketplaces brought, and whether the operator holds each.
fn installed_names(
    home: &Home,
    only: Option<&PackageName>,
) -> anyhow::Result<Vec<(PackageName, bool)>> {
    let (policy, markets) = (home.read_trust()?, home.markets());
    let mut names = std::collections::BTreeMap::new();
    for market in policy.subscriptions() {
        let held = markets.held(&market.name)?;
        for record in markets.admitted(&market.name)? {
            let by_host = held.get(&record.name).is_some_and(|held| held.version.is_empty());
            let held = market.holds(&record.name) || by_host;
            names.insert(record.name, held);
        }
    }
    Ok(names.into_iter().filter(|(name, _)| only.is_none_or(|only| only == name)).collect())
}

/// Whether a bundle is named, which is there then.
fn is_bundle(what: &str) -> anyhow::Result<bool> {
    let bundle = what.ends_with(".ampkg");
    ensure!(
        !bundle || Path::new(what).exists(),
        "{what}: expected a bundle, got no such file. Remedy: `aimass market bundle NAME@VERSION --out FILE` \
         writes one; without a file, name the package as publisher/name"
    );
    Ok(bundle)
}

fn install(engine: &Engine, what: &str, approved: bool) -> anyhow::Result<Option<Installed>> {
    let now = SystemTime::now();
    if is_bundle(what)? {
        let bytes = read_bundle(what)?;
        return Ok(Some(engine.install_bundle(&bytes, approved, now)?));
    }
    let (name, version): (PackageName, Option<Version>) = match what.contains('@') {
        true => release(what).map(|(name, version)| (name, Some(version)))?,
        false => (what.parse()?, None),
    };
    let installed: Result<_, EngineError> =
        engine.install((&name, version.as_ref()), approved, now);
    Ok(installed?)
}

/// A bundle, of which not more is read than one may have.
pub(super) fn read_bundle(path: &str) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;
    let file = std::fs::File::open(path).with_context(|| path.to_owned())?;
    let mut bytes = Vec::new();
    file.take(aimass_trust::BUNDLE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| path.to_owned())?;
    Ok(bytes)
}

fn show(installed: &Installed, report: &mut Report) {
    let record = &installed.record;
    let (release, sha256) = (format!("{}@{}", record.name, record.version), hex(&record.digest));
    report.line(
        "installed",
        format!("{release}  from {}, log index {}", installed.market, installed.log_index),
    );
    report.line("sha256", sha256.clone());
    report.field(
        "installed",
        json!({ "release": release, "sha256": sha256, "market": installed.market,
                "log_index": installed.log_index }),
    );
    report.next("aimass plugin list");
}

/// Runs `work` with an engine that publishes, on a thread that may block.
fn with_engine<T>(
    home: &Home,
    work: impl FnOnce(&Engine) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let engine: Arc<Engine> = runtime.block_on(home.publishing_engine())?;
    work(&engine)
}

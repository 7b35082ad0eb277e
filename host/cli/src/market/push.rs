//! `aimass market push`: what the marketplace shows, in a repository of an OCI registry.

use super::At;
use crate::report::Report;
use aimass_market::desk::Desk;
use aimass_market::mirror::FetchLimits;
use aimass_market::oci::{self, Credentials, Location, Pushed};
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

/// Push what the marketplace shows to OCI registries.
///
/// What is there already is not sent again, and the tag `market` is moved last: clients see the state of
/// before or this one. User and password are those of `docker login`. HTTPS, but for loopback addresses;
/// `oci+http://` speaks plain HTTP elsewhere, without credentials. `docs/security/trust-format.md` says
/// what lies where.
///
/// Example: `aimass market push oci://ghcr.io/acme/market`
///
/// Next: operators run `aimass trust add NAME LOCATION`.
#[derive(Args)]
pub(crate) struct Push {
    #[command(flatten)]
    at: At,
    /// Where to besides `push` in market.toml: `oci://host[:port]/repository[?also=host,…]`
    #[arg(value_name = "LOCATION")]
    to: Vec<String>,
}

impl Push {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let _lock = desk.lock()?;
        let mut report = Report::new(self.at.json);
        let to = locations(&desk, &self.to);
        let first = to.first().context(
            "say where to: `aimass market push oci://host/repository`, or `push = [\"oci://…\"]` in \
             market.toml",
        )?;
        push_all(&desk, &self.to, &mut report)?;
        report.next(format!("aimass trust add NAME {first}"));
        report.print();
        Ok(())
    }
}

/// The locations of market.toml, then `more` that are not among them.
fn locations(desk: &Desk, more: &[String]) -> Vec<String> {
    let mut all = desk.config().push.clone();
    for location in more {
        if !all.contains(location) {
            all.push(location.clone());
        }
    }
    all
}

/// Pushes to the locations of market.toml and to `more`, while the caller holds the desk's lock. A
/// marketplace without a root yet has nothing to push.
///
/// # Errors
/// The first that failed, after all were tried; the others have the new state.
pub(super) fn push_all(desk: &Desk, more: &[String], report: &mut Report) -> anyhow::Result<()> {
    let to = locations(desk, more);
    if to.is_empty() || desk.fingerprint()?.is_none() {
        return Ok(());
    }
    let mut failed = None;
    let mut all = Vec::new();
    for text in &to {
        let pushed = match push(desk, text) {
            Ok(pushed) => pushed,
            Err(error) => {
                let error = error.context(format!(
                    "published here, but not pushed to {text}; try `aimass market push` again"
                ));
                failed = failed.or(Some(error));
                continue;
            }
        };
        let news = match pushed.changed {
            true => format!("{} blobs, {} bytes", pushed.blobs, pushed.bytes),
            false => "nothing new".to_owned(),
        };
        report.line("pushed", format!("{text}  {news}"));
        for release in &pushed.releases {
            report.line("", format!("{release}  now there"));
        }
        all.push(json!({
            "location": text,
            "files": pushed.files,
            "releases": pushed.releases,
            "blobs": pushed.blobs,
            "bytes": pushed.bytes,
            "changed": pushed.changed,
        }));
    }
    report.field("pushed", Value::from(all));
    failed.map_or(Ok(()), Err)
}

fn push(desk: &Desk, location: &str) -> anyhow::Result<Pushed> {
    let location = Location::parse(location)?;
    let credentials = Credentials::of_environment(location.authority())?;
    Ok(oci::push(desk, &location, credentials, FetchLimits::default())?)
}

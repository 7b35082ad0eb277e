//! `aimass market push`: what the marketplace shows, in a repository of an OCI registry.

use super::At;
use crate::report::Report;
use aimass_market::desk::Desk;
use aimass_market::mirror::FetchLimits;
use aimass_market::oci::{self, Credentials, Location};
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
#[derive(Args)]
pub(crate) struct Push {
    #[command(flatten)]
    at: At,
    /// Where to: `oci://host[:port]/repository[?also=host,…]`; repeat for more
    #[arg(required = true, value_name = "LOCATION")]
    to: Vec<String>,
}

impl Push {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let _lock = desk.lock()?;
        let mut report = Report::new(self.at.json);
        push_all(&desk, &self.to, &mut report)?;
        report.next(format!("aimass trust add NAME {}", self.to[0]));
        report.print();
        Ok(())
    }
}

/// Pushes to every location, while the caller holds the desk's lock.
///
/// # Errors
/// The first that failed; those before it have the new state.
pub(super) fn push_all(desk: &Desk, to: &[String], report: &mut Report) -> anyhow::Result<()> {
    if to.is_empty() {
        return Ok(());
    }
    let mut all = Vec::new();
    for text in to {
        let location = Location::parse(text)?;
        let credentials = Credentials::of_environment(location.authority())?;
        let pushed = oci::push(desk, &location, credentials, FetchLimits::default())?;
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
    Ok(())
}

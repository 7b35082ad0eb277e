//! `aimass plugin verify`: a plugin or a bundle as this host would judge it.

use super::install::read_bundle;
use super::publish::read;
use crate::home::Home;
use crate::market::hex;
use crate::report::Report;
use aimass_trust::{Timestamp, TrustPolicy, VerifiedPackage};
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Check a signed plugin or a bundle; nothing is installed.
///
/// A plugin is judged by this host's trust policy, a bundle by the marketplaces that it follows. Exit codes 20 to 33 name the step that failed, as docs/security/trust-format.md lists them.
///
/// Examples: `aimass plugin verify hello.wasm`, `aimass plugin verify --offline hello.ampkg`
///
/// Next: `aimass plugin publish hello.wasm`, or `aimass plugin install hello.ampkg`.
#[derive(Args)]
pub(crate) struct Verify {
    /// Signed component, with its statement beside it; or a bundle with --offline
    file: PathBuf,
    /// Name that it must have: `acme/hello`
    #[arg(long)]
    name: Option<String>,
    /// The file is a bundle (`.ampkg`): check its whole chain without a network
    #[arg(long)]
    offline: bool,
    /// Judge by this time instead of the clock, to rehearse an expiry: `2026-11-20T10:00:00Z`
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let policy = home.read_trust()?;
        let now = match self.at {
            Some(at) => UNIX_EPOCH + Duration::from_secs(at.as_unix()),
            None => SystemTime::now(),
        };
        let mut report = Report::new(self.json);
        let package = match self.offline {
            true => self.bundle(home, &policy, now, &mut report)?,
            false => {
                let (wasm, dsse) = read(&self.file)?;
                policy.verify_plugin(wasm, &dsse, self.name.as_deref(), now)?
            }
        };
        let release = format!("{}@{}", package.name(), package.version());
        if self.name.as_ref().is_some_and(|name| name != package.name().as_str()) {
            bail!("expected a release of {}, got {release}", self.name.unwrap_or_default());
        }
        report.line("accepted", release.clone());
        report.line("publisher", package.publisher());
        report.line("sha256", hex(package.digest()));
        report.field("release", release);
        report.field("sha256", hex(package.digest()));
        let verb = if self.offline { "install" } else { "publish" };
        report.next(format!("aimass plugin {verb} {}", self.file.display()));
        report.print();
        Ok(())
    }

    fn bundle(
        &self,
        home: &Home,
        policy: &TrustPolicy,
        now: SystemTime,
        report: &mut Report,
    ) -> anyhow::Result<VerifiedPackage> {
        let bytes = read_bundle(&self.file.display().to_string())?;
        let markets = home.markets();
        let mut last = None;
        for market in policy.subscriptions() {
            match markets.inspect_bundle(policy, market, &bytes, now) {
                Ok(admitted) => {
                    report.line("market", market.name.clone());
                    report.line("log index", admitted.log_index().to_string());
                    for key in admitted.signers() {
                        report.line("signed by", key.to_string());
                    }
                    report.field("market", market.name.clone());
                    report.field("log_index", admitted.log_index());
                    return Ok(admitted.package().clone());
                }
                Err(error) => last = Some(error),
            }
        }
        let error =
            last.context("this host follows no marketplace; `aimass trust add` names one")?;
        Err(error.into())
    }
}

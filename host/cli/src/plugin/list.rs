//! `aimass plugin list` and `hold`: what this host has, and what stays as it is.

use crate::home::Home;
use crate::market::hex;
use crate::report::Report;
use aimass_market::host::HeldUpdate;
use aimass_trust::{PackageName, Timestamp};
use anyhow::bail;
use clap::Args;
use serde_json::json;
use std::time::SystemTime;

/// List installed plugins, and updates that wait.
///
/// Each stands with where it came from and whether it may be loaded now, by trust.toml as it is.
///
/// Example: `aimass plugin list`
///
/// Next: `aimass plugin update`, or `aimass plugin approve NAME@VERSION` for what is held.
#[derive(Args)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Keep a plugin as it is, or let its updates go on.
///
/// It is not updated until it is let go with --release. A revocation stops it all the same.
///
/// Examples: `aimass plugin hold acme/hello`, `aimass plugin hold acme/hello --release`
///
/// Next: `aimass plugin list`
#[derive(Args)]
pub(crate) struct Hold {
    /// `publisher/name`
    name: PackageName,
    /// Let updates go on
    #[arg(long)]
    release: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let (policy, markets, registry) = (home.read_trust()?, home.markets(), home.registry()?);
        let mut report = Report::new(self.json);
        let mut all = Vec::new();
        for record in registry.list_plugins()? {
            let package = registry.read_plugin(&record.digest)?;
            let files = (&record.digest, &package.wasm[..], &package.dsse[..]);
            let judged = markets.verify_load(&policy, files, SystemTime::now());
            let (from, state, code) = match judged {
                None => ("this host".to_owned(), "direct trust".to_owned(), None),
                Some(judged) => {
                    let found = policy.subscriptions().iter().find(|market| {
                        matches!(markets.admitted_as(&market.name, &record.digest), Ok(Some(_)))
                    });
                    let from = found.map_or_else(String::new, |market| market.name.clone());
                    match judged {
                        Ok(_) => (from, "good".to_owned(), None),
                        Err(error) => (from, error.to_string(), Some(error.code())),
                    }
                }
            };
            let release = format!("{}@{}", record.name, record.version);
            report.line(&release, format!("{from}  {state}"));
            all.push(json!({ "release": release, "sha256": hex(&record.digest), "from": from,
                             "good": code.is_none(), "code": code, "state": state }));
        }
        if all.is_empty() {
            report.line("plugins", "none");
            report.next("aimass plugin publish FILE");
            report.next(match policy.subscriptions().is_empty() {
                true => "aimass trust add NAME https://MARKETPLACE",
                false => "aimass plugin install PUBLISHER/NAME",
            });
        }
        report.field("plugins", all);
        let mut waiting = Vec::new();
        for market in policy.subscriptions() {
            for (name, held) in markets.held(&market.name)? {
                report.line("held", format!("{name} {}  {}", held.version, held.reason));
                if !held.version.is_empty() {
                    report.next(format!("aimass plugin approve {name}@{}", held.version));
                }
                waiting.push(json!({ "name": name.to_string(), "version": held.version, "reason": held.reason }));
            }
        }
        report.field("held", waiting);
        report.print();
        Ok(())
    }
}

impl Hold {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let (policy, markets) = (home.read_trust()?, home.markets());
        let mut of = Vec::new();
        for market in policy.subscriptions() {
            let known = markets.admitted(&market.name)?;
            if known.iter().any(|record| record.name == self.name) {
                of.push(market.name.clone());
            }
        }
        if of.is_empty() {
            bail!("{} came from no marketplace; `aimass plugin list` shows what did", self.name);
        }
        for market in &of {
            let since = Timestamp::from_system(SystemTime::now());
            let reason = "held by `aimass plugin hold`".to_owned();
            let held = HeldUpdate { version: String::new(), reason, since };
            markets.set_held(market, &self.name, (!self.release).then_some(held))?;
        }
        let mut report = Report::new(self.json);
        let done = if self.release { "released" } else { "held" };
        report.line(done, format!("{}  of {}", self.name, of.join(", ")));
        report.field("name", self.name.to_string());
        report.field("held", !self.release);
        report.next("aimass plugin list");
        report.print();
        Ok(())
    }
}

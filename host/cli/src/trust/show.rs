//! `aimass trust show`: whom this host trusts, and how fresh that is.

use crate::home::Home;
use crate::report::Report;
use clap::Args;
use serde_json::json;
use std::time::SystemTime;

/// Show publishers and marketplaces that this host trusts, and how fresh it is.
///
/// Of each marketplace: where it is read from, until when its metadata counts, what was admitted, and
/// what it may bring.
///
/// Example: `aimass trust show`
///
/// Next: `aimass trust policy PUBLISHER/NAME` explains what holds for one package.
#[derive(Args)]
pub(crate) struct Show {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let policy = home.read_trust()?;
        let (markets, now) = (home.markets(), SystemTime::now());
        let mut report = Report::new(self.json);
        let local: Vec<&str> = policy.local_publishers().collect();
        for name in policy.publishers() {
            let where_ = if local.contains(&name) { "on loopback only" } else { "everywhere" };
            report.line("publisher", format!("{name}  directly, {where_}"));
        }
        report.field("publishers", policy.publishers().collect::<Vec<_>>());
        let mut all = Vec::new();
        for market in policy.subscriptions() {
            let known = markets.known(market, None, now);
            let behind = known.as_ref().ok().map(|current| current.time().clock_is_behind);
            let state = match known.map(|current| current.stale()) {
                Ok(false) => "fresh".to_owned(),
                Ok(true) => "stale: its metadata has expired".to_owned(),
                Err(_) if markets.expires(&market.name).is_none() => {
                    "not asked yet: the first installation fetches its metadata".to_owned()
                }
                Err(error) => format!("unknown: {error}"),
            };
            let admitted = markets.admitted(&market.name)?.len();
            let held = markets.held(&market.name)?;
            report.line("marketplace", format!("{}  {}", market.name, market.locations.join(", ")));
            report.line("  state", state.clone());
            if behind == Some(true) {
                let remedy = "set it: until then the time that was proved counts";
                report.line(
                    "  clock",
                    format!("of this machine is behind what was proved; {remedy}"),
                );
            }
            report.line("  admitted", format!("{admitted} releases, {} updates held", held.len()));
            for entry in &market.allow {
                let may: Vec<&str> =
                    entry.bounds.capabilities.iter().map(|it| it.as_str()).collect();
                report.line("  allows", format!("{}  {}", entry.names.join(", "), may.join(", ")));
            }
            let expires = markets.expires(&market.name).map(|at| at.to_string());
            all.push(json!({ "name": market.name, "locations": market.locations, "state": state,
                             "admitted": admitted, "held": held.len(), "expires": expires,
                             "auto_update": market.auto_update, "clock_is_behind": behind }));
        }
        report.field("markets", all);
        if policy.subscriptions().is_empty() {
            report.next("aimass trust add NAME https://MARKETPLACE");
        } else {
            report.next("aimass plugin list");
        }
        report.print();
        Ok(())
    }
}

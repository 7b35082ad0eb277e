//! `aimass market delegate`: who may publish.

use super::signers::{check_threshold, collected, report_dropped};
use super::{At, SignWith, finish, now, public_keys};
use crate::home::Home;
use crate::key::publisher_name;
use crate::report::Report;
use aimass_market::desk;
use aimass_trust::publishing::drafts::RoleKeys;
use aimass_trust::{Capability, Limits, MarketBounds};
use anyhow::{Context, bail};
use clap::Args;

/// Let a publisher publish, change its keys and bounds, or let it go.
///
/// Drafts the marketplace's targets; their key holders sign, then `aimass market publish`. Without
/// --capability its packages may ask for nothing. A reviewer's key is refused: whoever publishes does not
/// review.
///
/// Example: `aimass market delegate acme --key ed25519:… --capability tensor --capability log`
///
/// Next: `aimass market sign market/drafts/targets.json --key FILE`, then `aimass market publish`.
#[derive(Args)]
pub(crate) struct Delegate {
    #[command(flatten)]
    at: At,
    /// Publisher's name: 2 to 40 of a-z, 0-9 and `-`
    publisher: String,
    /// Release key of the publisher: `ed25519:…` or a key file; repeat for each
    #[arg(long, value_name = "KEY", required_unless_present = "remove")]
    key: Vec<String>,
    /// How many of them must sign a list of releases
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: u64,
    /// Interface that its plugins may import; repeat for each
    #[arg(long, value_name = "NAME")]
    capability: Vec<Capability>,
    /// Model that its plugins may call, exact or with one star at the end; repeat for each
    #[arg(long, value_name = "PATTERN")]
    model: Vec<String>,
    /// The most of an amount, such as `wallMsMax=2000`; repeat for each
    #[arg(long, value_name = "NAME=NUMBER")]
    limit: Vec<String>,
    /// Let the publisher go: nothing of it is installed or loaded anymore
    #[arg(long, conflicts_with_all = ["key", "capability", "model", "limit"])]
    remove: bool,
    #[command(flatten)]
    with: SignWith,
}

impl Delegate {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let _lock = desk.lock()?;
        let mut report = Report::new(self.at.json);
        let dropped = collected(&desk, "targets")?;
        report.field("publisher", self.publisher.clone());
        if self.remove {
            desk.draft_removal(&self.publisher, now()?)?;
            report.line("drafted", format!("targets without {}", self.publisher));
        } else {
            let bounds = MarketBounds {
                capabilities: self.capability,
                limits: limits(&self.limit)?,
                models: self.model,
            };
            publisher_name(&self.publisher)?;
            let keys = RoleKeys { keys: public_keys(&self.key)?, threshold: self.threshold };
            check_threshold("--threshold", keys.threshold, keys.keys.len())?;
            let reviewers = desk.targets()?.review.keys;
            if let Some(key) = keys.keys.iter().find(|key| reviewers.contains(key)) {
                bail!(
                    "--key: expected a key of the publisher, got {key}, which is a reviewer's: nobody reviews \
                     their own release. Remedy: the publisher makes one with `aimass key new publisher {}`",
                    self.publisher
                );
            }
            let name = self.publisher.clone();
            desk.draft_delegation(desk::Delegate { name, keys, bounds }, now()?)?;
            report.line("drafted", format!("targets that delegate {}/* to it", self.publisher));
        }
        report_dropped(dropped, "targets", &mut report);
        finish(home, &desk, &self.with, &mut report)?;
        if self.with.publish && !self.remove {
            report.next(format!("{}: aimass plugin submit FILE --to LOCATION", self.publisher));
        }
        report.print();
        Ok(())
    }
}

/// Limits from `name=number`, named as in manifests.
pub(crate) fn limits(texts: &[String]) -> anyhow::Result<Limits> {
    let mut object = serde_json::Map::new();
    for text in texts {
        let Some((name, number)) = text.split_once('=') else {
            bail!("--limit: expected NAME=NUMBER such as wallMsMax=2000, got {text}");
        };
        let number: u64 = number.parse().with_context(|| format!("--limit {text}"))?;
        object.insert(name.to_owned(), number.into());
    }
    let names = Limits::default().named().map(|(name, _)| name).join(", ");
    serde_json::from_value(object.into())
        .with_context(|| format!("--limit: the amounts are {names}"))
}

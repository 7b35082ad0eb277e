//! `aimass trust policy`: is trust.toml right, and what does it say of a package.

use crate::home::Home;
use crate::report::Report;
use aimass_trust::{LogPolicy, NoteKey, NoteKeyKind, PackageName, SigningKey};
use clap::Args;

/// Check trust.toml, and explain what holds for a package.
///
/// The file is read again for every load: an edit counts at once.
///
/// Example: `aimass trust policy acme/hello`
///
/// Next: `aimass plugin install acme/hello`, or an edit of trust.toml in the data folder.
#[derive(Args)]
pub(crate) struct Policy {
    /// Package to explain: `publisher/name`
    package: Option<PackageName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Policy {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let policy = home.read_trust()?;
        let mut report = Report::new(self.json);
        report.line("policy", format!("{}  is sound", home.trust_policy().display()));
        report.field("file", home.trust_policy().display().to_string());
        let Some(package) = &self.package else {
            let (direct, markets) = (policy.publishers().count(), policy.subscriptions().len());
            report.line("trusts", format!("{direct} publishers directly, {markets} marketplaces"));
            report.print();
            return Ok(());
        };
        let direct = policy.publishers().any(|name| name == package.publisher());
        report.line("directly", if direct { "its publisher is listed" } else { "no" });
        report.field("direct", direct);
        // What a marketplace allows does not depend on its log; the rule only wants one.
        let key = SigningKey::generate()?.public();
        let log = NoteKey::new("any", NoteKeyKind::Log, key)?;
        let log = LogPolicy::parse(&format!("log {log}\nquorum none\n"))?;
        let mut from = Vec::new();
        for market in policy.subscriptions() {
            match policy.market_policy(market, package, log.clone()) {
                Ok(allowed) => {
                    let may = allowed.bounds.capabilities.iter().map(|it| it.as_str());
                    let may = may.collect::<Vec<_>>().join(", ");
                    let held = if market.holds(package) { "; held" } else { "" };
                    report.line(
                        &market.name,
                        format!("may bring it, asking for at most {may}{held}"),
                    );
                    from.push(market.name.clone());
                }
                Err(refusal) => report.line(&market.name, refusal.to_string()),
            }
        }
        report.field("markets", from);
        report.print();
        Ok(())
    }
}

//! `aimass trust add`: a marketplace to follow.

use crate::home::Home;
use crate::market::{hex, limits};
use crate::report::Report;
use aimass_market::host::FirstTrust;
use aimass_market::mirror::{self, FetchLimits};
use aimass_trust::publishing::drafts::read_root;
use aimass_trust::{Capability, TrustPolicy};
use anyhow::{Context, bail};
use clap::Args;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::SystemTime;

/// Follow a marketplace.
///
/// The first call shows the fingerprint of the marketplace's first root and log policy, and its root
/// keys. Compare the fingerprint with what the marketplace's people published elsewhere (their page,
/// print, a call), then give it with --fingerprint. Nothing is trusted before that.
///
/// Example: `aimass trust add shop https://market.example.org --fingerprint 3b1f… --allow 'acme/*'
///   --capability tensor --capability log`
#[derive(Args)]
pub(crate) struct Add {
    /// This host's name for it: 2 to 40 of a-z, 0-9 and `-`
    name: String,
    /// Where it is served: `https://…`, `http://…`, `oci://host/repository` or a folder; mirrors may follow
    #[arg(required = true)]
    locations: Vec<String>,
    /// Its fingerprint, as you compared it
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Packages that may come from it, exact or with one star at the end; repeat for more
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
    /// Interface that they may import; repeat for more
    #[arg(long, value_name = "NAME")]
    capability: Vec<Capability>,
    /// Model that they may call; repeat for more
    #[arg(long, value_name = "PATTERN")]
    model: Vec<String>,
    /// The most of an amount, such as `wallMsMax=2000`; repeat for more
    #[arg(long, value_name = "NAME=NUMBER")]
    limit: Vec<String>,
    /// Let a server update what is installed to the newest allowed version by itself
    #[arg(long)]
    auto_update: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Add {
    pub(crate) fn run(mut self, home: &Home) -> anyhow::Result<()> {
        self.whole_locations()?;
        let first = self.fetch()?;
        let seen = hex(&first.fingerprint);
        let mut report = Report::new(self.json);
        report.field("fingerprint", seen.clone());
        let Some(given) = &self.fingerprint else {
            let (_, root) = read_root(&first.root)?;
            report.line("fingerprint", format!("{seen}  NOT trusted yet"));
            report
                .line("root", format!("{} of {} keys", root.root.threshold, root.root.keys.len()));
            for key in &root.root.keys {
                report.line("root key", key.to_string());
            }
            report.field("trusted", false);
            report.line("compare", "the fingerprint with what the marketplace published elsewhere");
            let locations = self.locations.join(" ");
            report.next(format!(
                "aimass trust add {} {locations} --fingerprint {seen} --allow 'PUBLISHER/*'",
                self.name
            ));
            report.print();
            return Ok(());
        };
        if *given != seen {
            bail!(
                "{}: expected the fingerprint {given}, got {seen}. Remedy: do not trust it; ask the \
                 marketplace's people which is theirs",
                self.locations[0]
            );
        }
        let policy = home.read_trust()?;
        if !policy.subscriptions().iter().any(|market| market.name == self.name) {
            append(home, &self.entry(&seen)?)?;
        }
        home.markets().trust(&self.name, &first, SystemTime::now())?;
        report.line("following", format!("{}  in {}", self.name, home.trust_policy().display()));
        if self.allow.is_empty() {
            report.line("allowed", "nothing yet: add [[market.allow]] to trust.toml");
        }
        report.field("trusted", true);
        report.next("aimass plugin install PUBLISHER/NAME");
        report.print();
        Ok(())
    }

    /// Folders as whole paths, since a server may run elsewhere.
    fn whole_locations(&mut self) -> anyhow::Result<()> {
        for location in self.locations.iter_mut().filter(|one| !one.contains("://")) {
            let path = std::fs::canonicalize(&*location).with_context(|| location.clone())?;
            *location = path.display().to_string();
        }
        Ok(())
    }

    /// From the first location that answers.
    fn fetch(&self) -> anyhow::Result<FirstTrust> {
        let mut last = None;
        for location in &self.locations {
            let fetched = mirror::open(location, FetchLimits::default())
                .and_then(|mut mirror| FirstTrust::fetch(&mut *mirror));
            match fetched {
                Ok(first) => return Ok(first),
                Err(error) => last = Some(error),
            }
        }
        last.map_or_else(|| bail!("name a location"), |error| Err(error.into()))
    }

    /// The entry of trust.toml.
    fn entry(&self, fingerprint: &str) -> anyhow::Result<String> {
        let list = |all: &[String]| toml::Value::from(all.to_vec()).to_string();
        let update = if self.auto_update { "auto" } else { "manual" };
        let mut text = format!(
            "\n[[market]]\nname = \"{}\"\nlocations = {}\nfingerprint = \"{fingerprint}\"\nupdate = \"{update}\"\n",
            self.name,
            list(&self.locations)
        );
        if !self.allow.is_empty() {
            let capabilities: Vec<String> =
                self.capability.iter().map(|one| one.as_str().to_owned()).collect();
            let amounts = limits(&self.limit)?.named().into_iter();
            let amounts: Vec<String> = amounts
                .filter_map(|(name, amount)| Some(format!("{} = {}", snake(name), amount?)))
                .collect();
            write!(
                text,
                "[[market.allow]]\nnames = {}\ncapabilities = {}\nmodels = {}\nlimits = {{ {} }}\n",
                list(&self.allow),
                list(&capabilities),
                list(&self.model),
                amounts.join(", ")
            )?;
        }
        Ok(text)
    }
}

/// `wallMsMax` as trust.toml writes it: `wall_ms_max`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for one in name.chars() {
        if one.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(one.to_ascii_lowercase());
    }
    text
}

/// Adds an entry to trust.toml, if the whole is then still a policy.
fn append(home: &Home, entry: &str) -> anyhow::Result<()> {
    let path = home.trust_policy();
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    TrustPolicy::parse(&format!("{text}{entry}"))?;
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    file.write_all(entry.as_bytes()).with_context(|| path.display().to_string())
}

//! `aimass trust add`: a marketplace to follow.

use crate::home::Home;
use crate::market::{hex, limits};
use crate::report::Report;
use aimass_market::host::FirstTrust;
use aimass_market::mirror::{self, FetchLimits};
use aimass_trust::publishing::drafts::read_root;
use aimass_trust::{Capability, Subscription, TrustPolicy};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::SystemTime;

/// Follow a marketplace: compare its fingerprint, and say what it may bring.
///
/// The first call shows the fingerprint of the marketplace's first root and log policy, and its root
/// keys. Compare the fingerprint with what the marketplace's people published elsewhere (their page,
/// print, a call), then give it with --fingerprint. Nothing is trusted before that. What a marketplace
/// that is followed already may bring is changed in trust.toml.
///
/// Example: `aimass trust add shop https://market.example.org --fingerprint 3b1f… --allow 'acme/*'
/// --capability tensor --capability log`
///
/// Next: `aimass plugin install PUBLISHER/NAME`
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
    #[arg(long, value_name = "NAME", requires = "allow")]
    capability: Vec<Capability>,
    /// Model that they may call; repeat for more
    #[arg(long, value_name = "PATTERN", requires = "allow")]
    model: Vec<String>,
    /// The most of an amount, such as `wallMsMax=2000`; repeat for more
    #[arg(long, value_name = "NAME=NUMBER", requires = "allow")]
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
        let policy = home.read_trust()?;
        let first = self.fetch()?;
        let seen = hex(&first.fingerprint);
        if let Some(given) = self.fingerprint.as_ref().filter(|given| **given != seen) {
            bail!(
                "{}: expected the fingerprint {given}, got {seen}. Remedy: do not trust it; ask the \
                 marketplace's people which is theirs",
                self.locations[0]
            );
        }
        let mut report = Report::new(self.json);
        report.field("fingerprint", seen.clone());
        match policy.subscriptions().iter().find(|market| market.name == self.name) {
            Some(known) => self.follow_again(home, known, &first, &mut report)?,
            None if self.fingerprint.is_none() => self.compare(&first, &mut report)?,
            None => {
                append(home, &self.entry(&seen)?)?;
                self.follow(home, &first, &mut report)?;
            }
        }
        report.print();
        Ok(())
    }

    /// Shows what people must compare before anything is trusted.
    fn compare(&self, first: &FirstTrust, report: &mut Report) -> anyhow::Result<()> {
        let seen = hex(&first.fingerprint);
        let (_, root) = read_root(&first.root)?;
        report.line("fingerprint", format!("{seen}  NOT trusted yet"));
        report.line("root", format!("{} of {} keys", root.root.threshold, root.root.keys.len()));
        for key in &root.root.keys {
            report.line("root key", key.to_string());
        }
        report.field("trusted", false);
        report.line("compare", "the fingerprint with what the marketplace published elsewhere");
        let locations = self.locations.join(" ");
        let mut next = format!("aimass trust add {} {locations} --fingerprint {seen}", self.name);
        match self.allow.is_empty() {
            true => next.push_str(" --allow 'PUBLISHER/*' --capability NAME"),
            false => {
                for pattern in &self.allow {
                    write!(next, " --allow '{pattern}'")?;
                }
                for one in &self.capability {
                    write!(next, " --capability {}", one.as_str())?;
                }
                for pattern in &self.model {
                    write!(next, " --model '{pattern}'")?;
                }
                for limit in &self.limit {
                    write!(next, " --limit {limit}")?;
                }
            }
        }
        if self.auto_update {
            next.push_str(" --auto-update");
        }
        report.next(next);
        Ok(())
    }

    /// Keeps the first root and log policy, now that trust.toml names their fingerprint.
    fn follow(&self, home: &Home, first: &FirstTrust, report: &mut Report) -> anyhow::Result<()> {
        home.markets().trust(&self.name, first, SystemTime::now())?;
        report.line("following", format!("{}  in {}", self.name, home.trust_policy().display()));
        if self.allow.is_empty() {
            report.line("allowed", "nothing yet: add [[market.allow]] to trust.toml");
        } else if self.capability.is_empty() {
            let why = "nothing: without `capabilities` in trust.toml its packages may ask for none";
            report.line("may import", why);
        }
        report.field("trusted", true);
        report.field("changed", true);
        report.next("aimass plugin install PUBLISHER/NAME");
        Ok(())
    }

    /// A marketplace that trust.toml names already: nothing of its entry is changed here.
    fn follow_again(
        &self,
        home: &Home,
        known: &Subscription,
        first: &FirstTrust,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (file, name, seen) = (home.trust_policy(), &self.name, hex(&first.fingerprint));
        let file = file.display();
        if known.fingerprint != first.fingerprint {
            bail!(
                "{name}: expected the marketplace of the fingerprint {}, which {file} names, got {seen}. Remedy: \
                 follow another marketplace by another name",
                hex(&known.fingerprint)
            );
        }
        let asked = TrustPolicy::parse(&self.entry(&seen)?)?;
        let same = asked.subscriptions().iter().all(|asked| {
            asked.locations == known.locations
                && (self.allow.is_empty() || asked.allow == known.allow)
                && (!self.auto_update || known.auto_update)
        });
        if !same {
            bail!(
                "{name} is followed already, and nothing was changed: expected its entry of before, got other \
                 locations, --allow, --capability, --model, --limit or --auto-update. Remedy: edit the [[market]] \
                 of {name} in {file}: `locations`, `update = \"auto\"`, and below it [[market.allow]] with `names`, \
                 `capabilities`, `models` and `limits`; `aimass trust policy` checks the file"
            );
        }
        // The entry may have been written by hand, or an earlier call may have ended in between.
        let kept = home.dir().join("markets").join(name).join("root.json");
        if !kept.exists() {
            if self.fingerprint.is_none() {
                return self.compare(first, report);
            }
            return self.follow(home, first, report);
        }
        report.line("following", format!("{name}  in {file}, as before: nothing was changed"));
        report.field("trusted", true);
        report.field("changed", false);
        report.next("aimass trust show");
        Ok(())
    }

    /// Folders as whole paths, since a server may run elsewhere.
    fn whole_locations(&mut self) -> anyhow::Result<()> {
        for location in self.locations.iter_mut().filter(|one| !one.contains("://")) {
            let path = std::fs::canonicalize(&*location).map_err(|error| {
                anyhow!(
                    "{location}: expected https://…, http://…, oci://host/repository or a folder, got none: \
                     {error}. Remedy: name the address of the marketplace, or the folder that it serves"
                )
            })?;
            // Of a marketplace's own folder only this part is for others.
            let own = path.join("market.toml").exists();
            let path = if own { path.join("public") } else { path };
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

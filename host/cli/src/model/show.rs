//! `aimass model show`: how versions came to serve, step by step.

use crate::home::Home;
use crate::report::Report;
use aimass_engine::judge_version;
use aimass_registry::{LabelEvent, ModelRecord, Registry, Selector, VersionRecord, VersionState};
use aimass_trust::{Timestamp, TrustPolicy};
use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

/// Show how versions of a model came to serve: verified, tested, reviewed, released.
///
/// Each is judged now, by trust.toml as it is, as a server would that loads it. `aimass trust audit` has
/// the decisions of the past.
///
/// Examples: `aimass model show minilm`, `aimass model show minilm@stable`, `aimass model show minilm@3`
#[derive(Args)]
pub(crate) struct Show {
    /// `name` for every version, or `name@version`, `name@label`
    model: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let (registry, policy) = (home.registry()?, home.read_trust()?);
        let (name, wanted) = match self.model.split_once('@') {
            Some((name, selector)) => (name, Some(Selector::parse(selector)?)),
            None => (&*self.model, None),
        };
        let models = registry.models()?;
        let Some(model) = models.iter().find(|model| model.name == name) else {
            let known: Vec<&str> = models.iter().map(|model| &*model.name).collect();
            bail!("there is no model {name:?}; there are {}", known.join(", "));
        };
        let only = match &wanted {
            Some(selector) => Some(registry.resolve(name, selector)?.version()),
            None => None,
        };
        let shown = model.versions.iter().filter(|one| only.is_none_or(|only| only == one.version));
        let history = registry.label_history(name)?;
        let mut report = Report::new(self.json);
        let mut all = Vec::new();
        for version in shown {
            let standing = Standing { model, version, history: &history };
            all.push(standing.tell(&registry, &policy, &mut report)?);
        }
        report.field("model", name);
        report.field("reviews_required", policy.reviews_required());
        report.field("versions", all);
        report.print();
        Ok(())
    }
}

/// One version, and what happened to the labels of its model.
struct Standing<'a> {
    model: &'a ModelRecord,
    version: &'a VersionRecord,
    history: &'a [LabelEvent],
}

impl Standing<'_> {
    fn tell(
        &self,
        registry: &Registry,
        policy: &TrustPolicy,
        report: &mut Report,
    ) -> anyhow::Result<Value> {
        let (number, required) = (self.version.version, policy.reviews_required());
        let published = moment(self.version.published_ms);
        let size = self.version.bytes as f64 / 1e6;
        report.line(
            &format!("version {number}"),
            format!("{}  {size:.1} MB  published {published}", self.version.state),
        );
        let held = registry.resolve(&self.model.name, &Selector::Version(number))?;
        let judged = judge_version(&held, policy);
        match &judged {
            Ok(facts) => {
                report.line("  verified", format!("{}  {}", facts.release, facts.signed_by));
            }
            Err(error) => report.line("  refused", error.to_string()),
        }
        let tested = match (&self.version.fixture_report, &self.version.state) {
            (Some(fixtures), _) => format!("fixtures: {fixtures}"),
            (None, VersionState::Failed { reason }) => format!("failed: {reason}"),
            (None, VersionState::Ready | VersionState::Pending) => "not told".to_owned(),
        };
        report.line("  tested", tested);
        let reviewers = judged.as_ref().map(|facts| &facts.reviewed_by[..]).unwrap_or_default();
        let by = reviewers.join(" and ");
        report.line("  reviewed", format!("{} of {required} needed  {by}", reviewers.len()));
        let labels = self.labels();
        for (label, since) in &labels {
            report.line("  released", format!("{label}  since {since}"));
        }
        if labels.is_empty() {
            report.line("  released", "under no label");
        }
        let labels = labels.iter().map(|(label, since)| json!({ "label": label, "since": since }));
        Ok(json!({
            "version": number,
            "state": self.version.state.to_string(),
            "published": published,
            "bytes": self.version.bytes,
            "release": judged.as_ref().ok().map(|facts| &facts.release),
            "signed_by": judged.as_ref().ok().map(|facts| &facts.signed_by),
            "reviewed_by": reviewers,
            "fixtures": self.version.fixture_report,
            "labels": labels.collect::<Vec<_>>(),
            "code": judged.as_ref().err().map(|error| error.code()),
            "error": judged.as_ref().err().map(ToString::to_string),
        }))
    }

    /// Labels on this version, and since when.
    fn labels(&self) -> Vec<(&str, String)> {
        let on = self.model.labels.iter().filter(|(_, version)| **version == self.version.version);
        let since = |label: &str| {
            let last = self.history.iter().filter(|event| event.label == label);
            last.map(|event| event.at_ms).max().map_or_else(String::new, moment)
        };
        on.map(|(label, _)| (label.as_str(), since(label))).collect()
    }
}

/// A moment in Unix milliseconds, to the second.
fn moment(ms: u64) -> String {
    Timestamp::from_unix(ms / 1000).to_string()
}

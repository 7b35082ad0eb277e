//! `aimass market status`, `log` and `show`: a marketplace as its operator sees it.

use super::revoke::in_words;
use super::{At, next_of_drafts};
use crate::report::Report;
use aimass_market::desk::{Desk, DraftStatus};
use clap::Args;
use serde_json::json;

/// Show what waits: drafts, submissions, and when metadata ends.
///
/// Each draft stands with the signatures that it has and needs. Nothing is changed.
///
/// Example: `aimass market status --dir market`
///
/// Next: the commands that it ends with: `aimass market sign`, `publish` or `review`.
#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    at: At,
}

/// Check the log from its first entry, and show it.
///
/// The tree is computed again from the entries and compared with the signed checkpoint.
///
/// Example: `aimass market log --dir market`
///
/// Next: `aimass market show` has what the entries became.
#[derive(Args)]
pub(crate) struct Log {
    #[command(flatten)]
    at: At,
}

/// Show publishers, reviewers, releases, revocations and the fingerprint.
///
/// Drafted targets count as if they were published. The fingerprint is what operators compare before
/// they trust the marketplace: publish it elsewhere, too.
///
/// Example: `aimass market show --dir market`
///
/// Next: operators run `aimass trust add NAME LOCATION --fingerprint HEX`.
#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    at: At,
}

/// One draft and how many signatures it has.
pub(super) fn draft(draft: &DraftStatus, report: &mut Report) {
    let (signed, threshold) = (draft.signed.len(), draft.threshold);
    let more = match draft.missing_of_previous {
        0 => String::new(),
        missing => format!(", and {missing} more by keys of the present root"),
    };
    let file = draft.file.display();
    let text = format!("{file}  {signed} of {threshold} signatures{more}");
    report.line(&format!("{} {}", draft.role, draft.version), text);
    let status = json!({ "file": file.to_string(), "version": draft.version, "signed": signed,
                         "threshold": threshold, "complete": draft.complete() });
    report.field(&format!("draft_{}", draft.role), status);
}

impl Status {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let mut report = Report::new(self.at.json);
        report.line("marketplace", desk.config().name.clone());
        let drafts = desk.drafts()?;
        drafts.iter().for_each(|one| draft(one, &mut report));
        next_of_drafts(&desk, &drafts, &mut report);
        let inbox = desk.inbox()?;
        report.line("inbox", format!("{} submissions", inbox.len()));
        report.field("inbox", inbox.iter().map(|one| one.release.clone()).collect::<Vec<_>>());
        for (name, expires) in ends(&desk) {
            report.line(&name, format!("valid until {expires}"));
            report.field(&format!("{name}_expires"), expires);
        }
        if !inbox.is_empty() {
            report.next(format!("aimass market review --dir {}", self.at.dir.display()));
        }
        report.print();
        Ok(())
    }
}

/// When each published file of the marketplace's own ends.
fn ends(desk: &Desk) -> Vec<(String, String)> {
    let folder = desk.public_dir().join("metadata");
    let read = |name: &str| {
        let text = std::fs::read(folder.join(name)).ok()?;
        let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(value["signed"]["expires"].as_str()?.to_owned())
    };
    let newest = |kind: &str| {
        let names = std::fs::read_dir(&folder).ok()?.flatten();
        let versions = names.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(kind)?.strip_suffix('.')?.parse::<u64>().ok()
        });
        read(&format!("{}.{kind}", versions.max()?))
    };
    [
        ("root", newest("root.json")),
        ("targets", newest("targets.json")),
        ("snapshot", newest("snapshot.json")),
        ("timestamp", read("timestamp.json")),
    ]
    .into_iter()
    .filter_map(|(name, expires)| Some((name.to_owned(), expires?)))
    .collect()
}

impl Log {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let mut report = Report::new(self.at.json);
        let entries = desk.log_entries()?;
        for one in &entries {
            let of = one.release.as_deref().unwrap_or("not published");
            report.line(&one.index.to_string(), format!("{}  {of}", one.entry));
        }
        let all = entries
            .iter()
            .map(|one| json!({ "index": one.index, "entry": one.entry, "release": one.release }));
        report.field("entries", all.collect::<Vec<_>>());
        if let Some(seen) = desk.checkpoint()? {
            let root: String =
                seen.checkpoint.root.iter().map(|byte| format!("{byte:02x}")).collect();
            report.line("checkpoint", format!("{} entries, root {root}", seen.checkpoint.size));
            report.line("cosigned by", seen.witnesses.join(", "));
            report.field("size", seen.checkpoint.size);
            report.field("root", root);
            report.field("witnesses", seen.witnesses);
        }
        report.line("checked", "every entry is in the tree of the signed checkpoint");
        report.print();
        Ok(())
    }
}

impl Show {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let mut report = Report::new(self.at.json);
        report.line("marketplace", format!("{}  {}", desk.config().name, desk.config().title));
        report.field("name", desk.config().name.clone());
        if let Some(fingerprint) = desk.fingerprint()? {
            let text: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
            report.line("fingerprint", text.clone());
            report.field("fingerprint", text);
        }
        let targets = desk.targets()?;
        for key in &targets.review.keys {
            report.line("reviewer", key.to_string());
        }
        report.line("reviews", format!("{} for a release", targets.review.threshold));
        for one in &targets.publishers {
            let may: Vec<&str> = one.bounds.capabilities.iter().map(|it| it.as_str()).collect();
            report.line("publisher", format!("{}  may ask for {}", one.name, may.join(", ")));
        }
        let publishers = targets.publishers.iter().map(|one| {
            let keys: Vec<String> = one.keys.keys.iter().map(ToString::to_string).collect();
            json!({ "name": one.name, "keys": keys, "threshold": one.keys.threshold,
                    "bounds": one.bounds })
        });
        report.field("publishers", publishers.collect::<Vec<_>>());
        let catalog = desk.catalog()?;
        for one in &catalog {
            report.line(
                "release",
                format!("{}@{}  log index {}", one.name, one.version, one.log_index),
            );
        }
        let releases = catalog.iter().map(|one| {
            let sha256: String = one.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "name": one.name.to_string(), "version": one.version.to_string(),
                    "sha256": sha256, "log_index": one.log_index, "signers": one.signers })
        });
        report.field("releases", releases.collect::<Vec<_>>());
        let revoked = desk.revoked()?;
        for entry in revoked.entries() {
            let what = in_words(&entry.what);
            report.line("revoked", format!("{what}  {}: {}", entry.at, entry.reason));
        }
        let listed: serde_json::Value = serde_json::from_slice(&revoked.to_json()?)?;
        report.field("revoked", listed["entries"].clone());
        report.print();
        Ok(())
    }
}

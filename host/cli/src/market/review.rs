//! `aimass market review`: what was submitted, and a reviewer's word about it.

use super::{At, online_keys};
use crate::home::Home;
use crate::report::Report;
use aimass_market::desk::{Desk, Submission};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::SystemTime;

/// List submissions, look at one, accept or reject it.
///
/// Looking at one runs every check that does not need a review: signatures, delegation, bounds, imports.
/// What the component does is for the reviewer to find out, and then to sign.
///
/// Examples: `aimass market review`, `aimass market review acme/hello@0.1.0 --accept --key r.key`
///
/// Next: `aimass market publish` when a submission has its reviews.
#[derive(Args)]
pub(crate) struct Review {
    #[command(flatten)]
    at: At,
    /// Submission: `publisher/name@version`; without it all are listed
    release: Option<String>,
    /// Accept it: sign its statement as a reviewer
    #[arg(long, requires = "key", requires = "release")]
    accept: bool,
    /// Key file of the reviewer
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Turn it down, with this reason
    #[arg(long, value_name = "REASON", conflicts_with = "accept", requires = "release")]
    reject: Option<String>,
    /// Write its component to this file, to look at it with other tools
    #[arg(long, value_name = "FILE", requires = "release")]
    extract: Option<PathBuf>,
}

impl Review {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let _lock = desk.lock()?;
        let mut report = Report::new(self.at.json);
        let dir = self.at.dir.display();
        match (&self.release, &self.reject, &self.key) {
            (None, _, _) => list(&desk, &mut report)?,
            (Some(release), Some(reason), _) => {
                let release = desk.reject(release, reason)?;
                report.line("rejected", release.clone());
                report.field("rejected", release);
                report.next(format!("aimass market review --dir {dir}"));
            }
            (Some(release), None, Some(key)) if self.accept => {
                let keys = online_keys(home, &desk)?;
                let key = home.load_key(key)?;
                let reviewed = desk.accept(release, &key, &keys, SystemTime::now())?;
                let (signed, needed) = (reviewed.signed.len() as u64, reviewed.needed);
                report.line(
                    "accepted",
                    format!("{}  {signed} of {needed} reviews", reviewed.release),
                );
                report.field("accepted", reviewed.release);
                report.field("reviews", signed);
                report.field("reviews_needed", needed);
                report.next(match signed < needed {
                    true => format!("another reviewer: aimass market review {release} --dir {dir} --accept --key FILE"),
                    false => format!("aimass market publish --dir {dir}"),
                });
            }
            (Some(release), None, _) => {
                let submission = desk.submission(release)?;
                let keys = online_keys(home, &desk)?;
                look(&desk, &submission, &mut report)?;
                if let Some(path) = &self.extract {
                    std::fs::write(path, &submission.wasm)?;
                    report.line("written", path.display().to_string());
                }
                desk.check(&submission, &keys, SystemTime::now())?;
                report.line("checks", "passed: signatures, delegation, bounds, imports, sequence");
                report.field("checks", "passed");
                report.next(format!(
                    "aimass market review {release} --dir {dir} --accept --key FILE"
                ));
                report.next(format!("aimass market review {release} --dir {dir} --reject REASON"));
            }
        }
        report.print();
        Ok(())
    }
}

fn list(desk: &Desk, report: &mut Report) -> anyhow::Result<()> {
    let inbox = desk.inbox()?;
    for one in &inbox {
        let asks = one.capabilities.join(", ");
        report.line(
            &one.release,
            format!("{} bytes, asks for {asks}; {} reviews", one.bytes, one.reviewed),
        );
    }
    if inbox.is_empty() {
        report.line("inbox", "empty");
    }
    let dir = desk.dir().display();
    report.next(match inbox.first() {
        Some(first) => format!("aimass market review {} --dir {dir}", first.release),
        None => format!("aimass market status --dir {dir}"),
    });
    let all = inbox.iter().map(|one| {
        json!({ "release": one.release, "bytes": one.bytes, "capabilities": one.capabilities,
                "reviews": one.reviewed })
    });
    report.field("inbox", all.collect::<Vec<_>>());
    Ok(())
}

/// What a submission is and asks for, beside the release that is published.
fn look(desk: &Desk, submission: &Submission, report: &mut Report) -> anyhow::Result<()> {
    let manifest = &submission.manifest;
    report.line("release", submission.release());
    report.line("world", manifest.world.to_string());
    report.line("capabilities", manifest.capabilities.to_string());
    report.line("imports", aimass_trust::read_imports(&submission.wasm)?.join(", "));
    for (name, limit) in manifest.limits.named() {
        if let Some(limit) = limit {
            report.line("limit", format!("{name} = {limit}"));
        }
    }
    report.field("release", submission.release());
    report.field("manifest", serde_json::to_value(manifest)?);
    let published = desk.catalog()?;
    let before = published.iter().filter(|one| one.name == manifest.name);
    if let Some(before) = before.max_by_key(|one| one.log_index) {
        let asked = before.manifest.capabilities.to_string();
        report.line("before it", format!("{}  asks for {asked}", before.version));
        report.field("before", before.version.to_string());
    }
    Ok(())
}

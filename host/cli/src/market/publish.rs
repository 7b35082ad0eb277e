//! `aimass market publish`, `refresh` and `bundle`: what clients get.

use super::push::push_all;
use super::{At, online_keys};
use crate::home::Home;
use crate::report::Report;
use aimass_market::desk::{Desk, DeskKeys, Published};
use aimass_trust::publishing::bundles::make_bundle;
use aimass_trust::publishing::storage::Folder;
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Publish what is signed and reviewed.
///
/// Drafts whose key holders have signed, then every submission with enough reviews: it is logged,
/// cosigned and listed. Everything is checked as a client would before it becomes visible. Repeating it
/// after an error goes on.
///
/// Example: `aimass market publish --dir market`
///
/// Next: after the ceremony `aimass market delegate`; from then on `aimass market review`.
#[derive(Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    at: At,
    /// OCI registry to push to afterwards, besides those of market.toml; repeat for more
    #[arg(long, value_name = "LOCATION")]
    push: Vec<String>,
}

/// Sign a new timestamp, so that clients keep believing what they see.
///
/// Timestamps are valid for 24 hours: run it every few hours, or let `aimass market serve --refresh` do
/// it.
///
/// Example: `aimass market refresh --every 6h`
///
/// Next: `aimass market status` says until when everything is valid.
#[derive(Args)]
pub(crate) struct Refresh {
    #[command(flatten)]
    at: At,
    /// Do it again and again, after this many hours: `6h`
    #[arg(long, value_name = "HOURS")]
    every: Option<String>,
    /// OCI registry to push to afterwards, besides those of market.toml; repeat for more
    #[arg(long, value_name = "LOCATION")]
    push: Vec<String>,
}

/// Write a release with its whole chain to one file, for hosts without a network.
///
/// The file holds the component, its statement, metadata, and its proof of the log. Hosts check it as
/// they would a mirror.
///
/// Example: `aimass market bundle acme/hello@0.1.0 --out hello.ampkg`
///
/// Next: on the host `aimass plugin verify --offline hello.ampkg`, then `aimass plugin install hello.ampkg`.
#[derive(Args)]
pub(crate) struct BundleFile {
    #[command(flatten)]
    at: At,
    /// Release: `publisher/name@version`
    release: String,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Version of the root that its readers have
    #[arg(long, value_name = "N", default_value_t = 1)]
    root_version: u64,
}

impl Publish {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let _lock = desk.lock()?;
        let keys = online_keys(home, &desk)?;
        let published = desk.publish(&keys, SystemTime::now())?;
        let mut report = Report::new(self.at.json);
        self::report(&published, &mut report)?;
        if let Some(fingerprint) = desk.fingerprint()? {
            let text: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
            if published.root == Some(1) {
                report.line("fingerprint", format!("{text}  (show it where operators trust it)"));
                report.next(format!(
                    "aimass market delegate PUBLISHER --key KEY --dir {}",
                    self.at.dir.display()
                ));
            }
            report.field("fingerprint", text);
        }
        if published.root != Some(1) {
            report.next(format!("aimass market status --dir {}", self.at.dir.display()));
        }
        push_all(&desk, &self.push, &mut report)?;
        report.print();
        Ok(())
    }
}

/// What became visible and what waits.
pub(super) fn report(published: &Published, report: &mut Report) -> anyhow::Result<()> {
    if let Some(version) = published.root {
        report.line("published", format!("root version {version}"));
    }
    if let Some(version) = published.targets {
        report.line("published", format!("targets version {version}"));
    }
    for (release, index) in &published.releases {
        report.line("published", format!("{release}  log index {index}"));
    }
    for waiting in &published.waiting {
        report.line("waits", format!("{}: {}", waiting.what, waiting.reason));
    }
    if published == &Published::default() {
        report.line("published", "nothing: nothing is signed or reviewed");
    }
    let releases = published.releases.iter();
    let releases: Vec<_> = releases
        .map(|(release, index)| json!({ "release": release, "log_index": index }))
        .collect();
    let waiting = published.waiting.iter();
    let waiting: Vec<_> =
        waiting.map(|one| json!({ "what": one.what, "reason": one.reason })).collect();
    report.field("root", published.root);
    report.field("targets", published.targets);
    report.field("releases", releases);
    report.field("waiting", waiting);
    Ok(())
}

impl Refresh {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let keys = online_keys(home, &desk)?;
        let every = self.every.as_deref().map(hours).transpose()?;
        loop {
            let done = self.once(&desk, &keys);
            match (every, done) {
                (Some(every), Ok(())) => std::thread::sleep(every),
                // Whoever refreshes for days outlives a registry that is away for minutes.
                (Some(_), Err(error)) => {
                    eprintln!("not refreshed, tried again in a minute: {error:#}");
                    std::thread::sleep(Duration::from_secs(60));
                }
                (None, done) => return done,
            }
        }
    }

    fn once(&self, desk: &Desk, keys: &DeskKeys) -> anyhow::Result<()> {
        let _lock = desk.lock()?;
        desk.refresh(keys, SystemTime::now())?;
        let mut report = Report::new(self.at.json);
        report.line("refreshed", format!("{}: valid for 24 hours", desk.config().name));
        report.field("refreshed", desk.config().name.clone());
        push_all(desk, &self.push, &mut report)?;
        if self.every.is_none() {
            report.next(format!("aimass market status --dir {}", self.at.dir.display()));
        }
        report.print();
        Ok(())
    }
}

/// `6h` or `6`: 1 to 20 hours, below the 24 of a timestamp.
pub(super) fn hours(text: &str) -> anyhow::Result<Duration> {
    let number: Option<u64> = text.strip_suffix('h').unwrap_or(text).parse().ok();
    let number = number.filter(|number| (1..=20).contains(number)).with_context(|| {
        format!("hours: expected 1 to 20, since a timestamp is valid for 24, got `{text}`. Remedy: give `6h`")
    })?;
    Ok(Duration::from_secs(number * 3_600))
}

impl BundleFile {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let (name, version) = release(&self.release)?;
        let public = Folder::new(&desk.public_dir());
        let bytes = make_bundle(&public, &name, &version, self.root_version)?;
        std::fs::write(&self.out, &bytes).with_context(|| self.out.display().to_string())?;
        let mut report = Report::new(self.at.json);
        report.line("written", format!("{}  {} bytes", self.out.display(), bytes.len()));
        report.field("file", self.out.display().to_string());
        report.field("bytes", bytes.len());
        report.next(format!("aimass plugin verify --offline {}", self.out.display()));
        report.next(format!("aimass plugin install {}", self.out.display()));
        report.print();
        Ok(())
    }
}

/// The parts of `publisher/name@version`.
pub(crate) fn release(
    text: &str,
) -> anyhow::Result<(aimass_trust::PackageName, aimass_trust::Version)> {
    let parts = text.split_once('@');
    let (name, version) =
        parts.with_context(|| format!("expected publisher/name@version, got {text}"))?;
    Ok((name.parse()?, version.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_stay_below_the_validity_of_a_timestamp() {
        for good in ["1", "6h", "20h"] {
            assert!(hours(good).is_ok(), "{good}");
        }
        for wrong in ["", "h", "0h", "21h", "6hh", "6m", "-1"] {
            let error = hours(wrong).expect_err(wrong).to_string();
            assert!(error.contains("expected 1 to 20") && error.contains("Remedy"), "{error}");
        }
    }
}

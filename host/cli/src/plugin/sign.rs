//! `aimass plugin sign`: the publisher's signature on a component.

use crate::home::Home;
use crate::report::Report;
use aimass_trust::{Dependency, PluginRelease, Timestamp};
use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Sign a built component.
///
/// Writes the signed component over FILE and the release statement beside it (`.dsse.json`).
/// Hosts take nothing without a statement by a publisher that they trust.
///
/// Example: `aimass plugin sign acme-hello-0.1.0.wasm`
///
/// Next: `aimass plugin publish FILE` on this host, or `aimass plugin submit FILE --to MARKETPLACE`.
#[derive(Args)]
pub(crate) struct Sign {
    /// Component, as `aimass plugin build` wrote it
    file: PathBuf,
    /// Signing key [default: the publisher's own in the data folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Days until the release expires
    #[arg(long, default_value_t = 365, value_parser = days)]
    days: u64,
    /// Plugin that this one depends on, as publisher/name=SHA256 of its file; repeat for more. A release
    /// ends when one of them is revoked
    #[arg(long, value_name = "NAME=SHA256")]
    depends_on: Vec<Dependency>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Sign {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let component = read_component(&self.file)?;
        let manifest = aimass_trust::read_manifest(&component)?;
        let key = home.load_signing_key(self.key.as_deref(), manifest.name.publisher())?;
        let release = PluginRelease { dependencies: self.depends_on, ..release(self.days)? };
        let signed = aimass_trust::sign_plugin(&component, &release, &key)?;
        let statement = statement_path(&self.file);
        write_whole(&self.file, &signed.wasm)?;
        write_whole(&statement, &signed.dsse)?;
        let (file, release) =
            (self.file.display(), format!("{}@{}", manifest.name, manifest.version));
        let mut report = Report::new(self.json);
        report.line("signed", format!("{release} with {}", key.public()));
        report.line("written", file.to_string());
        report.line("", statement.display().to_string());
        report.field("release", release);
        report.field("public_key", key.public().to_string());
        report.field("file", file.to_string());
        report.field("statement", statement.display().to_string());
        report.next(format!("aimass plugin publish {file}"));
        report.next(format!("aimass plugin submit {file} --to MARKETPLACE"));
        report.print();
        Ok(())
    }
}

/// Days for which a release is valid: 1 to 36,500.
pub(crate) fn days(text: &str) -> Result<u64, String> {
    let days = text.parse().ok().filter(|days| (1..=36_500).contains(days));
    days.ok_or_else(|| {
        format!("expected 1 to 36500 days, got `{text}`; leave --days out for a year")
    })
}

/// The bytes of a component.
///
/// # Errors
/// There is no such file, or it cannot be read.
pub(super) fn read_component(path: &Path) -> anyhow::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "{}: expected a component (.wasm), got no such file. Remedy: `aimass plugin build` makes one and prints \
             where",
            path.display()
        ),
        read => read.with_context(|| path.display().to_string()),
    }
}

/// A release that is valid from now on. Its sequence is the time in milliseconds, so that a later
/// release has a greater one.
pub(super) fn release(days: u64) -> anyhow::Result<PluginRelease> {
    let now = SystemTime::now();
    let valid_from = Timestamp::from_system(now);
    Ok(PluginRelease {
        sequence: u64::try_from(now.duration_since(UNIX_EPOCH)?.as_millis())?,
        not_before: valid_from,
        expires: valid_from.plus_days(days),
        min_host: env!("CARGO_PKG_VERSION").parse()?,
        dependencies: Vec::new(),
    })
}

/// Where the statement of a component lies: `x.wasm` has `x.dsse.json`.
pub(super) fn statement_path(component: &Path) -> PathBuf {
    component.with_extension("dsse.json")
}

/// Replaces a file by renaming, so that a kill leaves the old or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).with_context(|| new.display().to_string())?;
    std::fs::rename(&new, path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_valid_for_a_day_to_a_century() {
        assert_eq!((days("1"), days("36500")), (Ok(1), Ok(36_500)));
        for wrong in ["0", "36501", "-1", "a year"] {
            let error = days(wrong).expect_err(wrong);
            assert!(error.contains("expected 1 to 36500"), "{error}");
        }
    }
}

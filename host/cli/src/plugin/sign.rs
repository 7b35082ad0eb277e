//! `aimass plugin sign`: the publisher's signature on a component.

use crate::home::Home;
use aimass_trust::{PluginRelease, Timestamp};
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Sign a built component.
///
/// Writes the signed component over FILE and the release statement beside it (`.dsse.json`).
#[derive(Args)]
pub(crate) struct Sign {
    /// Component, as `aimass plugin build` wrote it
    file: PathBuf,
    /// Signing key [default: the publisher's own in the data folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Days until the release expires
    #[arg(long, default_value_t = 365)]
    days: u64,
}

impl Sign {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let component =
            std::fs::read(&self.file).with_context(|| self.file.display().to_string())?;
        let manifest = aimass_trust::read_manifest(&component)?;
        let key = home.load_signing_key(self.key.as_deref(), manifest.name.publisher())?;
        let signed = aimass_trust::sign_plugin(&component, &release(self.days)?, &key)?;
        let statement = statement_path(&self.file);
        write_whole(&self.file, &signed.wasm)?;
        write_whole(&statement, &signed.dsse)?;
        println!("signed    {}@{} with {}", manifest.name, manifest.version, key.public());
        println!("          {}", self.file.display());
        println!("          {}", statement.display());
        println!("next      aimass plugin publish {}", self.file.display());
        Ok(())
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

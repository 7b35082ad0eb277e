//! `aimass key rotate publisher`: a publisher's next key.

use crate::home::Home;
use crate::report::Report;
use aimass_trust::PublicKey;
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;

/// Take a new key instead of a publisher's old one, which is kept beside it.
///
/// This host trusts both from then on. Marketplaces learn of the new key by `aimass market delegate`,
/// and forget the old one by `aimass market revoke --key`, from a place in the log on, so that what it
/// signed before stays good.
///
/// Example: `aimass key rotate publisher acme`
///
/// Next: `aimass market delegate acme --key OLD --key NEW` where marketplaces list it.
#[derive(Args)]
pub(crate) struct Rotate {
    /// Publisher's name
    name: String,
    /// Do not seal the new file with a passphrase
    #[arg(long)]
    plain: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Rotate {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        super::publisher_name(&self.name)?;
        let path = home.signing_key(&self.name);
        if !path.exists() {
            bail!(
                "there is no key {}; `aimass key new publisher {}` makes one",
                path.display(),
                self.name
            );
        }
        let old = PublicKey::of_key_file(&path)?;
        let mut report = Report::new(self.json);
        let new_path = path.with_extension("new");
        let key = super::new_key(home, &new_path, self.plain, &mut report)?;
        trust_beside(home, &old, &key.public())?;
        let kept = kept_path(&path, &old);
        std::fs::rename(&path, &kept).with_context(|| kept.display().to_string())?;
        std::fs::rename(&new_path, &path).with_context(|| path.display().to_string())?;
        report.line("moved to", path.display().to_string());
        report.line("old key", format!("{}  {old}", kept.display()));
        report.field("file", path.display().to_string());
        report.field("old_file", kept.display().to_string());
        report.field("old_public_key", old.to_string());
        let name = &self.name;
        report.next(format!("aimass market delegate {name} --key {old} --key {}", key.public()));
        report
            .next(format!("aimass market revoke --key {old} --from-log-index N --reason rotated"));
        report.print();
        Ok(())
    }
}

/// `acme.key` goes to `acme.<8 digits of its public key>.key`.
fn kept_path(path: &std::path::Path, old: &PublicKey) -> PathBuf {
    let text = old.to_string();
    let digits = text.strip_prefix("ed25519:").and_then(|text| text.get(..8)).unwrap_or("old");
    path.with_extension(format!("{digits}.key"))
}

/// Where trust.toml lists the old key, it lists the new one beside it.
fn trust_beside(home: &Home, old: &PublicKey, new: &PublicKey) -> anyhow::Result<()> {
    let path = home.trust_policy();
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (was, is) = (format!("\"{old}\""), format!("\"{old}\", \"{new}\""));
    if !text.contains(&was) {
        return Ok(());
    }
    let changed = text.replacen(&was, &is, 1);
    aimass_trust::TrustPolicy::parse(&changed)?;
    let beside = path.with_extension("toml.new");
    std::fs::write(&beside, changed).with_context(|| beside.display().to_string())?;
    std::fs::rename(&beside, &path).with_context(|| path.display().to_string())
}

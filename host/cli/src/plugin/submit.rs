//! `aimass plugin submit`: a signed plugin on its way into a marketplace.

use super::sign::{read_component, statement_path};
use crate::home::Home;
use crate::report::Report;
use aimass_market::desk::Desk;
use aimass_market::mirror::{self, FetchLimits};
use aimass_market::submit::prepare_submission;
use aimass_trust::{SigningKey, Timestamp};
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Submit a signed plugin to a marketplace.
///
/// The marketplace must delegate to the publisher already. What is sent holds the component, its
/// statement, and the publisher's next list of releases, signed here. It waits in the marketplace's inbox
/// for a review.
///
/// Example: `aimass plugin submit acme-hello-0.1.0.wasm --to https://market.example.org`
///
/// Next: the marketplace's people run `aimass market review` and `aimass market publish`.
#[derive(Args)]
pub(crate) struct Submit {
    /// Signed component; its statement lies beside it
    file: PathBuf,
    /// The marketplace: the address of `aimass market serve`, or the folder of `aimass market init`
    #[arg(long, value_name = "LOCATION", required_unless_present = "out")]
    to: Option<String>,
    /// Where to read what the marketplace lists now, if that is not where it goes to
    #[arg(long, value_name = "LOCATION")]
    mirror: Option<String>,
    /// Write the submission to a file instead of sending it
    #[arg(long, value_name = "FILE", requires = "mirror")]
    out: Option<PathBuf>,
    /// Signing key [default: the publisher's own in the data folder]; repeat where a list needs more
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Submit {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        if let Some(to) = &self.to {
            check_target(to)?;
        }
        let wasm = read_component(&self.file)?;
        let statement = statement_path(&self.file);
        let dsse = std::fs::read(&statement)
            .with_context(|| format!("{}: `aimass plugin sign` writes it", statement.display()))?;
        let manifest = aimass_trust::read_manifest(&wasm)?;
        let publisher = manifest.name.publisher();
        let keys: Vec<SigningKey> = match self.key.is_empty() {
            true => vec![home.load_signing_key(None, publisher)?],
            false => self.key.iter().map(|path| home.load_key(path)).collect::<Result<_, _>>()?,
        };
        let keys: Vec<&SigningKey> = keys.iter().collect();
        let to = self.to.clone().unwrap_or_default();
        let desk = Path::new(&to).join("market.toml").exists();
        let own = if desk { format!("{to}/public") } else { to.clone() };
        let limits = FetchLimits::default();
        let mut mirror = mirror::open(self.mirror.as_deref().unwrap_or(&own), limits)?;
        let now = Timestamp::from_system(SystemTime::now());
        let bytes = prepare_submission(&mut *mirror, &wasm, &dsse, &keys, now)?;
        let release = format!("{}@{}", manifest.name, manifest.version);
        let mut report = Report::new(self.json);
        match &self.out {
            Some(out) => {
                std::fs::write(out, &bytes).with_context(|| out.display().to_string())?;
                report.line("written", format!("{}  {} bytes", out.display(), bytes.len()));
            }
            None if desk => {
                Desk::open(Path::new(&to))?.submit(&bytes)?;
                report.line("submitted", format!("{release}  to the inbox of {to}"));
            }
            None => {
                let answer = mirror::post_submission(&to, &bytes, limits)?;
                report.line("submitted", answer.trim().to_owned());
            }
        }
        report.field("release", release.clone());
        report.field("bytes", bytes.len());
        report.next(format!("the marketplace: aimass market review {release}"));
        report.print();
        Ok(())
    }
}

/// Refuses what is neither an address nor a marketplace's folder.
fn check_target(to: &str) -> anyhow::Result<()> {
    if to.starts_with("https://") || to.starts_with("http://") {
        return Ok(());
    }
    let expected = "expected the address of `aimass market serve` (https://… or http://…) or the folder of \
                    `aimass market init`";
    if to.contains("://") {
        bail!(
            "--to: {expected}, got {to}, which takes no submissions. Remedy: ask the marketplace's people for \
             its address, or write a file for them with --mirror {to} --out FILE"
        );
    }
    let dir = Path::new(to);
    let is_market = |dir: &Path| dir.join("market.toml").exists();
    if let Some(whole) = std::fs::canonicalize(dir).ok().filter(|whole| !is_market(whole))
        && let Some(market) = whole.parent().filter(|parent| is_market(parent))
    {
        bail!(
            "--to: {expected}, got {to}, a folder inside of one. Remedy: --to {}",
            market.display()
        );
    }
    ensure!(
        is_market(dir),
        "--to: {expected}, got {to}, which has no market.toml. Remedy: name the folder that has it"
    );
    Ok(())
}

//! `aimass market revoke`: what must not run anymore.

use super::signers::{collected, report_dropped};
use super::{At, SignWith, finish, now, public_key};
use crate::home::Home;
use crate::report::Report;
use aimass_trust::{PackageName, Revocation, Revoked, Version};
use anyhow::{Context, bail, ensure};
use clap::Args;

/// Revoke a file, a key, a publisher or versions.
///
/// Drafts the list; the holders of the targets keys sign, then it is published. With --sign-with and
/// --publish that is one command. Hosts stop what it names within a minute of seeing it.
///
/// Example: `aimass market revoke --versions acme/hello --to 1.4.1 --reason "reads beyond its tensor"`
///
/// Next: `aimass market sign market/drafts/targets.json --key FILE`, then `aimass market publish`.
#[derive(Args)]
#[group(id = "what", required = true, multiple = false, args = ["file", "key", "publisher", "versions"])]
pub(crate) struct Revoke {
    #[command(flatten)]
    at: At,
    /// One component file, by its SHA-256 in hexadecimal, and whatever depends on it
    #[arg(long, value_name = "SHA256")]
    file: Option<String>,
    /// A publisher's or reviewer's key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What the key signed before this place in the log stays good
    #[arg(long, value_name = "INDEX", requires = "key")]
    from_log_index: Option<u64>,
    /// Everything of a publisher
    #[arg(long, value_name = "NAME")]
    publisher: Option<String>,
    /// Versions of a package; see --from and --to
    #[arg(long, value_name = "PUBLISHER/NAME")]
    versions: Option<PackageName>,
    /// First revoked version [default: the first of all]
    #[arg(long, value_name = "VERSION", requires = "versions")]
    from: Option<Version>,
    /// Last revoked version [default: no end]
    #[arg(long, value_name = "VERSION", requires = "versions")]
    to: Option<Version>,
    /// Why, in a sentence for operators
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    with: SignWith,
}

impl Revoke {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let _lock = desk.lock()?;
        ensure!(self.reason.len() <= 1000, "--reason: expected at most 1,000 bytes");
        let (what, words) = match (self.file, self.key, self.publisher, self.versions) {
            (Some(file), ..) => (Revoked::File(digest(&file)?), format!("file {file}")),
            (_, Some(key), ..) => {
                let key = public_key(&key)?;
                let from_log_index = self.from_log_index;
                (Revoked::Key { key, from_log_index }, format!("key {key}"))
            }
            (_, _, Some(name), _) => {
                let words = format!("publisher {name}");
                (Revoked::Publisher(name), words)
            }
            (_, _, _, Some(name)) => {
                let words = format!("versions of {name}");
                (Revoked::Versions { name, from: self.from, to: self.to }, words)
            }
            (None, None, None, None) => bail!("say what to revoke"),
        };
        let at = now()?;
        let dropped = collected(&desk, "targets")?;
        desk.draft_revocation(Revocation { what, reason: self.reason, at }, at)?;
        let mut report = Report::new(self.at.json);
        report.line("drafted", format!("the revocation of {words}"));
        report.field("revoked", words);
        report_dropped(dropped, "targets", &mut report);
        finish(home, &desk, &self.with, &mut report)?;
        report.print();
        Ok(())
    }
}

fn digest(text: &str) -> anyhow::Result<[u8; 32]> {
    let parse = || {
        let pairs = (0..64).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok());
        let bytes: Option<Vec<u8>> = (text.len() == 64).then(|| pairs.collect()).flatten();
        bytes?.try_into().ok()
    };
    parse().with_context(|| format!("--file: expected 64 hexadecimal digits, got {text}"))
}

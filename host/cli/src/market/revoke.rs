//! `aimass market revoke`: what must not run anymore.

use super::signers::{collected, report_dropped};
use super::{At, SignWith, finish, hex, now, public_key};
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
        let what = match (self.file, self.key, self.publisher, self.versions) {
            (Some(file), ..) => Revoked::File(digest(&file)?),
            (_, Some(key), ..) => {
                Revoked::Key { key: public_key(&key)?, from_log_index: self.from_log_index }
            }
            (_, _, Some(name), _) => Revoked::Publisher(name),
            (_, _, _, Some(name)) => Revoked::Versions { name, from: self.from, to: self.to },
            (None, None, None, None) => bail!("say what to revoke"),
        };
        let words = in_words(&what);
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

/// What is revoked, for a reader.
pub(super) fn in_words(what: &Revoked) -> String {
    match what {
        Revoked::File(sha256) => format!("file {}", hex(sha256)),
        Revoked::Key { key, from_log_index: None } => format!("key {key}"),
        Revoked::Key { key, from_log_index: Some(index) } => {
            format!("key {key}, from log index {index} on")
        }
        Revoked::Publisher(name) => format!("publisher {name}"),
        Revoked::Versions { name, from, to } => match (from, to) {
            (None, None) => format!("every version of {name}"),
            (Some(from), None) => format!("versions of {name} from {from} on"),
            (None, Some(to)) => format!("versions of {name} up to {to}"),
            (Some(from), Some(to)) => format!("versions of {name} from {from} to {to}"),
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_is_told_in_words() {
        let name: PackageName = "acme/hello".parse().expect("a name");
        let version = |text: &str| text.parse().ok();
        let versions =
            |from: Option<Version>, to| Revoked::Versions { name: name.clone(), from, to };
        for (what, words) in [
            (Revoked::File([0xa5; 32]), format!("file {}", "a5".repeat(32))),
            (Revoked::Publisher("acme".into()), "publisher acme".into()),
            (versions(None, None), "every version of acme/hello".into()),
            (versions(version("1.0.0"), None), "versions of acme/hello from 1.0.0 on".into()),
            (versions(None, version("1.4.1")), "versions of acme/hello up to 1.4.1".into()),
            (
                versions(version("1.0.0"), version("1.4.1")),
                "versions of acme/hello from 1.0.0 to 1.4.1".into(),
            ),
        ] {
            assert_eq!(in_words(&what), words);
        }
    }
}

//! `aimass market init` and `sign`: the root ceremony.

use super::signers::{check_signer, check_threshold};
use super::{SignWith, finish, now, public_keys};
use crate::home::Home;
use crate::report::Report;
use aimass_market::desk::{Desk, DeskConfig, ONLINE_KEYS, Roles, sign_draft};
use aimass_trust::publishing::drafts::RoleKeys;
use aimass_trust::{NameRules, PublicKey};
use anyhow::ensure;
use clap::Args;
use std::path::{Path, PathBuf};

/// Begin a marketplace: its folder, online keys, and drafts for the root ceremony.
///
/// Makes its folder, four online keys (snapshot, timestamp, log, witness), and drafts of the first root
/// and targets. Root, targets and review keys are made elsewhere, each by its holder, with `aimass key
/// new signing`; here only their public halves are named.
///
/// Example: `aimass market init --name market.example.org --root a.key --root b.key --root c.key
/// --root-threshold 2 --targets a.key --targets b.key --targets-threshold 2 --reviewer r.key`
///
/// Next: each key holder runs `aimass market sign` for both drafts, then `aimass market publish`.
#[derive(Args)]
pub(crate) struct Init {
    #[command(flatten)]
    at: super::At,
    /// Name of the marketplace and of its log, best a host name
    #[arg(long)]
    name: String,
    /// What people read on its page [default: the name]
    #[arg(long)]
    title: Option<String>,
    /// Root key: `ed25519:…` or a key file; repeat for each
    #[arg(long, value_name = "KEY", required = true)]
    root: Vec<String>,
    /// How many root keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    root_threshold: u64,
    /// Key that signs delegations and revocations; repeat for each
    #[arg(long, value_name = "KEY", required = true)]
    targets: Vec<String>,
    /// How many of them must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    targets_threshold: u64,
    /// Reviewer's key; repeat for each
    #[arg(long, value_name = "KEY", required = true)]
    reviewer: Vec<String>,
    /// Reviews that a release needs
    #[arg(long, value_name = "N", default_value_t = 1)]
    reviews: u64,
    /// Publisher or package that lookalikes are kept away from; repeat for each
    #[arg(long, value_name = "NAME")]
    protect: Vec<String>,
    /// OCI registry that every change is pushed to, as `push` in market.toml; repeat for more
    #[arg(long, value_name = "LOCATION")]
    push: Vec<String>,
    /// Do not seal the online keys with a passphrase
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    with: SignWith,
}

/// Sign a draft with one key, wherever that key is.
///
/// The file can be copied to where the key is, signed there, and copied back. Look at it first: it is
/// JSON. A key that the draft's role does not list is refused, since its signature would count nothing.
///
/// Example: `aimass market sign market/drafts/root.json --key root-1.key`
///
/// Next: `aimass market status` says what is missing, `aimass market publish` when nothing is.
#[derive(Args)]
pub(crate) struct Sign {
    /// Draft, which gets one more signature
    file: PathBuf,
    /// Key file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Init {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let role = |keys: &[String], threshold| {
            anyhow::Ok(RoleKeys { keys: public_keys(keys)?, threshold })
        };
        let roles = Roles {
            root: role(&self.root, self.root_threshold)?,
            targets: role(&self.targets, self.targets_threshold)?,
            review: role(&self.reviewer, self.reviews)?,
            rules: NameRules { protected: self.protect, permitted: Vec::new() },
        };
        let flags = [
            ("--root-threshold", &roles.root),
            ("--targets-threshold", &roles.targets),
            ("--reviews", &roles.review),
        ];
        for (flag, keys) in flags {
            check_threshold(flag, keys.threshold, keys.keys.len())?;
        }
        let dir = &self.at.dir;
        ensure!(
            !dir.join("market.toml").exists(),
            "{dir}: expected a new folder, got a marketplace. Remedy: look at it with `aimass market status \
             --dir {dir}`, change it with `delegate` and `rotate`, or name another folder with --dir",
            dir = dir.display()
        );
        let mut report = Report::new(self.at.json);
        let online = make_online_keys(home, dir, self.plain, &mut report)?;
        let title = self.title.unwrap_or_else(|| self.name.clone());
        let config = DeskConfig { push: self.push, ..DeskConfig::new(self.name, title) };
        let desk = Desk::create(dir, config, &roles, online, now()?)?;
        report.line("made", format!("{}  marketplace {}", dir.display(), desk.config().name));
        report.field("dir", dir.display().to_string());
        report.field("name", desk.config().name.clone());
        finish(home, &desk, &self.with, &mut report)?;
        report.print();
        Ok(())
    }
}

/// The online keys, those of an interrupted call kept.
fn make_online_keys(
    home: &Home,
    dir: &Path,
    plain: bool,
    report: &mut Report,
) -> anyhow::Result<[PublicKey; 4]> {
    let mut public = Vec::new();
    let mut sealed = true;
    for role in ONLINE_KEYS {
        let path = dir.join("keys").join(format!("{role}.key"));
        if !path.exists() {
            let key = aimass_trust::SigningKey::generate()?;
            home.create_key(&key, &path, plain)?;
        }
        sealed &= aimass_trust::SigningKey::is_sealed_file(&path)?;
        public.push(PublicKey::of_key_file(&path)?);
    }
    let how = if sealed {
        "sealed with their passphrase"
    } else {
        "NOT sealed: only their mode protects them"
    };
    report.line("online keys", format!("{}  ({how})", dir.join("keys").display()));
    report.field("sealed", sealed);
    public.try_into().map_err(|_| anyhow::anyhow!("a marketplace has four online keys"))
}

/// The marketplace whose `drafts` the file lies in.
fn market_dir(file: &Path) -> Option<&Path> {
    file.parent()?.parent().filter(|dir| dir.join("market.toml").exists())
}

impl Sign {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let key = home.load_key(&self.key)?;
        let listed = check_signer(&self.file, &key.public())?;
        let (kind, version) = sign_draft(&self.file, &key)?;
        let mut report = Report::new(self.json);
        let file = self.file.display();
        report.line("signed", format!("{file}  {kind} version {version}"));
        report.line("with", key.public().to_string());
        if listed.is_none() {
            let why = "whether the key counts: the marketplace's folder is not around the draft";
            report.line("not checked", why);
        }
        report.field("checked", listed.is_some());
        report.field("file", file.to_string());
        report.field("kind", kind);
        report.field("version", version);
        report.field("public_key", key.public().to_string());
        report.next(match market_dir(&self.file) {
            Some(dir) => format!("aimass market status --dir {}", dir.display()),
            None => "copy the draft back, then: aimass market status".to_owned(),
        });
        report.print();
        Ok(())
    }
}

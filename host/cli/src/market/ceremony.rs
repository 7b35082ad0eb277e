//! `aimass market init` and `sign`: the root ceremony.

use super::{SignWith, finish, now, public_keys};
use crate::home::Home;
use crate::report::Report;
use aimass_market::desk::{Desk, DeskConfig, ONLINE_KEYS, Roles, sign_draft};
use aimass_trust::publishing::drafts::RoleKeys;
use aimass_trust::{NameRules, PublicKey};
use anyhow::ensure;
use clap::Args;
use std::path::PathBuf;

/// Begin a marketplace.
///
/// Makes its folder, four online keys (snapshot, timestamp, log, witness), and drafts of the first root
/// and targets. Root, targets and review keys are made elsewhere, each by its holder, with `aimass key
/// new signing`; here only their public halves are named. Each key holder then runs `aimass market sign`.
///
/// Example, with a root of 2 keys out of 3:
///   aimass market init --name market.example.org --root a.key --root b.key --root c.key
///     --root-threshold 2 --targets a.key --targets b.key --targets-threshold 2 --reviewer r.key
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

/// Sign a draft with one key.
///
/// The file can be copied to where the key is, signed there, and copied back. Look at it first: it is
/// JSON. Example: `aimass market sign market/drafts/root.json --key root-1.key`
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
        for (role, keys) in
            [("root", &roles.root), ("targets", &roles.targets), ("review", &roles.review)]
        {
            let (threshold, count) = (keys.threshold, keys.keys.len());
            ensure!(
                (1..=count as u64).contains(&threshold),
                "{role}: expected a threshold of 1 to {count}, the number of its keys, got {threshold}"
            );
        }
        let dir = &self.at.dir;
        ensure!(!dir.join("market.toml").exists(), "{} is a marketplace already", dir.display());
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
    dir: &std::path::Path,
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

impl Sign {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let key = home.load_key(&self.key)?;
        let (kind, version) = sign_draft(&self.file, &key)?;
        let mut report = Report::new(self.json);
        let file = self.file.display();
        report.line("signed", format!("{file}  {kind} version {version}"));
        report.line("with", key.public().to_string());
        report.field("file", file.to_string());
        report.field("kind", kind);
        report.field("version", version);
        report.field("public_key", key.public().to_string());
        report.next("aimass market status");
        report.print();
        Ok(())
    }
}

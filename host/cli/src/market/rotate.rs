//! `aimass market rotate`: the next root.

use super::signers::{check_threshold, collected, list, present_root, report_dropped};
use super::{At, SignWith, finish, now, public_keys};
use crate::home::Home;
use crate::report::Report;
use aimass_trust::PublicKey;
use aimass_trust::publishing::drafts::{RoleKeys, RootContent};
use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};

/// Draft a root with other keys, thresholds or protected names, or only a new end of its validity.
///
/// A root is signed by thresholds of the old and of the new keys. To replace the key of snapshots or
/// timestamps, put its file into the folder's `keys` first. A draft that is changed loses the signatures
/// that it had.
///
/// Example: `aimass market rotate --role root --add d.key --remove b.key`
///
/// Next: `aimass market sign market/drafts/root.json --key FILE`, by old and new holders, then `aimass
/// market publish`.
#[derive(Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    at: At,
    /// Whose keys change; without it only the validity is renewed
    #[arg(long)]
    role: Option<Role>,
    /// Key to add: `ed25519:…` or a key file; repeat for each
    #[arg(long, value_name = "KEY", requires = "role")]
    add: Vec<String>,
    /// Key to take away; repeat for each
    #[arg(long, value_name = "KEY", requires = "role")]
    remove: Vec<String>,
    /// How many must sign from then on
    #[arg(long, value_name = "N", requires = "role")]
    threshold: Option<u64>,
    /// Publisher or package to protect from lookalikes; repeat for each
    #[arg(long, value_name = "NAME")]
    protect: Vec<String>,
    /// Publisher or package that is close to a protected one and may be used; repeat for each
    #[arg(long, value_name = "NAME")]
    permit: Vec<String>,
    #[command(flatten)]
    with: SignWith,
}

/// A role of the root.
#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

impl Rotate {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let desk = self.at.open()?;
        let _lock = desk.lock()?;
        let (add, remove) = (public_keys(&self.add)?, public_keys(&self.remove)?);
        if let (Some(role), Some(mut root)) = (self.role, present_root(&desk)?) {
            self.check(role.of(&mut root), &add, &remove)?;
        }
        let dropped = collected(&desk, "root")?;
        let change = |keys: &mut RoleKeys| {
            keys.keys.retain(|key| !remove.contains(key));
            keys.keys.extend(
                add.iter().filter(|key| !keys.keys.contains(key)).copied().collect::<Vec<_>>(),
            );
            keys.threshold = self.threshold.unwrap_or(keys.threshold);
        };
        desk.draft_root(
            |root| {
                if let Some(role) = self.role {
                    change(role.of(root));
                }
                root.rules.protected.extend(self.protect.clone());
                root.rules.permitted.extend(self.permit.clone());
            },
            now()?,
        )?;
        let mut report = Report::new(self.at.json);
        report.line("drafted", "the next root");
        report_dropped(dropped, "root", &mut report);
        finish(home, &desk, &self.with, &mut report)?;
        report.print();
        Ok(())
    }

    /// Refuses what would change nothing of a role, and a threshold that its keys cannot reach.
    fn check(
        &self,
        role: &RoleKeys,
        add: &[PublicKey],
        remove: &[PublicKey],
    ) -> anyhow::Result<()> {
        let has = format!("it has {}, of which {} sign", list(&role.keys), role.threshold);
        if let Some(key) = add.iter().find(|key| role.keys.contains(key)) {
            bail!(
                "--add: expected a key that the role does not have, got {key}; {has}. Remedy: name another"
            );
        }
        if let Some(key) = remove.iter().find(|key| !role.keys.contains(key)) {
            bail!(
                "--remove: expected a key of the role, got {key}; {has}. Remedy: name one of these"
            );
        }
        let threshold = self.threshold.unwrap_or(role.threshold);
        ensure!(
            !add.is_empty() || !remove.is_empty() || threshold != role.threshold,
            "--role: expected a change of the role by --add, --remove or --threshold, got none; {has}. Remedy: \
             say what changes, or leave --role out to renew the root as it is"
        );
        let mut keys: Vec<&PublicKey> = role.keys.iter().chain(add).collect();
        keys.retain(|key| !remove.contains(key));
        keys.sort_by_key(|key| key.to_string());
        keys.dedup();
        check_threshold("--threshold", threshold, keys.len())
    }
}

impl Role {
    /// The keys of the role in a root.
    fn of(self, root: &mut RootContent) -> &mut RoleKeys {
        match self {
            Role::Root => &mut root.root,
            Role::Targets => &mut root.targets,
            Role::Snapshot => &mut root.snapshot,
            Role::Timestamp => &mut root.timestamp,
        }
    }
}

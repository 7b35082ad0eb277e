//! `aimass market rotate`: the next root.

use super::{At, SignWith, finish, now, public_keys};
use crate::home::Home;
use crate::report::Report;
use aimass_trust::publishing::drafts::RoleKeys;
use clap::{Args, ValueEnum};

/// Draft a root with other keys, thresholds or protected names, or only a new end of its validity.
///
/// A root is signed by thresholds of the old and of the new keys. To replace the key of snapshots or
/// timestamps, put its file into the folder's `keys` first.
///
/// Example: `aimass market rotate --role root --add d.key --remove b.key`
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
        let change = |keys: &mut RoleKeys| {
            keys.keys.retain(|key| !remove.contains(key));
            keys.keys.extend(
                add.iter().filter(|key| !keys.keys.contains(key)).copied().collect::<Vec<_>>(),
            );
            keys.threshold = self.threshold.unwrap_or(keys.threshold);
        };
        desk.draft_root(
            |root| {
                match self.role {
                    Some(Role::Root) => change(&mut root.root),
                    Some(Role::Targets) => change(&mut root.targets),
                    Some(Role::Snapshot) => change(&mut root.snapshot),
                    Some(Role::Timestamp) => change(&mut root.timestamp),
                    None => {}
                }
                root.rules.protected.extend(self.protect.clone());
                root.rules.permitted.extend(self.permit.clone());
            },
            now()?,
        )?;
        let mut report = Report::new(self.at.json);
        report.line("drafted", "the next root");
        finish(home, &desk, &self.with, &mut report)?;
        report.print();
        Ok(())
    }
}

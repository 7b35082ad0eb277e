//! `aimass key export`: what others need of a key, or a copy for the safe.

use crate::home::Home;
use crate::report::Report;
use aimass_trust::publishing::drafts::key_id;
use aimass_trust::{NoteKey, NoteKeyKind, PublicKey};
use anyhow::ensure;
use clap::Args;
use std::path::{Path, PathBuf};

/// Show a key's public half in every form, or write a sealed copy.
///
/// The public half needs no passphrase; its forms are those that other tools read.
///
/// Examples: `aimass key export acme`, `aimass key export root-1.key --backup /safe/root-1.key`
///
/// Next: give the public key to a marketplace: `aimass market delegate NAME --key ed25519:…`
#[derive(Args)]
pub(crate) struct Export {
    /// Publisher's name, or a key file
    key: String,
    /// Name of a log or witness that the key signs for, to print its C2SP verifier key
    #[arg(long, value_name = "NAME")]
    note_name: Option<String>,
    /// Write a copy of the secret key here, sealed with a passphrase
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let named = home.signing_key(&self.key);
        let publisher = named.exists();
        let path = if publisher { named } else { PathBuf::from(&self.key) };
        ensure!(
            path.exists(),
            "{}: expected a publisher's name or a key file, got none. Remedy: `aimass key new publisher NAME` or \
             `aimass key new signing FILE` makes a key; --data names the folder that has the publishers'",
            self.key
        );
        let public = PublicKey::of_key_file(&path)?;
        let mut report = Report::new(self.json);
        report.line("public key", public.to_string());
        report.line("tuf key id", key_id(public));
        report.field("public_key", public.to_string());
        report.field("tuf_key_id", key_id(public));
        if let Some(name) = &self.note_name {
            for (label, kind) in [("log", NoteKeyKind::Log), ("witness", NoteKeyKind::Witness)] {
                let key = NoteKey::new(name, kind, public)?.to_string();
                report.line(&format!("as {label}"), key.clone());
                report.field(label, key);
            }
        }
        if let Some(backup) = &self.backup {
            copy(home, &path, backup, &mut report)?;
        }
        report.next(match publisher {
            true => format!("the marketplace: aimass market delegate {} --key {public}", self.key),
            false => format!("the marketplace: aimass market init --root {public} …"),
        });
        report.print();
        Ok(())
    }
}

fn copy(home: &Home, path: &Path, backup: &Path, report: &mut Report) -> anyhow::Result<()> {
    let key = home.load_key(path)?;
    if !home.create_key(&key, backup, false)? {
        std::fs::remove_file(backup)?;
        anyhow::bail!(
            "a backup is sealed: give a passphrase by AIMASS_PASSPHRASE, --passphrase-file or a prompt"
        );
    }
    report.line("sealed copy", backup.display().to_string());
    report.field("backup", backup.display().to_string());
    Ok(())
}

//! `aimass key export`: what others need of a key, or a copy for the safe.

use crate::home::Home;
use crate::report::Report;
use aimass_trust::publishing::drafts::key_id;
use aimass_trust::{NoteKey, NoteKeyKind, PublicKey};
use clap::Args;
use std::path::{Path, PathBuf};

/// Show a key's public half in every form that other tools read, or write a sealed copy of the key.
///
/// The public half needs no passphrase. Example: `aimass key export acme`
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
        let path = if named.exists() { named } else { PathBuf::from(&self.key) };
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

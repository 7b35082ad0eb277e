//! `aimass model sign`: the publisher's signature on a package folder.

use super::sign_now;
use crate::home::Home;
use crate::plugin::{days, write_whole};
use crate::report::Report;
use aimass_engine::{PackageFolder, STATEMENT_FILE};
use aimass_trust::read_model;
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;

/// Sign a package folder, so that reviewers can sign it too.
///
/// Writes `model.dsse.json` into the folder: the statement over the Merkle root of every file. An older
/// one is replaced, with the signatures of its reviewers. `aimass model add` takes the statement that
/// lies there.
///
/// Example: `aimass model sign ./greeter`
#[derive(Args)]
pub(crate) struct Sign {
    /// Package folder
    folder: PathBuf,
    /// Signing key [default: the publisher's own in the data folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Days until the release expires
    #[arg(long, default_value_t = 365, value_parser = days)]
    days: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Sign {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let package = PackageFolder::read(&self.folder)
            .with_context(|| format!("reading {}", self.folder.display()))?;
        let statement = sign_now(home, &package, self.key.as_deref(), self.days)?;
        let stated = read_model(&statement, &package.digests())?;
        let file = self.folder.join(STATEMENT_FILE);
        write_whole(&file, &statement)?;
        let release = format!("{}@{}", stated.name, stated.version);
        let mut report = Report::new(self.json);
        report.line("signed", format!("{release}  {} files", package.digests().len()));
        for key in &stated.signers {
            report.line("with", key.to_string());
            report.field("public_key", key.to_string());
        }
        report.line("written", file.display().to_string());
        report.field("release", release);
        report.field("file", file.display().to_string());
        let folder = self.folder.display();
        report.next(format!("aimass model review {folder} --accept --key REVIEWER.key"));
        report.next(format!("aimass model add {folder}"));
        report.print();
        Ok(())
    }
}

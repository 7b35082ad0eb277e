//! `aimass model review`: a reviewer's look at a signed package folder, and signature on it.

use crate::home::Home;
use crate::plugin::{Reviewing, review_statement};
use crate::report::Report;
use aimass_engine::{PackageFolder, STATEMENT_FILE};
use aimass_trust::read_model;
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Look at a signed package folder as a reviewer, and sign it.
///
/// Checks that every file is as the statement says, and every signature on it. What the model answers
/// is for the reviewer to find out, as with `aimass model add` on a host of their own; then --accept adds
/// a signature to the same statement. `required` under `[review]` in trust.toml says how many a host wants.
///
/// Examples: `aimass model review ./greeter`, `aimass model review ./greeter --accept --key r.key`
#[derive(Args)]
pub(crate) struct Review {
    /// Package folder with its `model.dsse.json`
    folder: PathBuf,
    #[command(flatten)]
    reviewing: Reviewing,
}

impl Review {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let package = PackageFolder::read(&self.folder)
            .with_context(|| format!("reading {}", self.folder.display()))?;
        let path = self.folder.join(STATEMENT_FILE);
        let statement = package.statement()?.with_context(|| {
            format!("there is no {}; `aimass model sign` makes it", path.display())
        })?;
        let files = package.digests();
        let mut report = Report::new(self.reviewing.json);
        for (name, file) in &files {
            report.line("file", format!("{name}  {} bytes", file.bytes));
        }
        let all = files.iter().map(|(name, file)| json!({ "name": name, "bytes": file.bytes }));
        report.field("files", all.collect::<Vec<_>>());
        let read = |statement: &[u8]| read_model(statement, &files);
        review_statement(home, (&path, &statement), &read, &self.reviewing, &mut report)?;
        report.next(format!("aimass model add {}", self.folder.display()));
        report.print();
        Ok(())
    }
}

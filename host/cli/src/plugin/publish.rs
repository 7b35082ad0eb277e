//! `aimass plugin publish`: what this host admits of publishers that it trusts directly.

use super::sign::{read_component, statement_path};
use crate::home::{Home, runtime};
use crate::report::Report;
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};

/// Admit a signed plugin to this host's registry.
///
/// A running server uses it for models that are published later; models that are published already
/// keep the version that they were locked to.
///
/// Example: `aimass plugin publish acme-hello-0.1.0.wasm`
///
/// Next: name it in a model.toml, then `aimass model add FOLDER`.
#[derive(Args)]
pub(crate) struct Publish {
    /// Signed component; its statement lies beside it
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Publish {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let (wasm, dsse) = read(&self.file)?;
        let (record, kept) = runtime()?.block_on(async {
            let engine = home.publishing_engine().await?;
            let record = engine.publish_plugin(wasm, &dsse).await?;
            let kept = engine.registry().read_plugin(&record.digest)?;
            anyhow::Ok((record, kept))
        })?;
        let (release, sha256) =
            (format!("{}@{}", record.name, record.version), hex(&record.digest));
        let mut report = Report::new(self.json);
        report.line("published", format!("{release}  sha256 {sha256}"));
        if kept.dsse != dsse {
            report.line(
                "kept",
                "the statement that is here: the file's own has fewer signatures, or says something else. \
                 Next: what is stated, such as an expiry, changes with a new version",
            );
        }
        report.field("release", release);
        report.field("sha256", sha256);
        report.field("statement_kept", kept.dsse != dsse);
        report.next("aimass plugin list");
        report.print();
        Ok(())
    }
}

pub(super) fn read(component: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let wasm = read_component(component)?;
    let statement = statement_path(component);
    let dsse = std::fs::read(&statement).with_context(|| {
        format!(
            "{}: every plugin has a signed statement; `aimass plugin sign {}` writes one",
            statement.display(),
            component.display()
        )
    })?;
    Ok((wasm, dsse))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

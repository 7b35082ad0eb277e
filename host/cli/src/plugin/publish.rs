//! `aimass plugin publish`: what this host admits of publishers that it trusts directly.

use super::sign::statement_path;
use crate::home::{Home, runtime};
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};

/// Admit a signed plugin to this host's registry.
///
/// A running server uses it for models that are published later; models that are published already
/// keep the version that they were locked to.
#[derive(Args)]
pub(crate) struct Publish {
    /// Signed component; its statement lies beside it
    file: PathBuf,
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
        println!("published {}@{}  sha256 {}", record.name, record.version, hex(&record.digest));
        if kept.dsse != dsse {
            println!(
                "kept      the statement that is here: the file's own has fewer signatures, or says \
                 something else. Next: what is stated, such as an expiry, changes with a new version"
            );
        }
        Ok(())
    }
}

pub(super) fn read(component: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let wasm = std::fs::read(component).with_context(|| component.display().to_string())?;
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

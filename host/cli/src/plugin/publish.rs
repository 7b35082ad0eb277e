//! `aimass plugin verify` and `publish`: what this host admits.

use super::sign::statement_path;
use crate::home::{Home, runtime};
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Check a signed plugin against this host's trust policy; nothing is published.
#[derive(Args)]
pub(crate) struct Verify {
    /// Signed component; its statement lies beside it
    file: PathBuf,
    /// Name that it must have: `acme/hello`
    #[arg(long)]
    name: Option<String>,
}

/// Admit a signed plugin to this host's registry.
///
/// A running server uses it for models that are published later; models that are published already
/// keep the version that they were locked to.
#[derive(Args)]
pub(crate) struct Publish {
    /// Signed component; its statement lies beside it
    file: PathBuf,
}

impl Verify {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let (wasm, dsse) = read(&self.file)?;
        let policy = aimass_trust::TrustPolicy::load(&home.trust_policy())?;
        let name = self.name.as_deref();
        let package = policy.verify_plugin(wasm, &dsse, name, SystemTime::now())?;
        println!("accepted  {}@{}", package.name(), package.version());
        println!("publisher {}", package.publisher());
        println!("sha256    {}", hex(package.digest()));
        Ok(())
    }
}

impl Publish {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let (wasm, dsse) = read(&self.file)?;
        let record = runtime()?.block_on(async {
            let engine = home.publishing_engine().await?;
            anyhow::Ok(engine.publish_plugin(wasm, &dsse).await?)
        })?;
        println!("published {}@{}  sha256 {}", record.name, record.version, hex(&record.digest));
        Ok(())
    }
}

fn read(component: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
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

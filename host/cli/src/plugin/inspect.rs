//! `aimass plugin inspect`: what a component is and asks for, without trusting it.

use super::publish::hex;
use anyhow::Context;
use clap::Args;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Show what a plugin is and what it asks for. Nothing is run and no signature is checked.
#[derive(Args)]
pub(crate) struct Inspect {
    /// Component, signed or not
    file: PathBuf,
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bytes = std::fs::read(&self.file).with_context(|| self.file.display().to_string())?;
        let manifest = aimass_trust::read_manifest(&bytes)?;
        println!("name          {}@{}", manifest.name, manifest.version);
        println!("world         {}", manifest.world);
        if let Some(description) = &manifest.description {
            println!("description   {description}");
        }
        println!("size          {} bytes", bytes.len());
        println!("sha256        {}", hex(&Sha256::digest(&bytes)));
        let capabilities: Vec<&str> =
            manifest.capabilities.iter().map(|(capability, _)| capability.as_str()).collect();
        println!("capabilities  {}", capabilities.join(", "));
        let imports = aimass_trust::read_imports(&bytes)?;
        println!("imports       {}", imports.join(", "));
        for (name, limit) in manifest.limits.named() {
            if let Some(limit) = limit {
                println!("limit         {name} = {limit}");
            }
        }
        Ok(())
    }
}

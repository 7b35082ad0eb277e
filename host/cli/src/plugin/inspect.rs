//! `aimass plugin inspect`: what a component is and asks for, without running it or trusting it.

mod allowed;

use super::publish::hex;
use super::quantity;
use super::sign::{read_component, statement_path};
use crate::home::Home;
use aimass_sandbox::{AdmissionLimits, Inspection, World, check_component};
use aimass_trust::{Capabilities, Manifest, VerifiedPackage};
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Show what a plugin is, what it asks for, and whether this host would take it.
///
/// Nothing of it is run. Unsigned, stripped and broken components are shown as far as they go, with what
/// is wrong.
///
/// Examples: `aimass plugin inspect hello.wasm`, `aimass plugin inspect --json hello.wasm`
///
/// Next: `aimass plugin sign hello.wasm`, or of what others signed `aimass plugin verify hello.wasm`.
#[derive(Args)]
pub(crate) struct Inspect {
    /// Component, signed or not
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Everything that is told.
struct Findings {
    bytes: Vec<u8>,
    manifest: Result<Manifest, String>,
    seen: Inspection,
    /// Whether the sandbox would load it with all that its manifest asks for, and why not.
    admission: Result<(), String>,
    /// Key id of the signature inside.
    signer: Option<String>,
    /// Whether this host's policy accepts it, and why not.
    trust: Result<VerifiedPackage, String>,
}

impl Inspect {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let bytes = read_component(&self.file)?;
        let findings = Findings::of(bytes, &self.file, home);
        match self.json {
            true => println!("{}", findings.json()),
            false => findings.print(),
        }
        Ok(())
    }
}

impl Findings {
    fn of(bytes: Vec<u8>, file: &Path, home: &Home) -> Findings {
        let limits = AdmissionLimits::default();
        let manifest = aimass_trust::read_manifest(&bytes).map_err(|refusal| refusal.to_string());
        let admission = match &manifest {
            Ok(manifest) => admission(&bytes, manifest, &limits),
            Err(_) => Err("without a manifest there is no world to hold it against".to_owned()),
        };
        Findings {
            seen: Inspection::of(&bytes, &limits),
            signer: aimass_trust::read_signer(&bytes).ok().flatten().map(|id| hex(&id)),
            trust: trust(&bytes, file, home),
            admission,
            manifest,
            bytes,
        }
    }

    fn print(&self) {
        match &self.manifest {
            Ok(manifest) => print_manifest(manifest),
            Err(reason) => println!("manifest      {reason}"),
        }
        println!("size          {} bytes", self.bytes.len());
        println!("sha256        {}", hex(&Sha256::digest(&self.bytes)));
        if let Some(fault) = &self.seen.fault {
            println!("broken        {fault}; what follows is what could be read");
        }
        for section in &self.seen.sections {
            println!("section       {:<24} {:>10}", section.name, quantity::bytes(section.bytes));
        }
        for (at, module) in self.seen.modules.iter().enumerate() {
            let memory = match (module.memory_bytes, module.memory_bytes_max) {
                (None, _) => "no memory of its own".to_owned(),
                (Some(least), None) => format!("memory from {}", quantity::bytes(least)),
                (Some(least), Some(most)) => {
                    format!("memory {} to {}", quantity::bytes(least), quantity::bytes(most))
                }
            };
            println!(
                "core module   {at}: {} functions, {} of code, {} of data, {memory}",
                module.functions,
                quantity::bytes(module.code_bytes),
                quantity::bytes(module.data_bytes),
            );
        }
        for import in &self.seen.imports {
            println!("imports       {import}\n              {}", allowed::by_import(import));
        }
        println!("exports       {}", self.seen.exports.join(", "));
        for figure in &self.seen.figures {
            let over = if figure.value > figure.limit { "  TOO MUCH" } else { "" };
            println!(
                "admission     {:<28} {:>10} of {:>10}{over}",
                figure.name, figure.value, figure.limit
            );
        }
        match &self.admission {
            Ok(()) => println!("sandbox       would load it, if all that it asks for is granted"),
            Err(reason) => println!("sandbox       would refuse it: {reason}"),
        }
        match &self.signer {
            Some(id) => println!("signature     by the key with id {id}"),
            None => println!("signature     none; `aimass plugin sign` makes one"),
        }
        match &self.trust {
            Ok(package) => {
                println!("trust         this host accepts it, from {}", package.publisher())
            }
            Err(reason) => println!("trust         this host refuses it: {reason}"),
        }
    }

    fn json(&self) -> Value {
        let seen = &self.seen;
        let manifest = self.manifest.as_ref();
        json!({
            "manifest": manifest.ok().and_then(|manifest| serde_json::to_value(manifest).ok()),
            "manifest_error": manifest.err(),
            "bytes": self.bytes.len(),
            "sha256": hex(&Sha256::digest(&self.bytes)),
            "fault": seen.fault,
            "sections": seen.sections.iter()
                .map(|section| json!({ "name": section.name, "bytes": section.bytes }))
                .collect::<Vec<_>>(),
            "core_modules": seen.modules.iter().map(|module| json!({
                "functions": module.functions,
                "code_bytes": module.code_bytes,
                "data_bytes": module.data_bytes,
                "memory_bytes": module.memory_bytes,
                "memory_bytes_max": module.memory_bytes_max,
            })).collect::<Vec<_>>(),
            "imports": seen.imports.iter()
                .map(|name| json!({ "name": name, "allows": allowed::by_import(name) }))
                .collect::<Vec<_>>(),
            "exports": seen.exports,
            "admission": seen.figures.iter().map(|figure| json!({
                "name": figure.name, "value": figure.value, "limit": figure.limit,
            })).collect::<Vec<_>>(),
            "admission_error": self.admission.as_ref().err(),
            "signature_key_id": self.signer,
            "trusted": self.trust.is_ok(),
            "publisher": self.trust.as_ref().ok().map(|package| package.publisher()),
            "trust_error": self.trust.as_ref().err(),
        })
    }
}

fn print_manifest(manifest: &Manifest) {
    println!("name          {}@{}", manifest.name, manifest.version);
    println!("world         {}", manifest.world);
    if let Some(description) = &manifest.description {
        println!("description   {description}");
    }
    println!("capabilities  {}", manifest.capabilities);
    for (name, limit) in manifest.limits.named() {
        if let Some(limit) = limit {
            println!("limit         {name} = {limit}");
        }
    }
}

/// Whether a sandbox would load the component with everything granted that its manifest names.
fn admission(bytes: &[u8], manifest: &Manifest, limits: &AdmissionLimits) -> Result<(), String> {
    let kind = manifest.world.kind();
    let Some(world) = World::of_kind(kind) else {
        return Err(format!("there is no world {kind}"));
    };
    let granted: &Capabilities = &manifest.capabilities;
    check_component(bytes, world, granted, limits).map_err(|refused| refused.to_string())
}

/// Whether this host's own policy accepts the component with the statement beside it.
fn trust(bytes: &[u8], file: &Path, home: &Home) -> Result<VerifiedPackage, String> {
    let statement = statement_path(file);
    let dsse = std::fs::read(&statement).map_err(|error| {
        format!("{}: {error}; `aimass plugin sign` writes the statement", statement.display())
    })?;
    let policy = home.read_trust().map_err(|error| format!("{error:#}"))?;
    let verified = policy.verify_plugin(bytes.to_vec(), &dsse, None, SystemTime::now());
    verified.map_err(|refusal| refusal.to_string())
}

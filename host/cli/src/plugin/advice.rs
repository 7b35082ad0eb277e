//! What an author has to change so that a component loads: the file, the line, and what to write there.
//!
//! The host would refuse the same component later, in its own words; here the project is at hand.

use aimass_sandbox::{AdmissionLimits, Inspection, World};
use aimass_trust::{Capability, Manifest};
use anyhow::bail;
use std::path::Path;

/// Versions of the contract that this tool builds for.
const CONTRACT: &str = "0.1.";

/// Holds a component against its manifest. Answers warnings: what is allowed, but not as it should be.
///
/// # Errors
/// What keeps the component from loading, and what to write to mend it.
pub(super) fn check(
    project: &Path,
    component: &[u8],
    manifest: &Manifest,
) -> anyhow::Result<Vec<String>> {
    let seen = Inspection::of(component, &AdmissionLimits::default());
    let toml = std::fs::read_to_string(project.join("plugin.toml")).unwrap_or_default();
    let place =
        |key: &str| format!("{}:{}", project.join("plugin.toml").display(), line(&toml, key));
    check_contract(project, &seen)?;
    check_world(&place("world"), project, &seen, manifest)?;
    let used: Vec<Capability> = seen.imports.iter().filter_map(|name| capability(name)).collect();
    let declared = |one: &Capability| manifest.capabilities.allows(*one);
    let missing: Vec<Capability> = used.iter().copied().filter(|one| !declared(one)).collect();
    if !missing.is_empty() {
        bail!(
            "{}: the component imports {}, which `capabilities` does not name; write\n    {}\n\
             or do not use {}",
            place("capabilities"),
            names(&missing),
            list(|one| declared(one) || used.contains(one)),
            if missing.len() == 1 { "it" } else { "them" },
        );
    }
    let unused: Vec<Capability> =
        Capability::ALL.into_iter().filter(|one| declared(one) && !used.contains(one)).collect();
    if unused.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "{}: the component never uses {}; an operator has to allow what is named, so write\n    {}",
        place("capabilities"),
        names(&unused),
        list(|one| used.contains(one)),
    )])
}

/// Refuses interfaces of another version of the contract.
fn check_contract(project: &Path, seen: &Inspection) -> anyhow::Result<()> {
    let versioned = seen.imports.iter().filter_map(|name| {
        let (_, version) = name.strip_prefix("aimass:plugin/")?.split_once('@')?;
        (!version.starts_with(CONTRACT)).then_some((name, version))
    });
    let Some((name, version)) = versioned.into_iter().next() else { return Ok(()) };
    let file = project.join("Cargo.toml");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    bail!(
        "{}:{}: the component imports `{name}`, of contract {version}; this aimass serves contract \
         {CONTRACT}x. Write\n    aimass-sdk = {{ path = \"vendor/sdk/rust\", features = [..] }}\nwith the \
         `vendor` folder that `aimass plugin new` of this version makes, and build again",
        file.display(),
        line(&text, "aimass-sdk"),
    )
}

/// Refuses a component that does not export what the world of its manifest wants.
fn check_world(
    place: &str,
    project: &Path,
    seen: &Inspection,
    manifest: &Manifest,
) -> anyhow::Result<()> {
    let kind = manifest.world.kind();
    let Some(world) = World::of_kind(kind) else {
        let known: Vec<&str> = World::ALL.into_iter().map(World::as_str).collect();
        bail!("{place}: expected one of the worlds {}, got {kind:?}", known.join(", "));
    };
    let exports = |world: World| {
        world.exports().iter().all(|export| seen.exports.iter().any(|name| name == export))
    };
    if exports(world) {
        return Ok(());
    }
    // The world with the most functions first, so that `tracing-format` is not taken for `format`.
    let mut fitting = World::ALL.to_vec();
    fitting.sort_by_key(|world| std::cmp::Reverse(world.exports().len()));
    let remedy = match fitting.into_iter().find(|world| exports(*world)) {
        Some(other) => format!("write\n    world = \"{other}\"\nor export"),
        None => "export".to_owned(),
    };
    bail!(
        "{place}: the world {world} exports {}; the component exports {}. To mend it, {remedy} the type \
         that implements it in {}:\n    aimass_sdk::export_{}!(MyPlugin);",
        world.exports().join(", "),
        if seen.exports.is_empty() { "nothing".to_owned() } else { seen.exports.join(", ") },
        project.join("src/lib.rs").display(),
        world.as_str().replace('-', "_"),
    )
}

/// The capability that an import needs.
fn capability(import: &str) -> Option<Capability> {
    let (interface, _) = import.strip_prefix("aimass:plugin/")?.split_once('@')?;
    interface.parse().ok()
}

fn names(capabilities: &[Capability]) -> String {
    capabilities.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ")
}

/// The line of `plugin.toml` that names these capabilities, in the order of the contract.
fn list(wanted: impl Fn(&Capability) -> bool) -> String {
    let quoted = Capability::ALL.into_iter().filter(wanted).map(|one| format!("\"{one}\""));
    format!("capabilities = [{}]", quoted.collect::<Vec<_>>().join(", "))
}

/// Number of the line that sets `key`; 1 if none does.
fn line(toml: &str, key: &str) -> usize {
    let sets = |line: &str| {
        let rest = line.trim_start().strip_prefix(key);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
    };
    toml.lines().position(sets).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "name = \"acme/hello\"\nversion = \"0.1.0\"\nworld = \"processor\"\n\
                        # what it may touch\ncapabilities = [\"config\", \"tensor\"]\n";

    /// The components of the released contract, as strangers would bring them.
    const PROCESSOR: &[u8] = include_bytes!("../../../../tests/guests/frozen/0.1.0/processor.wasm");

    /// What an author is told of a component whose import names are `change`d, for this manifest.
    fn told(toml: &str, component: &[u8]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plugin.toml"), toml).unwrap();
        let cargo = "[package]\n[dependencies]\naimass-sdk = { path = \"../old\" }\n";
        std::fs::write(folder.path().join("Cargo.toml"), cargo).unwrap();
        let manifest = crate::plugin::manifest::read(folder.path()).unwrap();
        check(folder.path(), component, &manifest).map_err(|error| error.to_string())
    }

    /// The same component with other bytes of the same number.
    fn replaced(component: &[u8], from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut bytes = component.to_vec();
        let mut found = false;
        for at in 0..bytes.len() - from.len() {
            if &bytes[at..at + from.len()] == from.as_bytes() {
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
                found = true;
            }
        }
        assert!(found, "{from} is not in the component");
        bytes
    }

    #[test]
    fn a_component_as_its_manifest_says_is_fine() {
        let toml = TOML.replace("\"config\", ", "");
        assert_eq!(told(&toml, PROCESSOR), Ok(Vec::new()));
    }

    #[test]
    fn an_undeclared_import_is_told_with_the_line_to_write() {
        let error = told(&TOML.replace("\"config\", \"tensor\"", "\"config\""), PROCESSOR);
        let error = error.unwrap_err();
        assert!(error.contains("plugin.toml:5: the component imports `tensor`"), "{error}");
        assert!(error.contains("capabilities = [\"config\", \"tensor\"]"), "{error}");
    }

    #[test]
    fn a_capability_that_is_never_used_is_a_warning_with_the_line_to_write() {
        let warnings = told(TOML, PROCESSOR).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("plugin.toml:5: the component never uses `config`"));
        assert!(warnings[0].contains("capabilities = [\"tensor\"]"), "{}", warnings[0]);
    }

    #[test]
    fn another_contract_version_names_the_dependency() {
        let other = replaced(PROCESSOR, "aimass:plugin/tensor@0.1.0", "aimass:plugin/tensor@0.2.0");
        let error = told(TOML, &other).unwrap_err();
        assert!(error.contains("Cargo.toml:3: the component imports"), "{error}");
        assert!(error.contains("contract 0.2.0; this aimass serves contract 0.1.x"), "{error}");
        assert!(error.contains("aimass-sdk = { path = \"vendor/sdk/rust\""), "{error}");
    }

    #[test]
    fn a_missing_export_names_the_world_that_would_fit_or_the_macro() {
        let format = TOML.replace("\"processor\"", "\"format\"");
        let error = told(&format, PROCESSOR).unwrap_err();
        assert!(error.contains("plugin.toml:3: the world format exports init, detect, load"));
        assert!(error.contains("world = \"processor\""), "{error}");
        assert!(error.contains("aimass_sdk::export_format!(MyPlugin);"), "{error}");
        let nothing = told(TOML, b"\0asm\x0d\0\x01\0").unwrap_err();
        assert!(nothing.contains("the component exports nothing"), "{nothing}");
        assert!(nothing.contains("aimass_sdk::export_processor!(MyPlugin);"), "{nothing}");
    }
}

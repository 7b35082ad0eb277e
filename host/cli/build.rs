//! Collects the templates, the SDK and the contract into constants, for `aimass plugin new`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut code = String::new();
    constant(&mut code, "TEMPLATES", &files(&root.join("sdk/templates"), ""));
    let mut sdk = files(&root.join("sdk/rust"), "sdk/rust/");
    sdk.extend(files(&root.join("wit"), "wit/"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let workspace = out.join("vendor.toml");
    std::fs::write(&workspace, vendor_workspace(&root)).expect("OUT_DIR is writable");
    sdk.push(("Cargo.toml".to_owned(), workspace));
    constant(&mut code, "SDK", &sdk);
    let mut guest_sdk = Vec::new();
    for language in ["python", "js", "c", "zig"] {
        let folder = root.join("sdk").join(language);
        guest_sdk.extend(files(&folder, &format!("sdk/{language}/")));
    }
    let contract = files(&root.join("wit"), "wit/");
    guest_sdk.extend(contract.into_iter().filter(|(name, _)| !name.contains("/released/")));
    constant(&mut code, "GUEST_SDK", &guest_sdk);
    let lock = root.join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    writeln!(code, "pub(super) const LOCK: &str = include_str!({:?});", lock).expect("a string");
    std::fs::write(out.join("embedded.rs"), code).expect("OUT_DIR is writable");
}

/// Files below `dir` with their names relative to it, sorted.
fn files(dir: &Path, prefix: &str) -> Vec<(String, PathBuf)> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries.flatten() {
        // What Python leaves behind beside sources that were run in place.
        if entry.file_name() == "__pycache__" {
            continue;
        }
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().expect("a file that was just listed");
        if kind.is_dir() {
            found.extend(files(&entry.path(), &format!("{name}/")));
        } else {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    found
}

fn constant(code: &mut String, name: &str, files: &[(String, PathBuf)]) {
    writeln!(code, "pub(super) const {name}: &[(&str, &str)] = &[").expect("a string");
    for (file, path) in files {
        let path = std::path::absolute(path).expect("a path that was just listed");
        writeln!(code, "    ({file:?}, include_str!({path:?})),").expect("a string");
    }
    code.push_str("];\n");
}

/// A workspace manifest with what the SDK inherits, and nothing else.
fn vendor_workspace(root: &Path) -> String {
    let path = root.join("Cargo.toml");
    println!("cargo::rerun-if-changed={}", path.display());
    let read = |path: &Path| -> toml::Table {
        let text = std::fs::read_to_string(path).expect("a manifest of this workspace");
        text.parse().expect("a manifest that cargo has read")
    };
    let sdk = read(&root.join("sdk/rust/Cargo.toml"));
    let used = sdk["dependencies"].as_table().expect("a table").clone();
    let mut workspace = read(&path)["workspace"].as_table().expect("a table").clone();
    let all = workspace["dependencies"].as_table().expect("a table").clone();
    let kept: toml::Table = all.into_iter().filter(|(name, _)| used.contains_key(name)).collect();
    workspace.insert("dependencies".into(), kept.into());
    workspace.insert("members".into(), vec!["sdk/rust"].into());
    let manifest = toml::Table::from_iter([("workspace".to_owned(), workspace.into())]);
    toml::to_string(&manifest).expect("a table is TOML")
}

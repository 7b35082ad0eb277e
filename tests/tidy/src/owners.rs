//! Heavy dependencies have one owner each.

use crate::manifests;
use crate::repository;

/// (dependency or prefix of a family, its only owner, why).
const OWNERS: &[(&str, &str, &str)] = &[
    ("wasmtime", "aimass-sandbox", "only the sandbox hosts WebAssembly"),
    ("ed25519-dalek", "aimass-trust", "one place knows the strict signature rule"),
    ("cudarc", "aimass-cuda", "only aimass-cuda talks to the driver"),
];

#[test]
fn heavy_dependencies_have_one_owner() {
    let mut faults = Vec::new();
    for member in manifests::members() {
        for dependency in member.dependencies() {
            for (package, owner, reason) in OWNERS {
                if is_of(&dependency, package) && member.name != *owner {
                    faults.push(format!("{} -> {dependency}: {reason}", member.name));
                }
            }
        }
    }
    repository::assert_none("These dependencies belong to another crate:", &faults);
}

/// Whether `dependency` is `package` or one of its companions, such as `wasmtime-wizer`.
fn is_of(dependency: &str, package: &str) -> bool {
    let rest = dependency.strip_prefix(package);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[test]
fn companions_belong_to_the_family() {
    assert!(is_of("wasmtime", "wasmtime") && is_of("wasmtime-wizer", "wasmtime"));
    assert!(!is_of("wasmtimer", "wasmtime") && !is_of("wasmparser", "wasmtime"));
}

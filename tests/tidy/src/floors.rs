//! The floors of `docs/architecture.md`: a crate may depend on crates of lower floors only.
//!
//! Adding a crate means giving it a floor here; adding an arrow that goes up fails this test.

use crate::manifests::{self, Member};
use crate::repository;

/// Ground floor first. Crates on one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &[
        "aimass-tensor",
        "aimass-telemetry",
        "aimass-vault",
        "aimass-trust",
        "aimass-sdk",
        "aimass-json-schema",
        "aimass-build",
        "aimass-testkit",
        "aimass-vgpu",
        "aimass-vgpu-interface",
        "aimass-tidy",
    ],
    &[
        "aimass-cpu",
        "aimass-cuda",
        "aimass-media",
        "aimass-market",
        "aimass-registry",
        "aimass-vgpu-cublaslt",
        "aimass-vgpu-nccl",
    ],
    &["aimass-graph"],
    &["aimass-dispatch", "aimass-train", "aimass-op-tests"],
    &["aimass-sandbox", "aimass-compress", "aimass-cluster"],
    &["aimass-engine"],
    &["aimass-gateway", "aimass-guest-tests"],
    &["aimass"],
    &["xtask", "aimass-e2e", "aimass-bench", "aimass-fuzz", "aimass-onnx-tests"],
];

/// What plugins may know of ours: crates that are published for authors.
const FOR_AUTHORS: &[&str] = &["aimass-sdk", "aimass-json-schema"];

/// Folders of plugins: their crates know [`FOR_AUTHORS`] and nothing else of ours.
const GUEST_FOLDERS: &[&str] =
    &["plugins", "tests/guests/composer", "tests/guests/program", "tests/guests/tracer"];

#[test]
fn dependencies_point_down() {
    let mut faults = Vec::new();
    for member in manifests::members().iter().filter(|member| !is_guest(member)) {
        let Some(own) = floor(&member.name) else {
            faults.push(format!("{}: give it a floor in {}", member.name, file!()));
            continue;
        };
        for dependency in member.dependencies().iter().filter(|name| is_ours(name)) {
            match floor(dependency) {
                Some(other) if other < own => {}
                Some(other) => {
                    faults.push(format!("{} ({own}) -> {dependency} ({other})", member.name));
                }
                None => faults.push(format!("{} -> {dependency}, without a floor", member.name)),
            }
        }
    }
    repository::assert_none("A crate depends on crates of lower floors only:", &faults);
}

#[test]
fn plugins_know_the_sdk_alone() {
    let mut faults = Vec::new();
    for member in manifests::members().iter().filter(|member| is_guest(member)) {
        let dependencies = [member.dependencies(), member.dev_dependencies()].concat();
        for dependency in dependencies.iter().filter(|name| is_ours(name)) {
            if !FOR_AUTHORS.contains(&dependency.as_str()) {
                faults.push(format!("{} -> {dependency}", member.folder.display()));
            }
        }
    }
    repository::assert_none("A plugin of ours uses what a third party's may:", &faults);
}

fn is_guest(member: &Member) -> bool {
    GUEST_FOLDERS.iter().any(|folder| member.folder.starts_with(folder))
}

fn is_ours(package: &str) -> bool {
    package == "aimass" || package.starts_with("aimass-") || package == "xtask"
}

fn floor(package: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&package))
}

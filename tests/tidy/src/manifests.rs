//! The `Cargo.toml` files of the workspace's members.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::repository;

/// One member of the workspace.
pub(crate) struct Member {
    /// Its folder, relative to the root.
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    manifest: Table,
}

impl Member {
    /// Packages that are linked into this one or run while it is built.
    pub(crate) fn dependencies(&self) -> Vec<String> {
        self.packages(&["dependencies", "build-dependencies"])
    }

    /// Packages that only its tests use.
    pub(crate) fn dev_dependencies(&self) -> Vec<String> {
        self.packages(&["dev-dependencies"])
    }

    fn packages(&self, kinds: &[&str]) -> Vec<String> {
        let targets = self.manifest.get("target").and_then(Value::as_table);
        let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
        let tables = std::iter::once(&self.manifest).chain(targets);
        tables
            .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()))
            .flatten()
            .map(|(key, value)| package(key, value))
            .collect()
    }
}

/// The package behind a dependency that may carry another name.
fn package(key: &str, value: &Value) -> String {
    value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned()
}

/// All members, `folder/*` patterns included.
pub(crate) fn members() -> Vec<Member> {
    let workspace = parse(Path::new("Cargo.toml"));
    let patterns = workspace["workspace"]["members"].as_array().unwrap();
    let folders = patterns.iter().flat_map(|pattern| expand(pattern.as_str().unwrap()));
    folders
        .map(|folder| {
            let manifest = parse(&folder.join("Cargo.toml"));
            let name = manifest["package"]["name"].as_str().unwrap().to_owned();
            Member { folder, name, manifest }
        })
        .collect()
}

fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some(parent) = pattern.strip_suffix("/*") else {
        return vec![PathBuf::from(pattern)];
    };
    let manifests = repository::files_of("toml").into_iter();
    manifests
        .filter(|path| path.ends_with("Cargo.toml"))
        .filter_map(|path| path.parent().map(Path::to_owned))
        .filter(|folder| folder.parent() == Some(Path::new(parent)))
        .collect()
}

fn parse(path: &Path) -> Table {
    repository::read(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_crate_is_a_member_of_the_workspace() {
    let members: Vec<PathBuf> = members().into_iter().map(|member| member.folder).collect();
    let mut faults = Vec::new();
    for path in repository::files_of("toml") {
        let folder = path.parent().unwrap().to_owned();
        let is_crate = path.ends_with("Cargo.toml") && folder != Path::new("");
        // Fuzz targets are workspaces of their own, as cargo-fuzz makes them.
        let apart = folder.starts_with("sdk/templates") || folder.ends_with("fuzz");
        if is_crate && !apart && !members.contains(&folder) {
            faults.push(format!("{}: add it to [workspace] members", folder.display()));
        }
    }
    repository::assert_none("These crates are not checked with the others:", &faults);
}

#[test]
fn renamed_and_target_specific_dependencies_are_seen() {
    let manifest: Table =
        "[dependencies]\na = \"1\"\nb = { package = \"real-b\", version = \"1\" }\n\
                           [target.'cfg(unix)'.dependencies]\nc.workspace = true\n\
                           [dev-dependencies]\nd = \"1\""
            .parse()
            .unwrap();
    let member = Member { folder: PathBuf::new(), name: "x".to_owned(), manifest };
    assert_eq!(member.dependencies(), ["a", "real-b", "c"]);
    assert_eq!(member.dev_dependencies(), ["d"]);
}

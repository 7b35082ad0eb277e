//! A tour at the top, and a few lines in every folder.

use std::path::Path;

use crate::repository;

const ROOT_LINES_MAX: usize = 150;
const FOLDER_LINES_MAX: usize = 15;

/// Folders that a newcomer opens first.
const TOP_FOLDERS: &[&str] = &["docs", "host", "kernels", "plugins", "sdk", "tests", "wit"];

#[test]
fn the_readme_is_a_short_tour() {
    let lines = repository::read(Path::new("README.md")).lines().count();
    assert!(lines <= ROOT_LINES_MAX, "README.md has {lines} lines; at most {ROOT_LINES_MAX}");
}

#[test]
fn every_top_folder_has_a_readme() {
    let missing = TOP_FOLDERS.iter().map(|folder| Path::new(folder).join("README.md"));
    let missing: Vec<String> = missing
        .filter(|path| !repository::root().join(path).exists())
        .map(|path| path.display().to_string())
        .collect();
    repository::assert_none("Say in at most 15 lines what the folder holds:", &missing);
}

#[test]
fn folder_readmes_are_a_few_lines() {
    let mut faults = Vec::new();
    for path in repository::files() {
        // A template's README belongs to the plugin that is made from it.
        let other = path == Path::new("README.md") || path.starts_with("sdk/templates");
        if path.ends_with("README.md") && !other {
            let lines = repository::read(&path).lines().count();
            if lines > FOLDER_LINES_MAX {
                faults.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    repository::assert_none("A folder's README has at most 15 lines:", &faults);
}

//! Fixtures of the first-party plugins, run as their authors would.

use std::path::{Path, PathBuf};

use aimass_e2e::{Site, repository};

/// The plugin of most code and configurations: each configuration is compiled anew.
const SLOW: &str = "tokenizer";

/// Not a processor; `tests/guests/tests/first_party.rs` runs its fixtures.
const FORMAT: &str = "bert";

#[test]
fn plugins_answer_their_fixtures_in_the_sandbox() {
    let site = Site::new();
    let projects = projects();
    assert!(projects.len() >= 9, "{projects:?}");
    for project in projects.iter().filter(|project| !project.ends_with(SLOW)) {
        run(&site, project);
    }
}

#[test]
#[ignore = "compiles a dozen images, which takes a minute; `cargo xtask test --all` runs it"]
fn the_tokenizer_answers_its_fixtures_in_the_sandbox() {
    run(&Site::new(), &repository().join("plugins").join(SLOW));
}

fn run(site: &Site, project: &Path) {
    let name = project.file_name().expect("a name").to_string_lossy();
    let component = site.component(&name).display().to_string();
    let project = project.display().to_string();
    let tested = site.succeed(&["plugin", "test", &project, "--component", &component]);
    assert!(tested.contains(" passed, 0 failed"), "{name}: {tested}");
}

/// Folders of `plugins/` that hold fixtures of a processor.
fn projects() -> Vec<PathBuf> {
    let folder = repository().join("plugins");
    let entries = folder.read_dir().expect("the folder of plugins");
    let mut projects: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    projects.retain(|project| project.join("fixtures/cases.json").exists());
    projects.retain(|project| !project.ends_with(FORMAT));
    projects.sort();
    projects
}

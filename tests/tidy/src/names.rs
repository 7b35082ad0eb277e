//! Files are nouns that a user would say.

use crate::repository;

const FORBIDDEN: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "misc"];

#[test]
fn no_file_or_folder_has_a_name_that_says_nothing() {
    let mut faults = Vec::new();
    for path in repository::files() {
        let parts = path.iter().filter_map(|part| part.to_str());
        let stems = parts.map(|part| part.split('.').next().unwrap_or(part));
        for stem in stems.filter(|stem| FORBIDDEN.contains(stem)) {
            faults.push(format!("{}: `{stem}` says nothing of what is inside", path.display()));
        }
    }
    repository::assert_none("Name files after what they hold:", &faults);
}

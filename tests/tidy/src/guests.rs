//! Every guest program in `tests/guests` is run by a test.
//!
//! A guest is a folder with a `Cargo.toml`, a `.wat` file, or a file in `src/bin`. A test runs
//! it where Rust code outside the guests names it: as a word, with `_` or `-`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::repository;

const GUESTS: &str = "tests/guests";

#[test]
fn every_guest_program_has_a_test() {
    let guests: BTreeSet<String> =
        repository::files().iter().filter_map(|path| guest(path)).collect();
    assert!(!guests.is_empty(), "{GUESTS} holds no guest program; hostile guests belong there");
    let tests = test_text();
    let untested: Vec<String> =
        guests.iter().filter(|guest| !names(&tests, guest)).cloned().collect();
    repository::assert_none("No test names these guests:", &untested);
}

/// The name of the guest that `path` is the main file of.
fn guest(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(GUESTS).ok()?;
    let folder = inside.parent()?;
    let is_wat = path.extension().is_some_and(|it| it == "wat");
    let is_binary = folder.ends_with("src/bin") && path.extension().is_some_and(|it| it == "rs");
    let name = if inside.ends_with("Cargo.toml") && folder != Path::new("") {
        folder.file_name()?
    } else if is_wat || is_binary {
        path.file_stem()?
    } else {
        return None;
    };
    Some(name.to_str()?.replace('-', "_"))
}

/// All Rust code that may run guests, with `-` as `_`: that of `tests/guests` itself, too, but not
/// the guests'.
fn test_text() -> String {
    let mut files = repository::files_of("rs");
    files.retain(|path| {
        let may_run = path.starts_with("tests") || path.starts_with("host");
        let own = |folder: &str| path.starts_with(Path::new(GUESTS).join(folder));
        let is_guest = path.starts_with(GUESTS) && !own("src") && !own("tests");
        may_run && !is_guest && !path.starts_with("tests/tidy")
    });
    files.iter().map(|path| repository::read(path).replace('-', "_")).collect()
}

/// Whether `text` holds `name` as a whole word.
fn names(text: &str, name: &str) -> bool {
    text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_').any(|word| word == name)
}

#[test]
fn guests_are_found_in_every_form() {
    assert_eq!(
        guest(Path::new("tests/guests/memory-bomb/Cargo.toml")),
        Some("memory_bomb".to_owned())
    );
    assert_eq!(guest(Path::new("tests/guests/endless.wat")), Some("endless".to_owned()));
    assert_eq!(guest(Path::new("tests/guests/h/src/bin/trap.rs")), Some("trap".to_owned()));
    assert_eq!(guest(Path::new("tests/guests/Cargo.toml")), None);
    assert_eq!(guest(Path::new("tests/guests/memory-bomb/src/lib.rs")), None);
    assert!(names("run(\"memory_bomb\")", "memory_bomb"));
    assert!(!names("memory_bomber", "memory_bomb"));
}

//! Documents name files that exist.
//!
//! A path in backquotes or in a link is checked. Write `<name>` for the part of a path that
//! stands for many.

use std::path::{Path, PathBuf};

use crate::repository;

/// Folders that a path in a document may start from: the root, and the rooms of its crates.
const STARTS: &[&str] = &["", "kernels", "host", "tests"];

/// Endings that make a word with a slash a path.
const ENDINGS: &[&str] = &[".rs", ".md", ".wit", ".py", ".toml", ".json", ".txt", ".cu"];

#[test]
fn every_path_named_in_documents_exists() {
    let mut faults = Vec::new();
    for document in documents() {
        // A folder's own README names what lies beside it.
        let beside = document.parent().unwrap_or(Path::new(""));
        let starts = || STARTS.iter().map(Path::new).chain([beside]);
        for (line, path) in named_paths(&repository::read(&document)) {
            if !starts().any(|start| exists(&start.join(&path))) {
                faults.push(format!("{}:{line}: `{path}`", document.display()));
            }
        }
    }
    repository::assert_none("These paths are gone:", &faults);
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut faults = Vec::new();
    for document in documents() {
        for (line, target) in links(&repository::read(&document)) {
            let folder = document.parent().unwrap();
            if !exists(&folder.join(&target)) {
                faults.push(format!("{}:{line}: {target}", document.display()));
            }
        }
    }
    repository::assert_none("These links are dead:", &faults);
}

fn documents() -> Vec<PathBuf> {
    let mut documents = repository::files_of("md");
    documents.retain(|path| !path.starts_with("sdk/templates"));
    documents
}

fn exists(path: &Path) -> bool {
    repository::root().join(path).exists()
}

/// Line number and path of every backquoted path outside fenced blocks.
fn named_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in prose(text) {
        let quoted = text.split('`').skip(1).step_by(2);
        found.extend(quoted.filter(|word| is_path(word)).map(|word| (line, word.to_owned())));
    }
    found
}

fn is_path(word: &str) -> bool {
    let plain = word.chars().all(|it| it.is_ascii_alphanumeric() || "._-/".contains(it));
    let absolute = word.starts_with('/') || word.starts_with('.') || word.starts_with("target/");
    let Some((first, rest)) = word.split_once('/') else {
        return false;
    };
    let known = STARTS.iter().any(|start| exists(&Path::new(start).join(first)));
    let ends_like_one = rest.is_empty() || ENDINGS.iter().any(|ending| word.ends_with(ending));
    plain && !absolute && (known || ends_like_one)
}

/// Line number and target of every link into the repository outside fenced blocks.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in prose(text) {
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') {
                found.push((line, target.to_owned()));
            }
        }
    }
    found
}

/// Numbered lines that are not inside a fenced block.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

#[test]
fn paths_and_links_are_told_from_other_words() {
    let text = "See `docs/gone.md` and `tidy/src/lib.rs`, not `application/json`,\n\
                `/v2/health/ready`, `acme/*`, `host/<name>/src`.\n```\n`docs/fenced.md`\n```\n\
                [a](gone.md#part) [b](https://example.org/x.md) [c](#here)";
    let paths = named_paths(text);
    assert_eq!(paths, [(1, "docs/gone.md".to_owned()), (1, "tidy/src/lib.rs".to_owned())]);
    assert_eq!(links(text), [(6, "gone.md".to_owned())]);
}

//! The files of `tests/golden/media`.
#![allow(dead_code, reason = "each test takes what it needs")]

use serde::Deserialize;
use std::path::PathBuf;

/// A file and what a library of others read out of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) file: String,
    /// `[height, width, channels]`, or `[frames, channels]` of a sound.
    pub(crate) shape: Vec<usize>,
    pub(crate) expected: String,
    /// Mean difference of a picture's bytes at most.
    #[serde(default)]
    pub(crate) mean: f64,
    /// Largest difference of a picture's bytes.
    #[serde(default)]
    pub(crate) most: u8,
    /// Sampling rate of a sound.
    pub(crate) rate: Option<u32>,
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    serde_json::from_slice(&read("cases.json")).unwrap()
}

/// A file of the folder.
pub(crate) fn read(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/media");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

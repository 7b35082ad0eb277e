//! Labels and texts of a real model beside those of RapidOCR.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::labels::{Labels, lines, metadata};
use crate::path::Reading;

#[derive(Deserialize)]
struct Expected {
    shape: [usize; 3],
    labels: Vec<String>,
    texts: Vec<String>,
    scores: Vec<f32>,
}

fn prepared(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is set")))
}

/// The labels in the model's own file, and how many bytes of it were read.
fn labels_of(model: &Path) -> (Vec<String>, u64) {
    let file = RefCell::new(File::open(model).unwrap());
    let size = file.borrow().metadata().unwrap().len();
    let total = RefCell::new(0);
    let read = |offset: u64, len: u64| {
        *total.borrow_mut() += len;
        let mut bytes = vec![0; len as usize];
        file.borrow_mut().seek(SeekFrom::Start(offset)).unwrap();
        file.borrow_mut().read_exact(&mut bytes).unwrap();
        Ok(bytes)
    };
    let text = metadata(&read, size, "character").unwrap();
    (lines(&text).unwrap(), total.into_inner())
}

#[test]
#[ignore = "needs AIMASS_PYTHON and AIMASS_MODEL_DIR, which `cargo xtask test` sets"]
fn lines_are_read_as_rapidocr_reads_them() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rapidocr = prepared("AIMASS_MODEL_DIR").with_file_name("rapidocr");
    let out = tempfile::tempdir().unwrap();
    let status = Command::new(prepared("AIMASS_PYTHON"))
        .arg(here.join("fixtures/reference.py"))
        .arg(&rapidocr)
        .arg(here.join("../../tests/onnx/python"))
        .arg(out.path())
        .status()
        .unwrap();
    assert!(status.success(), "reference.py ended with {status}");
    let expected = std::fs::read(out.path().join("texts.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&expected).unwrap();
    let model = rapidocr.join("rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx");
    let (labels, read) = labels_of(&model);
    assert!(read < 100_000, "{read} bytes of the model were read");
    assert_eq!(labels, expected.labels);
    let mut names: Vec<&str> = labels.iter().map(String::as_str).collect();
    names.push(" ");
    let labels = Labels::of_names(&names);
    let bytes = std::fs::read(out.path().join("probabilities.f32")).unwrap();
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    let values: Vec<f32> = bytes.chunks_exact(4).map(value).collect();
    let [_, steps, classes] = expected.shape;
    assert_eq!(labels.classes(), classes);
    let mut reading = Reading::default();
    for row in values.chunks(steps * classes) {
        let best = |step: &[f32]| {
            step.iter().copied().enumerate().rev().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
        };
        let (best, values): (Vec<_>, Vec<_>) =
            row.chunks(classes).map(best).map(|(class, value)| (class as i64, value)).unzip();
        reading.read(&labels, &best, &values).unwrap();
    }
    assert_eq!(reading.texts, expected.texts);
    assert!(reading.texts[0].starts_with("INVOICE"), "{:?}", reading.texts);
    for (ours, theirs) in reading.scores.iter().zip(&expected.scores) {
        assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
    }
}

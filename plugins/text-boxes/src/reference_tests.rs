//! Boxes of a drawn page beside those of RapidOCR, which uses OpenCV and Clipper.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::{Settings, scale, scaled};

#[derive(Deserialize)]
struct Expected {
    map: [usize; 2],
    picture: [i64; 2],
    boxes: Vec<[[f32; 2]; 4]>,
    scores: Vec<f64>,
}

fn prepared(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is set")))
}

#[test]
#[ignore = "needs AIMASS_PYTHON and AIMASS_MODEL_DIR, which `cargo xtask test` sets"]
fn boxes_of_a_page_are_those_of_rapidocr() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let status = Command::new(prepared("AIMASS_PYTHON"))
        .arg(here.join("fixtures/reference.py"))
        .arg(prepared("AIMASS_MODEL_DIR").with_file_name("rapidocr"))
        .arg(here.join("../../tests/onnx/python"))
        .arg(out.path())
        .status()
        .unwrap();
    assert!(status.success(), "reference.py ended with {status}");
    let expected = std::fs::read(out.path().join("boxes.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&expected).unwrap();
    let bytes = std::fs::read(out.path().join("map.f32")).unwrap();
    let value = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    let map: Vec<f32> = bytes.chunks_exact(4).map(value).collect();
    let [height, width] = expected.map;
    let to = [
        scale("width", Some(expected.picture[1]), width as u64).unwrap(),
        scale("height", Some(expected.picture[0]), height as u64).unwrap(),
    ];
    let found = Settings::default().finder().find(&map, width);
    assert_eq!(found.len(), expected.boxes.len());
    assert!(found.len() >= 5, "five lines are drawn");
    for (theirs, score) in expected.boxes.iter().zip(&expected.scores) {
        let near = found.iter().any(|found| {
            let corners = found.corners.map(|point| scaled(point, to));
            let apart = corners.as_flattened().iter().zip(theirs.as_flattened());
            apart.into_iter().all(|(a, b)| (a - b).abs() <= 1.0)
                && (found.score - score).abs() <= 0.01
        });
        assert!(near, "no box at {theirs:?} with score {score}: {found:?}");
    }
}

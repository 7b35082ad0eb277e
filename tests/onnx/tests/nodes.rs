//! ONNX's own node tests, as many as the documentation says and no fewer.

use aimass_engine::DeviceChoice;
use aimass_onnx_tests::{Case, Group, Plan, Site, Suite, Test, Verdict, documented_failures};
use aimass_onnx_tests::{operators_page_text, prepared, run, sample};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tests of a run that is not of all.
const SAMPLE: usize = 250;
/// Of the tests of opset 21 and older, and of newer ones, so many percent pass.
const PERCENT_MIN: [usize; 2] = [95, 80];
/// Far more than the slowest test takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn node_tests_hold() {
    let Some(page) = operators_page_text() else { return };
    let documented = documented_failures(&page);
    let tests = Suite::read(&prepared("AIMASS_ONNX_CASES").join("nodes")).unwrap().tests;
    for (group, percent) in promised(&tests, &documented).iter().zip(PERCENT_MIN) {
        assert!(group.reaches(percent), "{}, of which {percent} % must", group.text());
    }
    let tests = chosen(tests);
    let plugin = prepared("AIMASS_PLUGINS_DIR").join("onnx.wasm");
    let site =
        Arc::new(Site::open(&plugin, 1, &DeviceChoice::Cpu).await.expect("the plugin is admitted"));
    let report = run(&site, tests, Plan { workers: 2, limit: LIMIT, repeat: 0 }).await;
    println!("{}\n{}", report.failures(), report.totals());
    let mut faults = Vec::new();
    for outcome in &report.outcomes {
        let known = documented.contains(outcome.name.as_str());
        match &outcome.verdict {
            Verdict::Failed(reason) if !known => faults.push(format!("{}: {reason}", outcome.name)),
            Verdict::Passed if known => {
                faults.push(format!("{} passes, but the page says that it fails", outcome.name));
            }
            Verdict::Passed | Verdict::Failed(_) | Verdict::NotTensors => {}
        }
    }
    assert!(
        faults.is_empty(),
        "not as documented (`cargo xtask onnx-nodes --write-docs` writes the page):\n{}",
        faults.join("\n")
    );
}

/// What the documentation promises, counted as the runner counts.
fn promised(tests: &[Test], documented: &BTreeSet<&str>) -> [Group; 2] {
    let mut groups = [Group::default(); 2];
    for test in tests {
        let case = Case::read(&test.cases[0]).expect("a case");
        let verdict = match (case.tensors, documented.contains(test.name.as_str())) {
            (false, _) => Verdict::NotTensors,
            (true, true) => Verdict::failed("as documented"),
            (true, false) => Verdict::Passed,
        };
        groups[Group::index(case.opset)].add(&verdict);
    }
    groups
}

/// All tests under `cargo xtask test --all`; else a sample, by the seed that is printed.
fn chosen(tests: Vec<Test>) -> Vec<Test> {
    if std::env::var("AIMASS_ALL").is_ok_and(|all| all == "1") {
        return tests;
    }
    let seed = std::env::var("AIMASS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    });
    println!("{SAMPLE} of {} tests; again with AIMASS_SEED={seed}", tests.len());
    sample(tests, SAMPLE, seed)
}

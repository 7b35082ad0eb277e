//! Components of released contracts, as strangers shipped them: they load and answer for ever.
//!
//! `tests/guests/frozen/VERSION/WORLD.wasm` was built by the SDK of that release against
//! `wit/released/VERSION` and is never built again. A contract that is released adds a folder and a
//! test here.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_graph::{BytesSource, CompileOptions, WeightSource};
use aimass_sandbox::{ModelFiles, NamedTensors, NoFiles, PlanSet, World};
use aimass_tensor::{Buffer, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use support::{Bench, call, package, process, setup};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/frozen")
}

fn frozen(version: &str, world: World) -> Vec<u8> {
    std::fs::read(folder().join(version).join(format!("{world}.wasm"))).unwrap()
}

/// `linear.json` and `linear.f32`: y = x · [[2], [3]] + 1.
struct Linear(BTreeMap<&'static str, Vec<u8>>);

impl Linear {
    fn new() -> Linear {
        let weights: Vec<u8> = [2f32, 3., 1.].iter().flat_map(|one| one.to_le_bytes()).collect();
        Linear(BTreeMap::from([
            ("linear.json", br#"{ "inputs": 2, "outputs": 1 }"#.to_vec()),
            ("linear.f32", weights),
        ]))
    }
}

impl ModelFiles for Linear {
    fn list(&self) -> Vec<(String, u64)> {
        self.0.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.len() as u64)).collect()
    }

    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>> {
        let bytes = self.0.get(name)?.clone();
        Some(Arc::new(BytesSource::new(Buffer::shared(Arc::new(bytes)))))
    }
}

/// The plans of the frozen format.
async fn linear_plans(bench: &Bench, version: &str) -> PlanSet {
    let package = package("format", &frozen(version, World::Format), "{}");
    let format = bench.sandbox.load(&package, setup(b"{}", Arc::new(Linear::new()))).await.unwrap();
    assert_eq!(format.detect().await.unwrap().as_deref(), Some("linear"));
    let graph = format.load_graph(&CompileOptions::default()).await.unwrap();
    let x = Tensor::from_slice(&[2, 2], &[1f32, 0., 10., 1.]).unwrap();
    let outputs = graph.plans[0].1.run(&[x], None).unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [3., 24.]);
    PlanSet::new("linear", 1, graph.plans)
}

#[tokio::test]
async fn a_processor_of_contract_0_1_0_answers() {
    let bench = Bench::new();
    let package = package("processor", &frozen("0.1.0", World::Processor), "{}");
    let plugin = bench.load_package(&package).await.unwrap();
    let x = Tensor::from_slice(&[3], &[1i64, 2, 3]).unwrap();
    let outputs = process(&plugin, vec![("INPUT0".into(), x)]).await.unwrap().outputs;
    assert_eq!(&*outputs[0].0, "OUTPUT0");
    assert_eq!(outputs[0].1.as_slice::<i64>().unwrap(), [1, 2, 3]);
}

#[tokio::test]
async fn a_format_of_contract_0_1_0_builds_its_graph() {
    linear_plans(&Bench::new(), "0.1.0").await;
}

#[tokio::test]
async fn glue_of_contract_0_1_0_runs_the_plan_of_its_model() {
    let bench = Bench::new();
    let plans = Arc::new(linear_plans(&bench, "0.1.0").await);
    let package = package("model", &frozen("0.1.0", World::Model), "{}");
    let plugin = bench.sandbox.load(&package, setup(b"{}", Arc::new(NoFiles))).await.unwrap();
    let x = Tensor::from_slice(&[1, 2], &[1f32, 0.]).unwrap();
    let inputs: NamedTensors = vec![("x".into(), x)];
    let call = aimass_sandbox::Call { plans, ..call(Duration::from_secs(60)) };
    let answer = plugin.process(call, inputs).await.unwrap();
    // One class: its probability is 1.
    assert_eq!(answer.outputs[0].1.as_slice::<f32>().unwrap(), [1.]);
    assert!(answer.stats.host_calls > 0);
}

#[test]
fn every_released_contract_has_a_frozen_component_of_each_of_its_worlds() {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/released");
    let mut missing = Vec::new();
    for entry in std::fs::read_dir(released).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_dir() {
            continue;
        }
        let version = entry.file_name().to_string_lossy().into_owned();
        let worlds = std::fs::read_to_string(entry.path().join("worlds.wit")).unwrap();
        for line in worlds.lines() {
            let Some(rest) = line.strip_prefix("world ") else { continue };
            let world = rest.trim_end_matches([' ', '{']);
            let file = folder().join(&version).join(format!("{world}.wasm"));
            if !file.exists() {
                missing.push(format!("{version}: {world}"));
            }
        }
    }
    assert!(missing.is_empty(), "released worlds without a frozen component: {missing:?}");
}

//! First-party plugins in the real sandbox, where `aimass plugin test` does not reach.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aimass_graph::{BytesSource, CompileOptions, WeightSource};
use aimass_guest_tests::{Bench, sign};
use aimass_sandbox::{LoadedGraph, ModelFiles, PluginError, PluginSetup};
use aimass_tensor::{Buffer, Tensor};
use serde::Deserialize;

/// A folder as the files of a model.
struct Folder(BTreeMap<String, Arc<BytesSource>>);

impl Folder {
    fn read(folder: &Path) -> Folder {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).expect("the folder of fixtures") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).expect("a file");
            files.insert(name, Arc::new(BytesSource::new(Buffer::shared(Arc::new(bytes)))));
        }
        Folder(files)
    }
}

impl ModelFiles for Folder {
    fn list(&self) -> Vec<(String, u64)> {
        self.0.iter().map(|(name, source)| (name.clone(), source.len())).collect()
    }

    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>> {
        self.0.get(name).map(|source| source.clone() as Arc<dyn WeightSource>)
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Option<serde_json::Value>,
    inputs: Vec<Wire>,
    #[serde(default)]
    outputs: Vec<Wire>,
    error: Option<String>,
    #[serde(default)]
    tolerance: f64,
}

#[derive(Deserialize)]
struct Wire {
    datatype: String,
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Wire {
    fn tensor(&self) -> Tensor {
        let tensor = match self.datatype.as_str() {
            "INT32" => Tensor::from_slice(&self.shape, &self.elements(|x| x as i32)),
            "UINT32" => Tensor::from_slice(&self.shape, &self.elements(|x| x as u32)),
            "FP32" => Tensor::from_slice(&self.shape, &self.elements(|x| x as f32)),
            other => panic!("the fixtures have no {other}"),
        };
        tensor.expect("data of its shape")
    }

    fn elements<T>(&self, convert: fn(f64) -> T) -> Vec<T> {
        self.data.iter().copied().map(convert).collect()
    }
}

async fn load(bench: &Bench, config: &str, folder: &Path) -> Result<LoadedGraph, PluginError> {
    let dir = std::env::var_os("AIMASS_PLUGINS_DIR").expect("AIMASS_PLUGINS_DIR is set");
    let component = std::fs::read(PathBuf::from(dir).join("bert.wasm")).expect("bert.wasm");
    let package = sign(&component, "format", r#""config": {}, "files": {}, "graph": {}"#);
    let package = package.expect("a signed package");
    let files = Arc::new(Folder::read(folder));
    let setup = PluginSetup { config: config.as_bytes().into(), files };
    let plugin = bench.sandbox.load(&package, setup).await.expect("it loads");
    let format = plugin.detect().await.expect("it looks at the files");
    assert_eq!(format.as_deref(), Some("bert-safetensors"));
    plugin.load_graph(&CompileOptions::default()).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs AIMASS_PLUGINS_DIR, which `cargo xtask test` sets"]
async fn a_bert_of_two_layers_answers_as_numpy_does() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/bert/fixtures");
    let cases = std::fs::read(fixtures.join("cases.json")).expect("cases.json");
    let cases: Vec<Case> = serde_json::from_slice(&cases).expect("a list of cases");
    let bench = Bench::new();
    for case in &cases {
        let config = case.config.as_ref().map_or("{}".to_owned(), ToString::to_string);
        let graph = load(&bench, &config, &fixtures.join("files")).await.expect("a graph");
        let (name, plan) = &graph.plans[0];
        assert_eq!((&**name, graph.plans.len()), ("main", 1));
        let plan = plan.clone();
        let mut inputs: Vec<_> = case.inputs.iter().map(Wire::tensor).collect();
        if &*plan.signature().inputs[0].name == "offsets" {
            inputs.reverse();
        }
        let answer = plan.run(&inputs, None);
        match (answer, &case.error) {
            (Ok(outputs), None) => compare(case, &outputs),
            (Err(error), Some(code)) => assert_eq!(error.code(), code, "{}", case.name),
            (Ok(_), Some(code)) => panic!("{}: expected {code}, got an answer", case.name),
            (Err(error), None) => panic!("{}: {error}", case.name),
        }
    }
}

fn compare(case: &Case, outputs: &[Tensor]) {
    let (expected, got) = (&case.outputs[0], &outputs[0]);
    assert_eq!(got.shape()[..], expected.shape[..], "{}", case.name);
    for (got, expected) in got.as_slice::<f32>().expect("f32").iter().zip(&expected.data) {
        let difference = (f64::from(*got) - expected).abs();
        assert!(difference <= case.tolerance, "{}: expected {expected}, got {got}", case.name);
    }
}

//! Tokenizer plugins beside the library whose answers they give, compiled natively.
//!
//! The peer is Hugging Face `tokenizers` from PyPI, the native crate behind a thin binding, with one thread. It
//! measures its own calls, so that no pipe is in its time. Texts are the golden ones of MiniLM.

use crate::Setup;
use crate::row::{Row, median, median_ratio, micros};
use crate::support::{Bench, call, package, setup};
use aimass_graph::{BytesSource, WeightSource};
use aimass_sandbox::{ModelFiles, Plugin};
use aimass_tensor::{Buffer, Shape, Strings, Tensor};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 21;
/// Texts of one call.
const BATCH: usize = 32;
const RATIO_MAX: f64 = 1.5;
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

pub(crate) async fn rows(setup: &Setup) {
    let texts = std::fs::read_to_string(format!("{ROOT}/tests/golden/texts.json")).unwrap();
    let texts: Vec<String> = serde_json::from_str(&texts).unwrap();
    let fixture = |name: &str| format!("{ROOT}/plugins/tokenizer/fixtures/files/{name}").into();
    let works = [
        ("wordpiece", "WordPiece of MiniLM", setup.tokenizer.clone()),
        ("tokenizer", "WordPiece of MiniLM", setup.tokenizer.clone()),
        ("tokenizer", "byte-level BPE, small", fixture("byte-bpe.json")),
        ("tokenizer", "Unigram, small", fixture("unigram.json")),
    ];
    for (plugin, what, file) in works {
        let component = std::fs::read(setup.plugins.join(plugin).with_extension("wasm"));
        let component = component.expect("`--plugins`, with the components of tokenizers");
        let (bench, plugin_of_file) = loaded(&component, &file).await;
        let mut peer = Peer::start(&setup.python, &file);
        let [mut ours, mut theirs] = [const { Vec::new() }; 2];
        for round in 0..ROUNDS {
            let our = encoded(&plugin_of_file, &texts).await;
            let (their, tokens) = peer.encode(&texts);
            assert_eq!(our.1, tokens, "tokens of {plugin}, {what}");
            // The first round fills caches.
            if round > 0 {
                ours.push(our.0);
                theirs.push(their);
            }
        }
        drop(bench);
        let (value, peer_value) = (median(&ours), median(&theirs));
        let name = format!("plugin {plugin}, {what}, a text of {BATCH} in a call");
        let (unit, peer) = ("us", "tokenizers, natively");
        let ratio = median_ratio(&ours, &theirs);
        Row { name: &name, value, unit, peer, peer_value, ratio, ratio_max: RATIO_MAX }.print();
    }
}

/// The plugin with this tokenizer file, and the sandbox that it lives in.
async fn loaded(component: &[u8], file: &Path) -> (Bench, Arc<Plugin>) {
    let content = std::fs::read(file).unwrap_or_else(|_| panic!("expected `--tokenizer FILE`"));
    let files = OneFile(Arc::new(BytesSource::new(Buffer::shared(Arc::new(content)))));
    let bench = Bench::with(|config| config.instances_max = None);
    let package = package("processor", component, "{}");
    let plugin = bench.sandbox.load(&package, setup(b"{}", Arc::new(files))).await.unwrap();
    (bench, plugin)
}

/// A package of one file, `tokenizer.json`.
struct OneFile(Arc<BytesSource>);

impl ModelFiles for OneFile {
    fn list(&self) -> Vec<(String, u64)> {
        vec![("tokenizer.json".to_owned(), self.0.len())]
    }

    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>> {
        (name == "tokenizer.json").then(|| self.0.clone() as Arc<dyn WeightSource>)
    }
}

/// Microseconds of a text, and the tokens of all.
async fn encoded(plugin: &Plugin, texts: &[String]) -> (f64, u64) {
    let mut tokens = 0;
    let start = Instant::now();
    for batch in texts.chunks(BATCH) {
        let strings = Strings::from_slices(batch).unwrap();
        let shape = Shape::new(&[batch.len()]).unwrap();
        let text = ("text".into(), Tensor::from_strings(shape, strings).unwrap());
        let answer = plugin.process(call(Duration::from_secs(60)), vec![text]).await.unwrap();
        let ids = answer.outputs.iter().find(|(name, _)| &**name == "input_ids").unwrap();
        tokens += ids.1.shape().elements() as u64;
    }
    (micros(start.elapsed()) / texts.len() as f64, tokens)
}

/// The library, in a process of its own.
struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &Path, file: &Path) -> Peer {
        let mut process = Command::new(python)
            .arg(format!("{ROOT}/tests/bench/tokenizers_peer.py"))
            .arg(file)
            .arg(BATCH.to_string())
            .env("TOKENIZERS_PARALLELISM", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`--python PROGRAM`, a Python with `tokenizers`");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Peer { process, input, output: BufReader::new(output) }
    }

    /// As [`encoded`].
    fn encode(&mut self, texts: &[String]) -> (f64, u64) {
        writeln!(self.input, "{}", serde_json::to_string(texts).unwrap()).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let (seconds, tokens): (f64, u64) = serde_json::from_str(&line).unwrap();
        (seconds * 1e6 / texts.len() as f64, tokens)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

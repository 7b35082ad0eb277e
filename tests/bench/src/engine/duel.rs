//! One question, put in turns to the engine and to its peers.

use super::Setup;
use crate::peer::Peer;
use crate::row::median;
use aimass_engine::{Engine, EngineError, InferRequest, InferResponse, Selector};
use aimass_tensor::{DType, Tensor};
use anyhow::bail;
use serde_json::json;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;

/// What one turn of a side should take, so that the clock's grain and a lost time slice do not matter.
const TURN_MS: f64 = 120.0;
/// Most runs in a turn.
const REPS_MAX: usize = 400;
/// How long published models may take until they answer.
const LOADING_MAX: Duration = Duration::from_secs(120);

/// A runtime of the peers' script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    OnnxRuntime,
    OpenVino,
    Tract,
}

impl Contender {
    /// As the script knows it.
    fn argument(self) -> &'static str {
        match self {
            Contender::OnnxRuntime => "onnxruntime",
            Contender::OpenVino => "openvino",
            Contender::Tract => "tract",
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Contender::OnnxRuntime => "ONNX Runtime",
            Contender::OpenVino => "OpenVINO",
            Contender::Tract => "tract",
        })
    }
}

/// A question in the words of both sides.
pub(crate) struct Question {
    /// Serving name.
    pub(crate) model: &'static str,
    /// By port.
    pub(crate) inputs: Vec<(&'static str, Tensor)>,
    /// The model as a file.
    pub(crate) onnx: PathBuf,
    /// By the names in that file.
    pub(crate) onnx_inputs: Vec<(&'static str, Tensor)>,
}

/// What came of it: medians over all turns.
pub(crate) struct Outcome {
    /// Milliseconds of the engine.
    pub(crate) ours_ms: f64,
    /// Milliseconds of each peer, and its time over ours.
    pub(crate) peers: Vec<(Contender, f64, f64)>,
    /// Time of the peer that was fastest in each turn over ours.
    pub(crate) best: f64,
}

/// Asks in turns, `setup.pairs` times.
pub(crate) async fn duel(
    setup: &Setup,
    engine: &Engine,
    question: &Question,
    runtimes: &[Contender],
) -> anyhow::Result<Outcome> {
    let request = request(question.model, &question.inputs);
    let folder = tempfile::tempdir()?;
    let mut peers = Vec::new();
    for &runtime in runtimes {
        peers.push(start(setup, question, runtime, &folder).await?);
    }
    answer(engine, &request).await?;
    let mut reps = 3;
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); peers.len()];
    for turn in 0..=setup.pairs {
        let own = median(&times(engine, &request, reps).await?);
        let mut turn_of_peers = Vec::new();
        for peer in &mut peers {
            let answer = peer.ask(&json!({ "reps": reps })).await?;
            turn_of_peers.push(answer["ms"].as_f64().unwrap_or(f64::NAN));
        }
        if turn == 0 {
            // The first turn warms both sides and says how many runs fill one.
            reps = ((TURN_MS / own) as usize).clamp(1, REPS_MAX);
            continue;
        }
        ours.push(own);
        turn_of_peers.iter().zip(&mut theirs).for_each(|(ms, all)| all.push(*ms));
    }
    Ok(outcome(&ours, runtimes, &theirs))
}

fn outcome(ours: &[f64], runtimes: &[Contender], theirs: &[Vec<f64>]) -> Outcome {
    let ratios = |peer: &[f64]| -> Vec<f64> {
        peer.iter().zip(ours).map(|(peer, ours)| peer / ours).collect()
    };
    let fastest: Vec<f64> = (0..ours.len())
        .map(|turn| theirs.iter().map(|peer| peer[turn]).fold(f64::INFINITY, f64::min))
        .collect();
    let peers = runtimes.iter().zip(theirs);
    Outcome {
        ours_ms: median(ours),
        peers: peers.map(|(at, ms)| (*at, median(ms), median(&ratios(ms)))).collect(),
        best: median(&ratios(&fastest)),
    }
}

/// Milliseconds of each of some calls, one after the other.
async fn times(engine: &Engine, request: &InferRequest, reps: usize) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(reps);
    for _ in 0..reps {
        let start = Instant::now();
        engine.infer(request.clone()).await?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// A request of the benchmark's only tenant.
pub(crate) fn request(model: &str, inputs: &[(&'static str, Tensor)]) -> InferRequest {
    InferRequest {
        model: model.to_owned(),
        selector: Selector::Default,
        inputs: inputs.iter().map(|(port, tensor)| (port.to_string(), tensor.clone())).collect(),
        outputs: Vec::new(),
        parameters: Default::default(),
        tenant: Arc::from("bench"),
        deadline: Instant::now() + Duration::from_secs(3600),
    }
}

/// The first answer of a model, which may not be loaded yet.
pub(crate) async fn answer(
    engine: &Engine,
    request: &InferRequest,
) -> anyhow::Result<InferResponse> {
    let start = Instant::now();
    loop {
        match engine.infer(request.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_loading(&error) && start.elapsed() < LOADING_MAX => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => bail!("{}: {error}", request.model),
        }
    }
}

fn is_loading(error: &EngineError) -> bool {
    use aimass_engine::Family;
    matches!(error.family(), Family::NotFound | Family::Unavailable)
}

async fn start(
    setup: &Setup,
    question: &Question,
    runtime: Contender,
    folder: &TempDir,
) -> anyhow::Result<Peer> {
    let mut listing = Vec::new();
    for (index, (name, tensor)) in question.onnx_inputs.iter().enumerate() {
        let file = folder.path().join(format!("{index}.bin"));
        std::fs::write(&file, tensor.bytes())?;
        listing.push(json!({
            "name": name,
            "dtype": numpy_name(tensor.dtype())?,
            "shape": tensor.shape().dims(),
            "file": file,
        }));
    }
    let inputs = folder.path().join("inputs.json");
    std::fs::write(&inputs, serde_json::Value::from(listing).to_string())?;
    let mut command = Command::new(&setup.python);
    command.arg(&setup.peer).arg(runtime.argument()).arg(&question.onnx);
    command.arg(setup.threads.to_string()).arg(&inputs);
    Peer::start(command).await
}

fn numpy_name(dtype: DType) -> anyhow::Result<&'static str> {
    Ok(match dtype {
        DType::F32 => "float32",
        DType::I32 => "int32",
        DType::I64 => "int64",
        other => bail!("no peer is asked with {other}"),
    })
}

//! Models from other people's wheels, as ONNX files through the ONNX plugin.

use super::Setup;
use super::duel::{Contender, Question, answer, duel, request};
use crate::row::{Row, Seeded};
use aimass_engine::Engine;
use aimass_tensor::Tensor;

/// Which model, with what, against whom.
struct Work {
    name: &'static str,
    model: &'static str,
    inputs: &'static [Input],
    /// Peers and the speed over theirs that is asked for.
    peers: &'static [(Contender, f64)],
}

/// An input of random numbers.
struct Input {
    port: &'static str,
    /// Its name in the file.
    name: &'static str,
    shape: &'static [usize],
    fill: Fill,
}

enum Fill {
    /// f32 in -1..1.
    Signed,
    Zeros,
    /// i32 below 257.
    Bytes,
    /// i64 as MiniLM's tokens.
    Tokens,
    /// i64 ones.
    Ones,
}

const fn input(port: &'static str, shape: &'static [usize], fill: Fill) -> Input {
    Input { port, name: port, shape, fill }
}

const WORKS: &[Work] = &[
    Work {
        name: "PP-OCR det, 640 x 640",
        model: "ocr-det",
        inputs: &[input("x", &[1, 3, 640, 640], Fill::Signed)],
        peers: &[(Contender::OpenVino, 0.85), (Contender::OnnxRuntime, 1.4)],
    },
    Work {
        name: "PP-OCR rec, 48 x 320",
        model: "ocr-rec",
        inputs: &[input("x", &[1, 3, 48, 320], Fill::Signed)],
        peers: &[(Contender::OpenVino, 0.9)],
    },
    Work {
        name: "opennsfw, 224 x 224",
        model: "opennsfw",
        inputs: &[Input {
            port: "input",
            name: "input:0",
            shape: &[1, 224, 224, 3],
            fill: Fill::Signed,
        }],
        peers: &[(Contender::OpenVino, 0.9)],
    },
    Work {
        name: "magika, 1 file",
        model: "magika",
        inputs: &[input("bytes", &[1, 2048], Fill::Bytes)],
        peers: &[(Contender::OnnxRuntime, 1.2)],
    },
    Work {
        name: "magika, 16 files",
        model: "magika",
        inputs: &[input("bytes", &[16, 2048], Fill::Bytes)],
        peers: &[(Contender::OnnxRuntime, 1.2)],
    },
    Work {
        name: "silero, 1 frame",
        model: "silero-vad-openvino",
        inputs: &[
            input("input", &[1, 576], Fill::Signed),
            input("state", &[2, 1, 128], Fill::Zeros),
        ],
        peers: &[(Contender::Tract, 1.0)],
    },
    Work {
        name: "silero, 100 frames",
        model: "silero-vad-sequence",
        inputs: &[
            input("input", &[100, 576], Fill::Signed),
            input("h", &[1, 1, 128], Fill::Zeros),
            input("c", &[1, 1, 128], Fill::Zeros),
        ],
        peers: &[(Contender::OpenVino, 0.8)],
    },
    Work {
        name: "MiniLM int8, 1 x 32 tokens",
        model: "minilm-int8",
        inputs: &[
            input("input_ids", &[1, 32], Fill::Tokens),
            input("attention_mask", &[1, 32], Fill::Ones),
        ],
        peers: &[(Contender::OnnxRuntime, 1.0)],
    },
    Work {
        name: INT8_BATCH,
        model: "minilm-int8",
        inputs: &[
            input("input_ids", &[8, 128], Fill::Tokens),
            input("attention_mask", &[8, 128], Fill::Ones),
        ],
        peers: &[(Contender::OnnxRuntime, 1.0)],
    },
];

/// The work whose answers are compared with those of the f32 model.
const INT8_BATCH: &str = "MiniLM int8, 8 x 128 tokens";
const COSINE_MIN: f64 = 0.995;

/// One row a work and peer, and how far the 8-bit model is from the f32 one.
pub(super) async fn rows(setup: &Setup, engine: &Engine) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for work in WORKS.iter().filter(|work| setup.wants(work.name)) {
        let question = question(setup, work)?;
        let runtimes: Vec<Contender> = work.peers.iter().map(|(runtime, _)| *runtime).collect();
        let outcome = duel(setup, engine, &question, &runtimes).await?;
        for ((runtime, ms, ratio), (_, goal)) in outcome.peers.iter().zip(work.peers) {
            rows.push(Row {
                name: work.name.into(),
                value: outcome.ours_ms,
                unit: "ms",
                peer: runtime.to_string(),
                peer_value: Some(*ms),
                ratio: *ratio,
                goal: format!(">= {goal}"),
                holds: ratio >= goal,
            });
        }
        if work.name == INT8_BATCH {
            rows.push(cosine_row(engine, work, &question).await?);
        }
    }
    Ok(rows)
}

fn question(setup: &Setup, work: &Work) -> anyhow::Result<Question> {
    let tensors: Vec<Tensor> = work.inputs.iter().map(tensor).collect::<anyhow::Result<_>>()?;
    let named = |name: fn(&Input) -> &'static str| {
        work.inputs.iter().map(name).zip(tensors.iter().cloned()).collect()
    };
    Ok(Question {
        model: work.model,
        inputs: named(|input| input.port),
        onnx: setup.models.join(work.model).join("package/model.onnx"),
        onnx_inputs: named(|input| input.name),
    })
}

fn tensor(input: &Input) -> anyhow::Result<Tensor> {
    let mut seeded = Seeded(1);
    let elements: usize = input.shape.iter().product();
    let whole = |seeded: &mut Seeded, below: u64| (seeded.bits() % below) as i64;
    Ok(match input.fill {
        Fill::Signed => {
            let numbers: Vec<f32> =
                (0..elements).map(|_| (seeded.unit() * 2.0 - 1.0) as f32).collect();
            Tensor::from_slice(input.shape, &numbers)?
        }
        Fill::Zeros => Tensor::from_slice(input.shape, &vec![0f32; elements])?,
        Fill::Bytes => {
            let bytes: Vec<i32> = (0..elements).map(|_| whole(&mut seeded, 257) as i32).collect();
            Tensor::from_slice(input.shape, &bytes)?
        }
        Fill::Tokens => {
            let ids: Vec<i64> = (0..elements).map(|_| 1000 + whole(&mut seeded, 25_000)).collect();
            Tensor::from_slice(input.shape, &ids)?
        }
        Fill::Ones => Tensor::from_slice(input.shape, &vec![1i64; elements])?,
    })
}

/// The least cosine between mean vectors of the 8-bit model and of the f32 one.
async fn cosine_row(engine: &Engine, work: &Work, question: &Question) -> anyhow::Result<Row> {
    let [batch, length] = *work.inputs[0].shape else { anyhow::bail!("ids are a matrix") };
    let ids: Vec<i32> =
        question.inputs[0].1.as_slice::<i64>()?.iter().map(|&id| id as i32).collect();
    let offsets: Vec<u32> = (0..=batch).map(|row| (row * length) as u32).collect();
    let plain = request(
        "minilm-ids",
        &[
            ("input_ids", Tensor::from_slice(&[ids.len()], &ids)?),
            ("offsets", Tensor::from_slice(&[offsets.len()], &offsets)?),
        ],
    );
    let plain = means(&answer(engine, &plain).await?.outputs[0].1, batch)?;
    let request = request(question.model, &question.inputs);
    let quantized = means(&answer(engine, &request).await?.outputs[0].1, batch)?;
    let cosines = plain.iter().zip(&quantized).map(|(x, y)| cosine(x, y));
    let least = cosines.fold(f64::INFINITY, f64::min);
    Ok(Row {
        name: format!("{}: least cosine of mean vectors to f32", work.name),
        value: least,
        unit: "",
        peer: "the f32 model".into(),
        peer_value: Some(1.0),
        ratio: least,
        goal: format!(">= {COSINE_MIN}"),
        holds: least >= COSINE_MIN,
    })
}

/// The mean over the tokens of each of `batch` texts of equal length.
fn means(hidden: &Tensor, batch: usize) -> anyhow::Result<Vec<Vec<f64>>> {
    let width = hidden.shape().dims().last().copied().unwrap_or(1);
    let numbers = hidden.as_slice::<f32>()?;
    let mean = |text: &[f32]| {
        let mut sums = vec![0.0; width];
        for token in text.chunks_exact(width) {
            sums.iter_mut().zip(token).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        sums
    };
    Ok(numbers.chunks_exact(numbers.len() / batch).map(mean).collect())
}

fn cosine(x: &[f64], y: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
}

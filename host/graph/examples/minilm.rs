//! Times the MiniLM encoder alone: no server, no plugin.
//!
//! ```text
//! cargo run --release -p aimass-graph --example minilm -- MODEL.safetensors [--threads N] [--serve]
//! ```
//! Prints one line a cell, `batch sequence milliseconds` (the median of several runs). With
//! `--serve` it reads cells `batch sequence` from standard input instead and answers each with the
//! milliseconds of one run, so that a driver can alternate it with a peer. With `--golden FOLDER`
//! (tests/golden) it compares mean-pooled, normalized embeddings with the reference numbers. With
//! `--int8` its layers are quantized as ONNX Runtime's `quantize_dynamic` does with a scale a column,
//! with `--reduce-range` to 7 bits; `--exact` keeps one scale for all activations of a layer then;
//! `--no-vnni` multiplies without dot-product instructions, `--avx2` without AVX-512. `--device N` runs
//! on GPU N, `--f16` in half precision, `--tf32` with products of f32 on tensor cores; `--embedding`
//! leaves out the hidden states, which take longer to copy from a GPU than to compute.

use aimass_cpu::{Level, set_dot_products, set_level_max};
use aimass_graph::{
    AttentionOptions, AttentionValues, CompileOptions, Dim, GeluForm, Gpu, GpuOptions, Graph,
    GraphBuilder, GraphLimits, Plan, ValueId, WeightError, WeightSource, compile,
};
use aimass_tensor::{Buffer, DType, Tensor};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const HIDDEN: u64 = 384;
const HEADS: u32 = 12;

/// A mapped safetensors file.
struct Mapped {
    bytes: Buffer,
}

impl WeightSource for Mapped {
    fn len(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }

    fn digest(&self) -> [u8; 32] {
        [1; 32]
    }

    fn read(&self, range: Range<u64>) -> Result<Buffer, WeightError> {
        Ok(self.bytes.slice(range.start as usize..range.end as usize))
    }
}

/// What is made of the file.
#[derive(Clone, Copy)]
struct Form {
    /// The largest quantized weight, where layers are quantized.
    most: Option<f32>,
    /// Whether to compute in f16.
    half: bool,
    /// Whether the hidden states are an output.
    hidden: bool,
}

struct Model {
    form: Form,
    builder: GraphBuilder,
    source: Arc<dyn WeightSource>,
    header: serde_json::Value,
    data_start: u64,
}

impl Model {
    fn open(path: &Path, form: Form) -> Result<Model> {
        let bytes = std::fs::read(path).context("model file")?;
        let header_len = u64::from_le_bytes(bytes[..8].try_into()?);
        let header = serde_json::from_slice(&bytes[8..8 + header_len as usize])?;
        let source = Arc::new(Mapped { bytes: Buffer::shared(Arc::new(bytes)) });
        let builder = GraphBuilder::new(GraphLimits::default());
        Ok(Model { form, builder, source, header, data_start: 8 + header_len })
    }

    fn weight(&mut self, name: &str, rows: Option<u64>) -> Result<ValueId> {
        let entry = &self.header[name];
        let mut dims: Vec<u64> =
            serde_json::from_value(entry["shape"].clone()).with_context(|| name.to_owned())?;
        let [start, _]: [u64; 2] = serde_json::from_value(entry["data_offsets"].clone())?;
        if rows == Some(0) {
            dims.remove(0);
        }
        let offset = self.data_start + start;
        let weight = self.builder.weight(name, DType::F32, &dims, self.source.clone(), offset)?;
        match self.form.half {
            true => Ok(self.builder.cast(weight, DType::F16)?),
            false => Ok(weight),
        }
    }

    fn linear(&mut self, x: ValueId, name: &str) -> Result<ValueId> {
        let bias = self.weight(&format!("{name}.bias"), None)?;
        if let Some(most) = self.form.most {
            let product = self.quantized(x, &format!("{name}.weight"), most)?;
            return Ok(self.builder.add(product, bias)?);
        }
        let w = self.weight(&format!("{name}.weight"), None)?;
        Ok(self.builder.linear(x, w, Some(bias), true)?)
    }

    fn scalar(&mut self, number: f32) -> Result<ValueId> {
        Ok(self.builder.constant(Tensor::from_slice(&[], &[number])?)?)
    }

    /// `x` times a weight of integers up to `most` with a scale for each column, as ONNX's
    /// `DynamicQuantizeLinear` and `MatMulInteger`.
    fn quantized(&mut self, x: ValueId, weight: &str, most: f32) -> Result<ValueId> {
        let entry = &self.header[weight];
        let [n, k]: [usize; 2] = serde_json::from_value(entry["shape"].clone())?;
        let [start, end]: [u64; 2] = serde_json::from_value(entry["data_offsets"].clone())?;
        let bytes = self.source.read(self.data_start + start..self.data_start + end)?;
        let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let weights: Vec<f32> = bytes.as_slice().chunks_exact(4).map(number).collect();
        let (mut scales, mut integers) = (vec![0f32; n], vec![0i8; k * n]);
        for (column, row) in weights.chunks_exact(k).enumerate() {
            scales[column] = row.iter().fold(0f32, |high, w| high.max(w.abs())) / most;
            for (step, w) in row.iter().enumerate() {
                integers[step * n + column] = (w / scales[column]).round_ties_even() as i8;
            }
        }
        let w = self.builder.constant(Tensor::from_slice(&[k, n], &integers)?)?;
        let w_scale = self.builder.constant(Tensor::from_slice(&[n], &scales)?)?;
        let (nothing, levels) = (self.scalar(0.0)?, self.scalar(255.0)?);
        let builder = &mut self.builder;
        let high = builder.reduce_max(x, &[0, 1], false)?;
        let high = builder.maximum(high, nothing)?;
        let low = builder.reduce_min(x, &[0, 1], false)?;
        let low = builder.minimum(low, nothing)?;
        let range = builder.sub(high, low)?;
        let scale = builder.div(range, levels)?;
        let below = builder.neg(low)?;
        let zero = builder.div(below, scale)?;
        let zero = builder.round(zero)?;
        let zero = builder.cast(zero, DType::U8)?;
        let q = builder.quantize(x, scale, Some(zero), None, DType::U8)?;
        let sums = builder.matmul_integer(q, w, Some(zero), None)?;
        let sums = builder.cast(sums, DType::F32)?;
        let scale = builder.mul(scale, w_scale)?;
        Ok(builder.mul(sums, scale)?)
    }

    fn norm(&mut self, x: ValueId, name: &str) -> Result<ValueId> {
        let scale = self.weight(&format!("{name}.weight"), None)?;
        let bias = self.weight(&format!("{name}.bias"), None)?;
        Ok(self.builder.layer_norm(x, scale, Some(bias), 1e-12)?)
    }

    fn graph(mut self) -> Result<Graph> {
        let offsets = self.builder.offsets("offsets")?;
        let ids = self.builder.input("input_ids", DType::I32, &[Dim::Ragged("offsets".into())])?;
        let words = self.weight("embeddings.word_embeddings.weight", None)?;
        let positions = self.weight("embeddings.position_embeddings.weight", None)?;
        let kind = self.weight("embeddings.token_type_embeddings.weight", Some(0))?;
        let places = self.builder.positions(offsets)?;
        let words = self.builder.gather(words, ids, 0)?;
        let positions = self.builder.gather(positions, places, 0)?;
        let sum = self.builder.add(words, positions)?;
        let sum = self.builder.add(sum, kind)?;
        let mut x = self.norm(sum, "embeddings.LayerNorm")?;
        for layer in 0..6 {
            x = self.layer(x, offsets, &format!("encoder.layer.{layer}"))?;
        }
        if self.form.half {
            x = self.builder.cast(x, DType::F32)?;
        }
        if self.form.hidden {
            self.builder.output("hidden", x)?;
        }
        let mean = self.builder.ragged_mean(x, offsets)?;
        let embedding = self.builder.l2_normalize(mean, 1e-12)?;
        self.builder.output("embedding", embedding)?;
        Ok(self.builder.finish()?)
    }

    fn layer(&mut self, x: ValueId, offsets: ValueId, name: &str) -> Result<ValueId> {
        let q = self.linear(x, &format!("{name}.attention.self.query"))?;
        let k = self.linear(x, &format!("{name}.attention.self.key"))?;
        let v = self.linear(x, &format!("{name}.attention.self.value"))?;
        let options = AttentionOptions {
            heads: HEADS,
            kv_heads: HEADS,
            scale: None,
            causal: false,
            window: None,
        };
        let mixed = self.builder.ragged_attention(AttentionValues { q, k, v }, offsets, options)?;
        let mixed = self.linear(mixed, &format!("{name}.attention.output.dense"))?;
        let sum = self.builder.add(mixed, x)?;
        let x = self.norm(sum, &format!("{name}.attention.output.LayerNorm"))?;
        let wide = self.linear(x, &format!("{name}.intermediate.dense"))?;
        let wide = self.builder.gelu(wide, GeluForm::Erf)?;
        let narrow = self.linear(wide, &format!("{name}.output.dense"))?;
        let sum = self.builder.add(narrow, x)?;
        self.norm(sum, &format!("{name}.output.LayerNorm"))
    }
}

fn inputs(lengths: &[usize]) -> Result<[Tensor; 2]> {
    let mut offsets = vec![0u32];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + *length as u32);
    }
    let tokens: usize = lengths.iter().sum();
    let ids: Vec<i32> = (0..tokens).map(|i| ((i * 7919) % 25000 + 100) as i32).collect();
    Ok([Tensor::from_slice(&[offsets.len()], &offsets)?, Tensor::from_slice(&[tokens], &ids)?])
}

fn one_run(plan: &Plan, inputs: &[Tensor]) -> Result<f64> {
    let start = Instant::now();
    plan.run(inputs, None)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn table(plan: &Plan) -> Result<()> {
    for sequence in [32, 128, 256] {
        for batch in [1, 8, 32] {
            let inputs = inputs(&vec![sequence; batch])?;
            let runs = (4096 / (batch * sequence)).clamp(9, 40);
            let mut times = Vec::with_capacity(runs);
            for _ in 0..runs {
                times.push(one_run(plan, &inputs)?);
            }
            times.sort_by(f64::total_cmp);
            if let Some(error) = plan.device_error() {
                bail!("not on the device: {error}");
            }
            println!("{batch} {sequence} {:.3}", times[runs / 2]);
        }
    }
    Ok(())
}

fn serve(plan: &Plan) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let cell: Vec<usize> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [batch, sequence] = cell[..] else { bail!("expected `batch sequence`, got {line:?}") };
        let inputs = inputs(&vec![sequence; batch])?;
        println!("{:.4}", one_run(plan, &inputs)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Largest difference of all golden embeddings; each text alone, then all in one batch.
fn golden(plan: &Plan, folder: &Path) -> Result<()> {
    let ids = std::fs::read(folder.join("token_ids.json"))?;
    let ids: Vec<Vec<i32>> = serde_json::from_slice(&ids)?;
    let expected = std::fs::read(folder.join("embeddings.f32"))?;
    let expected: Vec<f32> =
        expected.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let (mut largest, mut least, mut total) = (0f32, 1f32, 0f32);
    let mut alone = Vec::new();
    for (text, expected) in ids.iter().zip(expected.chunks_exact(HIDDEN as usize)) {
        let offsets = Tensor::from_slice(&[2], &[0, text.len() as u32])?;
        let outputs = plan.run(&[offsets, Tensor::from_slice(&[text.len()], text)?], None)?;
        let got = outputs[outputs.len() - 1].as_slice::<f32>()?;
        alone.extend_from_slice(got);
        let differences = got.iter().zip(expected).map(|(a, b)| (a - b).abs());
        largest = differences.fold(largest, f32::max);
        // Both have length 1.
        let own: f32 = got.iter().zip(expected).map(|(a, b)| a * b).sum();
        (least, total) = (own.min(least), total + own);
    }
    let mut offsets = vec![0u32];
    for text in &ids {
        offsets.push(offsets[offsets.len() - 1] + text.len() as u32);
    }
    let all: Vec<i32> = ids.concat();
    let offsets = Tensor::from_slice(&[offsets.len()], &offsets)?;
    let outputs = plan.run(&[offsets, Tensor::from_slice(&[all.len()], &all)?], None)?;
    let equal = outputs[outputs.len() - 1].as_slice::<f32>()? == alone;
    let mean = total / ids.len() as f32;
    println!("{} texts: largest difference {largest:e}, batched = alone: {equal}", ids.len());
    println!("cosine: {mean:.5} in the mean, {least:.5} at least");
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let model = arguments.first().context("usage: minilm MODEL.safetensors [--threads N]")?;
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1))
    };
    let threads = after("--threads").map_or(Ok(0), |threads| threads.parse())?;
    let says = |name: &str| arguments.iter().any(|argument| argument == name);
    set_dot_products(!says("--no-vnni"));
    if says("--avx2") {
        set_level_max(Level::Avx2);
    }
    let most = if says("--reduce-range") { 63.0 } else { 127.0 };
    let form = Form {
        most: says("--int8").then_some(most),
        half: says("--f16"),
        hidden: !says("--embedding"),
    };
    let graph = Model::open(Path::new(model), form)?.graph()?;
    let mut gpu = GpuOptions::default();
    gpu.device.tf32 = says("--tf32");
    gpu.device.deterministic = says("--deterministic");
    let device = match after("--device") {
        Some(number) => {
            let gpu = Gpu::open(number.parse()?, &gpu)?;
            eprintln!("{:?}\n{:?}", gpu.info(), gpu.self_test());
            Some(gpu)
        }
        None => None,
    };
    let start = Instant::now();
    let exact_quantization = says("--exact");
    let options =
        CompileOptions { threads, exact_quantization, device, ..CompileOptions::default() };
    let plan = compile(graph, &options)?;
    eprintln!("compiled in {:?}\n{}", start.elapsed(), plan.describe());
    if let Some(report) = plan.device_report() {
        eprintln!("{report:?}");
    }
    if let Some(folder) = after("--golden") {
        return golden(&plan, Path::new(folder));
    }
    if says("--serve") { serve(&plan) } else { table(&plan) }
}

//! Milliseconds of a whole network that a file lists, and its distance to what the file's maker
//! computed.
//!
//! ```text
//! cargo run --release -p aimass-graph --example conv_net -- NET [threads] [plan] [alone]
//! ```
//!
//! `NET.txt` has an op a line, `name output inputs.. key=numbers..`; `NET.bin` the f32 weights, `NET.x`
//! the input and `NET.y` the expected output. With `plan` the steps are listed, and the least time of
//! each; with `alone` the first extent is no batch.

use aimass_graph::{
    BatchNormValues, BytesSource, CompileOptions, ConvValues, Dim, GraphBuilder, GraphLimits,
    Profiler, ResizeMode, ValueId, WeightSource, Window, compile,
};
use aimass_tensor::{Buffer, DType, Tensor};
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

const RUNS: usize = 60;

struct Net {
    builder: GraphBuilder,
    values: HashMap<String, ValueId>,
    weights: Arc<dyn WeightSource>,
    input: Vec<usize>,
    alone: bool,
}

/// One line of the file.
struct Line<'a> {
    op: &'a str,
    out: &'a str,
    inputs: Vec<ValueId>,
    offset: u64,
    lists: HashMap<&'a str, &'a str>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("the path of a network without its ending")?;
    let threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(2);
    let flags: Vec<String> = arguments.collect();
    let alone = flags.iter().any(|flag| flag == "alone");
    let bytes = std::fs::read(format!("{path}.bin"))?;
    let weights: Arc<dyn WeightSource> =
        Arc::new(BytesSource::new(Buffer::shared(Arc::new(bytes))));
    let builder = GraphBuilder::new(GraphLimits::default());
    let mut net = Net { builder, values: HashMap::new(), weights, input: Vec::new(), alone };
    let text = std::fs::read_to_string(format!("{path}.txt"))?;
    for line in text.lines() {
        net.add(line).with_context(|| line.to_owned())?;
    }
    let options = CompileOptions { threads, ..CompileOptions::default() };
    let plan = compile(net.builder.finish()?, &options)?;
    let listed = flags.iter().any(|flag| flag == "plan");
    if listed {
        println!("{}", plan.describe());
    }
    let x = Tensor::from_slice(&net.input, &floats(&format!("{path}.x"))?)?;
    let y = plan.run(std::slice::from_ref(&x), None)?;
    let expected = floats(&format!("{path}.y"))?;
    let pairs = y[0].as_slice::<f32>()?.iter().zip(&expected);
    let worst = pairs.map(|(y, want)| (y - want).abs()).fold(0f32, f32::max);
    let cost = plan.cost(std::slice::from_ref(&x))?;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        plan.run(std::slice::from_ref(&x), None)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    if listed {
        let least = Least::default();
        for _ in 0..RUNS {
            plan.run_profiled(std::slice::from_ref(&x), None, &least)?;
        }
        least.print();
    }
    println!(
        "{path}: {threads} threads, median {:.2} ms, least {:.2} ms, {:.1} GFLOP, off by {worst:.1e}",
        times[RUNS / 2],
        times[0],
        cost.flops as f64 / 1e9
    );
    Ok(())
}

/// The least milliseconds of every step so far.
#[derive(Default)]
struct Least(Mutex<Vec<f64>>);

impl Profiler for Least {
    type Mark = Instant;

    fn mark(&self) -> Instant {
        Instant::now()
    }

    fn step(&self, step: usize, since: Instant) {
        let ms = since.elapsed().as_secs_f64() * 1e3;
        let mut least = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = least.len().max(step + 1);
        least.resize(length, f64::INFINITY);
        least[step] = least[step].min(ms);
    }

    fn part(&self, _: usize, _: usize, _: Instant) {}
}

impl Least {
    fn print(&self) {
        let least = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (step, ms) in least.iter().enumerate() {
            println!("step {step:4}: {ms:8.3} ms");
        }
        println!("steps together: {:.3} ms", least.iter().sum::<f64>());
    }
}

fn floats(path: &str) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

impl<'a> Line<'a> {
    fn numbers(&self, key: &str) -> Result<Vec<u64>> {
        let text = self.lists.get(key).copied().unwrap_or_default();
        let numbers = text.split(',').filter(|number| !number.is_empty());
        numbers.map(|number| Ok(number.parse()?)).collect()
    }

    fn number(&self, key: &str) -> Result<u64> {
        Ok(self.numbers(key)?.first().copied().unwrap_or(0))
    }

    fn float(&self, key: &str) -> Result<f64> {
        Ok(self.lists.get(key).context("a number is missing")?.parse()?)
    }

    fn window(&self) -> Result<Window> {
        Ok(Window {
            strides: self.numbers("strides")?,
            pads_before: self.numbers("before")?,
            pads_after: self.numbers("after")?,
            dilations: self.numbers("dilations")?,
        })
    }

    fn axes(&self) -> Result<Vec<u32>> {
        Ok(self.numbers("axes")?.into_iter().map(|axis| axis as u32).collect())
    }
}

/// The dimensions of a line, of which the first stays the batch.
fn rows_kept(builder: &GraphBuilder, line: &Line<'_>, x: ValueId) -> Result<Vec<Dim>> {
    let mut dims: Vec<Dim> = line.numbers("dims")?.into_iter().map(Dim::Fixed).collect();
    if builder.spec(x)?.dims[0] == Dim::Batch {
        dims[0] = Dim::Batch;
    }
    Ok(dims)
}

impl Net {
    fn add(&mut self, text: &str) -> Result<()> {
        let mut words = text.split(' ');
        let (op, out) = (words.next().context("no op")?, words.next().context("no output")?);
        let mut line = Line { op, out, inputs: Vec::new(), offset: 0, lists: HashMap::new() };
        for word in words {
            match (word.split_once('='), self.values.get(word)) {
                (Some((key, list)), _) => drop(line.lists.insert(key, list)),
                (None, Some(&value)) => line.inputs.push(value),
                (None, None) => line.offset = word.parse()?,
            }
        }
        if op == "output" {
            let value = *self.values.get(out).context("no such output")?;
            return Ok(self.builder.output("y", value)?);
        }
        let value = match line.inputs[..] {
            [] => self.source(&line)?,
            [x] => self.one(&line, x)?,
            [x, y] if op != "conv" && op != "conv-transpose" && op != "concat" => {
                self.two(&line, x, y)?
            }
            _ => self.layer(&line)?,
        };
        self.values.insert(line.out.to_owned(), value);
        Ok(())
    }

    fn source(&mut self, line: &Line<'_>) -> Result<ValueId> {
        let dims = line.numbers("dims")?;
        if line.op == "weight" {
            let weights = self.weights.clone();
            return Ok(self.builder.weight(line.out, DType::F32, &dims, weights, line.offset)?);
        }
        self.input = dims.iter().map(|&extent| extent as usize).collect();
        let mut dims: Vec<Dim> = dims.into_iter().map(Dim::Fixed).collect();
        if !self.alone {
            dims[0] = Dim::Batch;
        }
        Ok(self.builder.input("x", DType::F32, &dims)?)
    }

    fn one(&mut self, line: &Line<'_>, x: ValueId) -> Result<ValueId> {
        let b = &mut self.builder;
        Ok(match line.op {
            "relu" => b.relu(x)?,
            "sigmoid" => b.sigmoid(x)?,
            "sqrt" => b.sqrt(x)?,
            "clamp" => b.clamp(x, line.float("alpha")?, line.float("beta")?)?,
            "hard-sigmoid" => {
                b.hard_sigmoid(x, line.float("alpha")? as f32, line.float("beta")? as f32)?
            }
            "reduce-mean" => b.reduce_mean(x, &line.axes()?, true)?,
            "resize" => b.resize(x, &line.numbers("dims")?, ResizeMode::Nearest, false, false)?,
            "transpose" => b.transpose(x, &line.axes()?)?,
            "softmax" => b.softmax(x, line.number("axis")? as u32)?,
            "reshape" => {
                let dims = rows_kept(b, line, x)?;
                b.reshape(x, &dims)?
            }
            "broadcast" => {
                let dims = rows_kept(b, line, x)?;
                b.broadcast(x, &dims)?
            }
            "slice" => {
                let bounds = line.numbers("dims")?;
                b.slice(x, line.number("axis")? as u32, bounds[0], bounds[1], 1)?
            }
            "max-pool" => b.max_pool(x, &line.numbers("size")?, line.window()?)?,
            "average-pool" => {
                let pads = line.number("groups")? == 1;
                b.average_pool(x, &line.numbers("size")?, line.window()?, pads)?
            }
            other => bail!("no op {other}"),
        })
    }

    fn two(&mut self, line: &Line<'_>, x: ValueId, y: ValueId) -> Result<ValueId> {
        let b = &mut self.builder;
        Ok(match line.op {
            "add" => b.add(x, y)?,
            "sub" => b.sub(x, y)?,
            "mul" => b.mul(x, y)?,
            "div" => b.div(x, y)?,
            "pow" => b.pow(x, y)?,
            "matmul" => b.matmul(x, y)?,
            other => bail!("no op {other}"),
        })
    }

    fn layer(&mut self, line: &Line<'_>) -> Result<ValueId> {
        let b = &mut self.builder;
        let inputs = &line.inputs;
        let groups = line.number("groups")? as u32;
        Ok(match line.op {
            "concat" => b.concat(inputs, line.number("axis")? as u32)?,
            "batch-norm" => {
                let [x, scale, bias, mean, variance] = inputs[..] else { bail!("five inputs") };
                let values = BatchNormValues { scale, bias, mean, variance };
                b.batch_norm(x, values, line.float("alpha")? as f32)?
            }
            "conv" | "conv-transpose" => {
                let values =
                    ConvValues { x: inputs[0], w: inputs[1], bias: inputs.get(2).copied() };
                match line.op {
                    "conv" => b.conv(values, line.window()?, groups)?,
                    _ => b.conv_transpose(values, line.window()?, groups, &[0, 0])?,
                }
            }
            other => bail!("no op {other}"),
        })
    }
}

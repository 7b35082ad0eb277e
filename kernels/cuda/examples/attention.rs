//! Times attention over shapes of models that are served.
//!
//! ```text
//! cargo run --release -p aimass-cuda --example attention
//! ```
//!
//! Prints microseconds a call (the best of several rounds of launches without a wait between them),
//! TFLOP/s, and GB/s of what is read and written once.

use aimass_cuda::attention::{
    AttentionOperands, AttentionShape, Columns, Sequences, attention, attention_scratch,
};
use aimass_cuda::{Device, DeviceError, DeviceOptions, Form, Memory};
use std::sync::Arc;
use std::time::Instant;

struct Shape {
    name: &'static str,
    batch: u32,
    queries: u32,
    keys: u32,
    heads: u32,
    kv_heads: u32,
    dim: u32,
    causal: bool,
}

const SHAPES: &[Shape] = &[
    shape("MiniLM, 1 x 128", 1, [128, 128], [12, 12, 32], false),
    shape("MiniLM, 32 x 128", 32, [128, 128], [12, 12, 32], false),
    shape("BERT base, 1 x 128", 1, [128, 128], [12, 12, 64], false),
    shape("BERT base, 32 x 128", 32, [128, 128], [12, 12, 64], false),
    shape("BERT base, 8 x 512", 8, [512, 512], [12, 12, 64], false),
    shape("7B prefill, 1 x 2048", 1, [2048, 2048], [32, 32, 128], true),
    shape("7B, all seen, 1 x 2048", 1, [2048, 2048], [32, 32, 128], false),
    shape("head 64, all seen, 4 x 2048", 4, [2048, 2048], [32, 32, 64], false),
    shape("8B prefill, 8 kv heads", 1, [4096, 4096], [32, 8, 128], true),
    shape("7B decode, 1 x 2048", 1, [1, 2048], [32, 32, 128], false),
    shape("7B decode, 16 x 2048", 16, [1, 2048], [32, 32, 128], false),
    shape("8B decode, 1 x 8192", 1, [1, 8192], [32, 8, 128], false),
    shape("8B decode, 32 x 4096", 32, [1, 4096], [32, 8, 128], false),
];

const fn shape(
    name: &'static str,
    batch: u32,
    [queries, keys]: [u32; 2],
    [heads, kv_heads, dim]: [u32; 3],
    causal: bool,
) -> Shape {
    Shape { name, batch, queries, keys, heads, kv_heads, dim, causal }
}

fn numbers(device: &Arc<Device>, form: Form, count: usize) -> Result<Memory, DeviceError> {
    // The high bytes of small floats of each type; the low ones are whatever they are.
    let high = if form == Form::F16 { 0x34 } else { 0x3e };
    let element = |i: usize| {
        let noise = (i as u32).wrapping_mul(2_654_435_761);
        let sign = ((noise >> 31) as u8) << 7;
        let mut bytes = noise.to_le_bytes();
        bytes[form.bytes() - 1] = high | sign;
        bytes
    };
    let bytes: Vec<u8> =
        (0..count).flat_map(|i| element(i).into_iter().take(form.bytes())).collect();
    device.upload(&bytes)
}

/// Seconds of a call.
fn time(device: &Arc<Device>, form: Form, own: &Shape) -> Result<f64, DeviceError> {
    let attended = AttentionShape {
        heads: own.heads,
        kv_heads: own.kv_heads,
        head_dim: own.dim,
        scale: 1.0 / (own.dim as f32).sqrt(),
        causal: own.causal,
    };
    let sequences = Sequences::Equal { count: own.batch, queries: own.queries, keys: own.keys };
    let (width, kv_width) = (own.heads * own.dim, own.kv_heads * own.dim);
    let elements = |rows: u32, width: u32| (own.batch * rows) as usize * width as usize;
    let q = numbers(device, form, elements(own.queries, width))?;
    let k = numbers(device, form, elements(own.keys, kv_width))?;
    let v = numbers(device, form, elements(own.keys, kv_width))?;
    let y = Memory::new(device, elements(own.queries, width) * form.bytes())?;
    let scratch = Memory::new(device, attention_scratch(&attended, &sequences))?;
    let operands = AttentionOperands {
        q: Columns { slice: q.slice(), row: width },
        k: Columns { slice: k.slice(), row: kv_width },
        v: Columns { slice: v.slice(), row: kv_width },
        mask: None,
        y: Columns { slice: y.slice(), row: width },
        scratch: scratch.slice(),
    };
    let mut queue = device.queue()?;
    let mut best = f64::INFINITY;
    for round in 0..6 {
        let launches = if round == 0 { 1 } else { 20 };
        let start = Instant::now();
        for _ in 0..launches {
            attention(&mut queue, form, &attended, &sequences, &operands)?;
        }
        queue.synchronize()?;
        if round > 0 {
            best = best.min(start.elapsed().as_secs_f64() / f64::from(launches));
        }
    }
    Ok(best)
}

fn main() -> Result<(), DeviceError> {
    let device = Device::open(0, &DeviceOptions::default())?;
    println!("{:?}", device.info());
    println!("{:<30} {:>5} {:>10} {:>9} {:>8}", "shape", "type", "us", "TFLOP/s", "GB/s");
    for own in SHAPES {
        for form in [Form::F32, Form::F16, Form::Bf16] {
            let seconds = time(&device, form, own)?;
            let pairs = f64::from(own.queries) * f64::from(own.keys);
            let seen = if own.causal { 0.5 } else { 1.0 };
            let flops = 4.0 * seen * pairs * f64::from(own.batch) * f64::from(own.heads * own.dim);
            let rows = f64::from(2 * own.queries * own.heads + 2 * own.keys * own.kv_heads);
            let bytes = rows * f64::from(own.batch * own.dim) * form.bytes() as f64;
            println!(
                "{:<30} {:>5} {:>10.1} {:>9.2} {:>8.0}",
                own.name,
                format!("{form:?}"),
                seconds * 1e6,
                flops / seconds / 1e12,
                bytes / seconds / 1e9
            );
        }
    }
    Ok(())
}

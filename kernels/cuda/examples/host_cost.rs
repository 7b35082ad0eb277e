//! What the host pays for work on a device: launches, recorded launches, copies; and how fast the virtual
//! GPU interprets.
//!
//! ```text
//! cargo run --release -p aimass-cuda --example host_cost
//! AIMASS_DEVICE=cuda:0 cargo run --release -p aimass-cuda --example host_cost
//! ```
//!
//! Without a GPU the driver is the virtual one, which queues work and runs it when something waits:
//! times of queueing hold our code and its bookkeeping, and say nothing about NVIDIA's driver or a GPU.
//! Prints rows as `cargo xtask bench` reads them.

use aimass_cuda::unary::{Unary, unary};
use aimass_cuda::{Device, DeviceError, DeviceOptions, Form, Memory, Queue};
use aimass_vgpu::{Checks, Settings};
use serde_json::json;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rounds of which the median counts.
const ROUNDS: usize = 15;
/// Launches of a round: fewer than the virtual driver queues before it runs some.
const LAUNCHES: u32 = 500;
/// Kernels of a recording.
const RECORDED: u32 = 64;
/// Elements that the interpreter is timed with.
const ELEMENTS: u32 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let number = match std::env::var("AIMASS_DEVICE") {
        Err(_) => None,
        Ok(name) => {
            let number = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
            Some(number.ok_or("AIMASS_DEVICE: expected cuda:0 or another number")?)
        }
    };
    if let Some(number) = number {
        let device = Device::open(number, &DeviceOptions::default())?;
        return Ok(host(&device, &device.info().name)?);
    }
    for (checks, name) in
        [(Checks::Off, "no checks"), (Checks::Memory, "memory"), (Checks::Races, "races")]
    {
        interpreter(checks, name)?;
    }
    let _vgpu = aimass_vgpu::load(&settings(Checks::Off))?;
    let device = Device::open(0, &DeviceOptions::default())?;
    Ok(host(&device, "emulated")?)
}

fn settings(checks: Checks) -> Settings {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/prebuilt");
    Settings { checks, ptx: Some(images.into()), ..Settings::default() }
}

/// Lane instructions that the virtual GPU executes in a second.
fn interpreter(checks: Checks, name: &str) -> Result<(), Box<dyn Error>> {
    let vgpu = aimass_vgpu::load(&settings(checks))?;
    let device = Device::open(0, &DeviceOptions::default())?;
    let memory = device.upload(&vec![0; ELEMENTS as usize * 4])?;
    let mut queue = device.queue()?;
    launch(&mut queue, &memory, ELEMENTS)?;
    let start = Instant::now();
    queue.synchronize()?;
    let seconds = start.elapsed().as_secs_f64();
    let executed: u64 = vgpu.counters().iter().map(|(_, counted)| counted.instructions).sum();
    let millions = executed as f64 / 1e6 / seconds;
    row(&format!("virtual GPU: interpreter, {name}"), millions, "M instr/s");
    Ok(())
}

/// What queueing takes, and a small copy there and back.
fn host(device: &Arc<Device>, label: &str) -> Result<(), DeviceError> {
    let memory = Arc::new(device.upload(&[0; 4096])?);
    let mut queue = device.queue()?;
    launch(&mut queue, &memory, 1)?;
    queue.synchronize()?;
    let one = median(&mut queue, |queue| {
        let start = Instant::now();
        (0..LAUNCHES).try_for_each(|_| launch(queue, &memory, 1))?;
        Ok(start.elapsed() / LAUNCHES)
    })?;
    row(&format!("launch, {label}"), nanoseconds(one), "ns");
    let replay = queue
        .capture(&[&memory], |queue| (0..RECORDED).try_for_each(|_| launch(queue, &memory, 1)))?;
    let recorded = median(&mut queue, |queue| {
        let start = Instant::now();
        queue.replay(&replay)?;
        Ok(start.elapsed())
    })?;
    row(&format!("recorded launch of {RECORDED} kernels, {label}"), nanoseconds(recorded), "ns");
    let mut host = vec![0u8; 4096];
    let copies = median(&mut queue, |queue| {
        let start = Instant::now();
        queue.upload(memory.slice(), &host)?;
        queue.download(&mut [(memory.slice(), &mut host)])?;
        Ok(start.elapsed())
    })?;
    row(&format!("4 KiB there and back, waited for, {label}"), nanoseconds(copies), "ns");
    Ok(())
}

fn launch(queue: &mut Queue<'_>, memory: &Memory, elements: u32) -> Result<(), DeviceError> {
    let slice = memory.slice();
    unary(queue, Unary::Relu, Form::F32, (slice, slice), elements)
}

/// The median of some rounds, each waited for before the next.
fn median(
    queue: &mut Queue<'_>,
    mut round: impl FnMut(&mut Queue<'_>) -> Result<Duration, DeviceError>,
) -> Result<Duration, DeviceError> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        times.push(round(queue)?);
        queue.synchronize()?;
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// A figure without a peer or a goal.
fn row(name: &str, value: f64, unit: &str) {
    let row = json!({
        "name": name, "value": value, "unit": unit, "peer": "", "peer_value": null,
        "ratio": 1.0, "goal": "-", "holds": true,
    });
    println!("{row}");
}

//! Times the convolutions of ResNet-50 at batch 1 and 32, channels last: by our own kernels, with cuBLASLt,
//! and with TF32.
//!
//! ```text
//! cargo run --release -p aimass-cuda --example conv
//! ```
//!
//! Prints microseconds a call (the best of several rounds of launches without a wait between them) and
//! TFLOP/s.

use aimass_cuda::conv::{
    Axis, ConvOperands, ConvShape, Layout, conv, conv_depthwise, conv_scratch,
};
use aimass_cuda::matmul::Finish;
use aimass_cuda::{Device, DeviceError, DeviceOptions, Form, Memory};
use std::sync::Arc;
use std::time::Instant;

/// (name, channels, filters, groups, extent, kernel, stride).
const LAYERS: &[(&str, u32, u32, u32, u32, u32, u32)] = &[
    ("stem 7x7/2", 3, 64, 1, 224, 7, 2),
    ("1x1 64 to 256", 64, 256, 1, 56, 1, 1),
    ("3x3 64", 64, 64, 1, 56, 3, 1),
    ("3x3 128", 128, 128, 1, 28, 3, 1),
    ("1x1 512 to 128", 512, 128, 1, 28, 1, 1),
    ("3x3 256", 256, 256, 1, 14, 3, 1),
    ("1x1 1024 to 256", 1024, 256, 1, 14, 1, 1),
    ("3x3 512", 512, 512, 1, 7, 3, 1),
    ("1x1 512 to 2048", 512, 2048, 1, 7, 1, 1),
    ("depthwise 3x3 256", 256, 256, 256, 28, 3, 1),
];

const FORMS: [Form; 2] = [Form::F32, Form::F16];

fn numbers(device: &Arc<Device>, form: Form, count: u64) -> Result<Memory, DeviceError> {
    // The high bytes of small floats of each type; the low ones are whatever they are.
    let high = if form == Form::F16 { 0x34 } else { 0x3e };
    let element = |i: u64| {
        let noise = (i as u32).wrapping_mul(2_654_435_761);
        let mut bytes = noise.to_le_bytes();
        bytes[form.bytes() - 1] = high | (((noise >> 31) as u8) << 7);
        bytes
    };
    let bytes: Vec<u8> =
        (0..count).flat_map(|i| element(i).into_iter().take(form.bytes())).collect();
    device.upload(&bytes)
}

/// Seconds of a call.
fn time(device: &Arc<Device>, form: Form, shape: &ConvShape) -> Result<f64, DeviceError> {
    let all = |of: fn(&Axis) -> u32| shape.axes.iter().map(|axis| u64::from(of(axis))).product();
    let (inputs, outputs, taps): (u64, u64, u64) =
        (all(|axis| axis.input), all(|axis| axis.output), all(|axis| axis.kernel));
    let batch = u64::from(shape.batch);
    let x = numbers(device, form, batch * u64::from(shape.channels) * inputs)?;
    let pairs = u64::from(shape.filters) * u64::from(shape.channels / shape.groups);
    let w = numbers(device, form, pairs * taps)?;
    let bias = numbers(device, form, shape.filters.into())?;
    let results = batch * u64::from(shape.filters) * outputs;
    let y = Memory::new(device, results as usize * form.bytes())?;
    let scratch = Memory::new(device, conv_scratch(device, form, shape))?;
    let operands = ConvOperands {
        x: x.slice(),
        w: w.slice(),
        bias: bias.slice(),
        residual: aimass_cuda::Slice::none(),
        y: y.slice(),
        scratch: scratch.slice(),
    };
    let run = if shape.groups > 1 { conv_depthwise } else { conv };
    let mut queue = device.queue()?;
    let mut best = f64::INFINITY;
    for round in 0..6 {
        let launches = if round == 0 { 1 } else { 20 };
        let start = Instant::now();
        for _ in 0..launches {
            run(&mut queue, form, shape, &operands, Finish::default())?;
        }
        queue.synchronize()?;
        if round > 0 {
            best = best.min(start.elapsed().as_secs_f64() / f64::from(launches));
        }
    }
    Ok(best)
}

/// How a device multiplies: by our own kernels alone, with cuBLASLt, and that with f32 rounded to TF32.
const WAYS: [(&str, bool, bool); 3] =
    [("own", true, false), ("library", false, false), ("tf32", false, true)];

fn main() -> Result<(), DeviceError> {
    let mut rows: Vec<(String, f64, Vec<f64>)> = Vec::new();
    for (_, deterministic, tf32) in WAYS {
        let options = DeviceOptions { deterministic, tf32, ..DeviceOptions::default() };
        let device = Device::open(0, &options)?;
        let mut next = 0;
        for &(name, channels, filters, groups, extent, kernel, stride) in LAYERS {
            for (batch, form) in [1, 32].into_iter().flat_map(|n| FORMS.map(|form| (n, form))) {
                let output = extent.div_ceil(stride);
                let (dilation, before) = (1, kernel / 2);
                let own = Axis { input: extent, output, kernel, stride, dilation, before };
                let axes = [Axis::ONE, own, own];
                let layout = Layout::ChannelsLast;
                let shape = ConvShape { batch, groups, channels, filters, axes, layout };
                let seconds = time(&device, form, &shape)?;
                if next == rows.len() {
                    let terms = f64::from(channels / groups * kernel * kernel);
                    let outputs = f64::from(batch * filters) * f64::from(output * output);
                    let row = format!("{name:<20} {batch:>5} {:>5}", format!("{form:?}"));
                    rows.push((row, 2.0 * terms * outputs, Vec::new()));
                }
                rows[next].2.push(seconds);
                next += 1;
            }
        }
        println!("{:?}, cuBLASLt {:?}", device.info(), device.cublaslt());
    }
    let names = WAYS.map(|(name, ..)| format!("{:>19}", format!("{name} us TFLOP/s")));
    println!("{:<20} {:>5} {:>5} {}", "layer", "batch", "type", names.concat());
    for (row, work, times) in rows {
        let times = times.iter().map(|t| format!(" {:>9.1} {:>8.2}", t * 1e6, work / t / 1e12));
        println!("{row}{}", times.collect::<String>());
    }
    Ok(())
}

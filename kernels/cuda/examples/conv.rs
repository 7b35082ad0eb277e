//! Times the convolutions of ResNet-50 at batch 1 and 32, in both layouts.
//!
//! ```text
//! cargo run --release -p aimass-cuda --example conv
//! ```
//!
//! Prints microseconds a call (the best of several rounds of launches without a wait between them) and
//! TFLOP/s.

use aimass_cuda::conv::{Axis, ConvOperands, ConvShape, Layout, conv, conv_scratch};
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
    let scratch = Memory::new(device, conv_scratch(shape))?;
    let operands = ConvOperands {
        x: x.slice(),
        w: w.slice(),
        bias: bias.slice(),
        residual: aimass_cuda::Slice::none(),
        y: y.slice(),
        scratch: scratch.slice(),
    };
    let mut queue = device.queue()?;
    let mut best = f64::INFINITY;
    for round in 0..6 {
        let launches = if round == 0 { 1 } else { 20 };
        let start = Instant::now();
        for _ in 0..launches {
            conv(&mut queue, form, shape, &operands, Finish::default())?;
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
    println!(
        "{:<20} {:>5} {:>5} {:<14} {:>10} {:>9}",
        "layer", "batch", "type", "layout", "us", "TFLOP/s"
    );
    for &(name, channels, filters, groups, extent, kernel, stride) in LAYERS {
        for batch in [1, 32] {
            for form in [Form::F32, Form::F16] {
                for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
                    let own = Axis {
                        input: extent,
                        output: extent.div_ceil(stride),
                        kernel,
                        stride,
                        dilation: 1,
                        before: kernel / 2,
                    };
                    let axes = [Axis::ONE, own, own];
                    let shape = ConvShape { batch, groups, channels, filters, axes, layout };
                    let seconds = time(&device, form, &shape)?;
                    let terms = f64::from(channels / groups * kernel * kernel);
                    let outputs = f64::from(batch * filters) * f64::from(own.output * own.output);
                    println!(
                        "{name:<20} {batch:>5} {:>5} {:<14} {:>10.1} {:>9.2}",
                        format!("{form:?}"),
                        format!("{layout:?}"),
                        seconds * 1e6,
                        2.0 * terms * outputs / seconds / 1e12
                    );
                }
            }
        }
    }
    Ok(())
}

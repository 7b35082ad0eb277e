//! Speed of convolutions in the shapes of well-known networks, as a fraction of the multiply-add peak.
//!
//! `cargo run --release -p aimass-cpu --example conv_latency [-- 1|2]`: threads; fastest of many runs.

use aimass_cpu::activation::{Activation, Finish, Parametric};
use aimass_cpu::conv::{
    Axis, ImageDims, conv_depthwise, conv_packed, conv_spread, conv_tiled, pack_depthwise,
    pack_filters, pack_spread, pack_tiles,
};
use aimass_cpu::matmul::{Epilogue, PackedMatrix, matmul_packed};
use aimass_cpu::pool::{KernelPool, Team};
use aimass_cpu::view::{Rows, RowsMut, numbers_mut};
use aimass_tensor::BufferMut;
use std::time::Instant;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Pointwise,
    Dense,
    Depthwise,
    Spread,
    /// Dense, of one line.
    Line,
    /// The same by tiles of outputs.
    Tiled,
}
use Kind::{Dense, Depthwise, Line, Pointwise, Spread, Tiled};

/// Kind, extent of the square input, or of the line, channels, filters, window, stride.
const LAYERS: [(Kind, usize, usize, usize, usize, usize); 39] = [
    (Dense, 640, 3, 16, 3, 2),
    (Depthwise, 320, 16, 16, 3, 1),
    (Pointwise, 320, 16, 32, 1, 1),
    (Depthwise, 320, 32, 32, 3, 2),
    (Pointwise, 160, 32, 48, 1, 1),
    (Depthwise, 160, 48, 48, 3, 1),
    (Pointwise, 160, 48, 48, 1, 1),
    (Depthwise, 160, 48, 48, 3, 2),
    (Pointwise, 80, 48, 96, 1, 1),
    (Depthwise, 80, 96, 96, 3, 1),
    (Pointwise, 80, 96, 96, 1, 1),
    (Depthwise, 80, 96, 96, 3, 2),
    (Pointwise, 40, 192, 192, 1, 1),
    (Depthwise, 40, 192, 192, 5, 1),
    (Depthwise, 40, 192, 192, 5, 2),
    (Pointwise, 20, 384, 384, 1, 1),
    (Depthwise, 20, 384, 384, 5, 1),
    (Depthwise, 80, 96, 96, 7, 1),
    (Pointwise, 160, 12, 96, 1, 1),
    (Dense, 160, 96, 24, 3, 1),
    (Dense, 80, 96, 24, 3, 1),
    (Dense, 40, 96, 24, 3, 1),
    (Spread, 160, 24, 24, 2, 2),
    (Spread, 320, 24, 1, 2, 2),
    (Dense, 224, 3, 64, 7, 2),
    (Dense, 56, 64, 64, 3, 1),
    (Pointwise, 56, 64, 256, 1, 1),
    (Pointwise, 56, 256, 64, 1, 1),
    (Dense, 28, 128, 128, 3, 1),
    (Dense, 14, 256, 256, 3, 1),
    (Dense, 7, 512, 512, 3, 1),
    (Pointwise, 7, 512, 2048, 1, 1),
    (Dense, 56, 256, 512, 1, 2),
    (Line, 512, 256, 512, 5, 1),
    (Tiled, 512, 256, 512, 5, 1),
    (Line, 512, 384, 384, 3, 1),
    (Tiled, 512, 384, 384, 3, 1),
    (Line, 64, 256, 512, 5, 1),
    (Tiled, 64, 256, 512, 5, 1),
];

fn main() {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    let team = KernelPool::global().team(threads);
    // What a product of 512 x 512 x 512 reaches stands for the peak.
    let (a, b) = (numbers(512 * 512), PackedMatrix::pack(512, 512, numbers(512 * 512)));
    let c = numbers(512 * 512);
    let seconds = best(|| {
        let c = RowsMut::dense(c, 512);
        matmul_packed(team, Rows::dense(a, 512), &b, c, &Epilogue::default());
    });
    let peak = 2.0 * 512f64.powi(3) / seconds / 1e9;
    println!("{} threads, product of 512^3: {peak:.0} GF/s", team.threads());
    for layer in LAYERS {
        let (kind, extent, channels, filters, kernel, stride) = layer;
        let (seconds, flops) = run(team, layer);
        let (ms, speed) = (seconds * 1e3, flops / seconds / 1e9);
        let name = match kind {
            Pointwise => "pointwise",
            Dense => "dense",
            Depthwise => "depthwise",
            Spread => "spread",
            Line => "line",
            Tiled => "tiled",
        };
        println!(
            "{name:9} {extent:3} x {extent:3} x {channels:3} -> {filters:4}, {kernel} x {kernel} / \
             {stride}: {ms:7.3} ms, {speed:6.1} GF/s, {:3.0} %",
            100.0 * speed / peak
        );
    }
}

/// Seconds and operations of one layer with bias and hard swish.
fn run(
    team: Team<'_>,
    (kind, extent, channels, filters, kernel, stride): (Kind, usize, usize, usize, usize, usize),
) -> (f64, f64) {
    let before = if kind == Spread { 0 } else { kernel / 2 };
    let mut axis = Axis {
        input: extent,
        output: (extent + 2 * before - kernel) / stride + 1,
        kernel,
        stride,
        dilation: 1,
        before,
    };
    if kind == Spread {
        (axis.input, axis.output) = (extent * kernel, extent);
    }
    let rows = if matches!(kind, Line | Tiled) { Axis::ONE } else { axis };
    let dims = ImageDims { batch: 1, rows, columns: axis, channels, filters };
    // A transposed convolution reads what another one writes.
    let x = &*numbers(if kind == Spread { extent * extent * channels } else { dims.inputs() });
    let taps = dims.taps();
    let bias = &*numbers(filters);
    let finish =
        Finish { activation: Activation::With(Parametric::HardSwish), ..Finish::default() };
    let epilogue = Epilogue { bias: Some(bias), finish, residual: None };
    let y = numbers(match kind {
        Spread => dims.pixels() * taps * filters,
        Pointwise | Dense | Depthwise | Line | Tiled => dims.outputs(),
    });
    let work = 2.0 * (dims.pixels() * taps * filters) as f64;
    match kind {
        Pointwise => {
            let w = pack_filters(numbers(filters * channels), filters, channels, 1);
            let run = || {
                let y = RowsMut::dense(y, filters);
                matmul_packed(team, Rows::dense(x, channels), &w, y, &epilogue);
            };
            (best(run), work * channels as f64)
        }
        Dense | Line => {
            let w = pack_filters(numbers(filters * channels * taps), filters, channels, taps);
            let run = || conv_packed(team, &dims, x, &w, y, &epilogue);
            (best(run), work * channels as f64)
        }
        Tiled => {
            let w = pack_tiles(numbers(filters * channels * taps), filters, channels, taps);
            let run = || conv_tiled(team, &dims, x, &w, y, &epilogue);
            (best(run), work * channels as f64)
        }
        Depthwise => {
            let w = pack_depthwise(numbers(filters * taps), channels, taps);
            (best(|| conv_depthwise(team, &dims, x, &w, y, &epilogue)), work)
        }
        Spread => {
            let w = pack_spread(numbers(filters * channels * taps), channels, filters, taps);
            let run = || conv_spread(team, &dims, x, &w, y, (Some(bias), finish));
            (best(run), work * channels as f64)
        }
    }
}

/// Seconds of the fastest of many runs.
fn best(mut run: impl FnMut()) -> f64 {
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while begin.elapsed().as_millis() < 300 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// Numbers in memory that is aligned as tensors are; it is never given back.
fn numbers(count: usize) -> &'static mut [f32] {
    let block = Box::leak(Box::new(BufferMut::uninit(count * size_of::<f32>())));
    let numbers = numbers_mut::<f32>(block.as_mut_slice());
    for (i, x) in numbers.iter_mut().enumerate() {
        *x = ((i * 7919) % 2003) as f32 / 1001.5 - 1.0;
    }
    numbers
}

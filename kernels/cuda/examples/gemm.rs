//! Times matrix products on the first GPU: our kernels, and cuBLASLt where it is installed.
//!
//! ```text
//! cargo run --release -p aimass-cuda --example gemm -- 67 989
//! ```
//!
//! The numbers are the TFLOP/s that the device can do in f32 and in halves, for the last columns; those
//! of an H100 SXM if absent. Each time is that of many launches and one wait, by the host's clock, with
//! operands that stay where they are: small ones in the cache of the device.

use aimass_cuda::matmul::{Matrix, ProductDims, ProductEnd, matmul};
use aimass_cuda::{Device, DeviceError, DeviceOptions, Form, Memory};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `[m, n, k]`.
const SHAPES: &[[u32; 3]] = &[
    [1, 4096, 4096],
    [1, 14336, 4096],
    [4, 4096, 4096],
    [8, 4096, 4096],
    [16, 4096, 4096],
    [32, 768, 768],
    [64, 4096, 4096],
    [128, 1536, 384],
    [512, 768, 3072],
    [512, 3072, 768],
    [512, 4096, 4096],
    [2048, 2048, 2048],
    [4096, 4096, 4096],
    [8192, 8192, 4096],
];
/// Least time of a measurement.
const LEAST: Duration = Duration::from_millis(60);

/// Operands of a product in memory.
struct Product {
    dims: ProductDims,
    form: Form,
    transposed: bool,
    a: Memory,
    b: Memory,
    c: Memory,
}

impl Product {
    fn new(
        device: &Arc<Device>,
        [m, n, k]: [u32; 3],
        form: Form,
        transposed: bool,
    ) -> Result<Product, DeviceError> {
        let bytes = |rows: u32, columns: u32| rows as usize * columns as usize * form.bytes();
        // Numbers of different signs and sizes, for the power that a product draws depends on them.
        let content = |bytes: usize| -> Vec<u8> {
            let bits = |i: usize| (i as u32).wrapping_mul(0x9e37_79b9) >> 9;
            match form {
                Form::F32 => (0..bytes / 4)
                    .flat_map(|i| (bits(i) as f32 / (1u32 << 22) as f32 - 1.0).to_le_bytes())
                    .collect(),
                _ => (0..bytes / 2)
                    .flat_map(|i| half::f16::from_f32(bits(i) as f32 / 4e6 - 1.0).to_le_bytes())
                    .collect(),
            }
        };
        Ok(Product {
            dims: ProductDims { batch: 1, m, n, k },
            form,
            transposed,
            a: device.upload(&content(bytes(m, k)))?,
            b: device.upload(&content(bytes(k, n)))?,
            c: Memory::new(device, bytes(m, n))?,
        })
    }

    /// Seconds of one product.
    fn time(&self, device: &Arc<Device>) -> Result<f64, DeviceError> {
        let ProductDims { m, n, k, .. } = self.dims;
        let a = Matrix::dense(self.a.slice(), self.form, m, k);
        let b = match self.transposed {
            true => Matrix::transposed(self.b.slice(), self.form, k, n),
            false => Matrix::dense(self.b.slice(), self.form, k, n),
        };
        let c = Matrix::dense(self.c.slice(), self.form, m, n);
        let mut queue = device.queue()?;
        let mut run = |count: u32| -> Result<Duration, DeviceError> {
            let start = Instant::now();
            for _ in 0..count {
                matmul(&mut queue, self.dims, [&a, &b], &c, &ProductEnd::default())?;
            }
            queue.synchronize()?;
            Ok(start.elapsed())
        };
        run(3)?;
        let mut count = 4;
        loop {
            let elapsed = run(count)?;
            if elapsed >= LEAST {
                return Ok(elapsed.as_secs_f64() / f64::from(count));
            }
            count *= 2;
        }
    }
}

fn main() -> Result<(), DeviceError> {
    let mut peaks = std::env::args().skip(1).filter_map(|peak| peak.parse::<f64>().ok());
    let (peak_f32, peak_half) = (peaks.next().unwrap_or(67.0), peaks.next().unwrap_or(989.0));
    let options = DeviceOptions::default();
    let with = Device::open(0, &options)?;
    let own = Device::open(0, &DeviceOptions { deterministic: true, ..options })?;
    println!("{}, {}", with.info().name, with.info().image);
    println!(
        "{:<6}{:<4}{:>6}{:>7}{:>6} | {:>9}{:>9}{:>8} | {:>9}{:>9} | {:>6}{:>7}",
        "type",
        "b",
        "m",
        "n",
        "k",
        "own us",
        "TFLOP/s",
        "GB/s",
        "all us",
        "TFLOP/s",
        "ratio",
        "peak"
    );
    for form in [Form::F32, Form::F16, Form::Bf16] {
        let peak = if form == Form::F32 { peak_f32 } else { peak_half };
        for &shape in SHAPES {
            for transposed in [false, true] {
                let product = Product::new(&with, shape, form, transposed)?;
                let (ours, theirs) = (product.time(&own)?, product.time(&with)?);
                let [m, n, k] = shape.map(f64::from);
                let work = 2.0 * m * n * k / 1e12;
                let bytes = (m * k + k * n + m * n) * form.bytes() as f64 / 1e9;
                println!(
                    "{:<6}{:<4}{m:>6}{n:>7}{k:>6} | {:>9.1}{:>9.2}{:>8.0} | {:>9.1}{:>9.2} | {:>6.2}{:>6.1}%",
                    format!("{form:?}"),
                    if transposed { "nk" } else { "kn" },
                    ours * 1e6,
                    work / ours,
                    bytes / ours,
                    theirs * 1e6,
                    work / theirs,
                    theirs / ours,
                    work / ours / peak * 100.0
                );
            }
        }
    }
    Ok(())
}

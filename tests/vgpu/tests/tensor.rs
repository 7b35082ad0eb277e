//! Matrix instructions of every shape against plain sums.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use aimass_vgpu::{Checks, Settings};
use cudarc::driver::{DeviceRepr, PushKernelArg, ValidAsZeroBits};
use device::{Device, random_bits, shape};

const TENSOR: &str = include_str!("kernels/tensor.compute_80.ptx");

/// Runs `kernel` on bits of A (row by row), B (column by column) and C.
fn run<T: DeviceRepr, S: DeviceRepr + ValidAsZeroBits + Clone>(
    kernel: &str,
    a: &[T],
    b: &[T],
    c: &[S],
) -> Vec<S> {
    let device = Device::new(&Settings { checks: Checks::Races, ..Settings::default() }, TENSOR);
    let (da, db) = (device.stream.clone_htod(a).unwrap(), device.stream.clone_htod(b).unwrap());
    let dc = device.stream.clone_htod(c).unwrap();
    let mut dd = device.stream.alloc_zeros::<S>(c.len()).unwrap();
    let function = device.function(kernel);
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&da).arg(&db).arg(&dc).arg(&mut dd);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(1, 32)) }.unwrap();
    let d = device.stream.clone_dtoh(&dd);
    d.unwrap_or_else(|error| panic!("{kernel}: {error:?} {:?}", device.vgpu.findings()))
}

/// Small whole numbers: exact in every format, so that every sum is exact too.
fn small(n: usize, seed: u32) -> Vec<i32> {
    let mut random = random_bits(seed);
    (0..n).map(|_| (random() % 17) as i32 - 8).collect()
}

fn expected((m, n, k): (usize, usize, usize), a: &[i32], b: &[i32], c: &[i32]) -> Vec<i32> {
    let sum = |at: usize| {
        let (row, column) = (at / n, at % n);
        c[at] + (0..k).map(|p| a[row * k + p] * b[column * k + p]).sum::<i32>()
    };
    (0..m * n).map(sum).collect()
}

/// Bits of a whole number of at most 11 bits in binary16.
fn f16(value: i32) -> u16 {
    if value == 0 {
        return 0;
    }
    let single = (value as f32).to_bits();
    (single >> 16 & 0x8000) as u16
        | ((single >> 13 & 0x3ff) | ((single >> 23 & 0xff) - 112) << 10) as u16
}

fn bf16(value: i32) -> u16 {
    ((value as f32).to_bits() >> 16) as u16
}

fn singles(values: &[i32]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

fn matrices((m, n, k): (usize, usize, usize)) -> [Vec<i32>; 4] {
    let (a, b, c) = (small(m * k, 1), small(n * k, 2), small(m * n, 3));
    let d = expected((m, n, k), &a, &b, &c);
    [a, b, c, d]
}

fn check_halves(kernel: &str, size: (usize, usize, usize), bits: fn(i32) -> u16) {
    let [a, b, c, d] = matrices(size);
    let half = |values: &[i32]| values.iter().map(|value| bits(*value)).collect::<Vec<u16>>();
    assert_eq!(run(kernel, &half(&a), &half(&b), &singles(&c)), singles(&d), "{kernel}");
}

#[test]
fn half_products_of_every_shape() {
    check_halves("f16_16", (16, 16, 16), f16);
    check_halves("f16_32", (32, 8, 16), f16);
    check_halves("f16_8", (8, 32, 16), f16);
    check_halves("bf16_16", (16, 16, 16), bf16);
    check_halves("bf16_32", (32, 8, 16), bf16);
    check_halves("mma_f16", (16, 8, 16), f16);
}

#[test]
fn half_sums_are_kept_in_halves() {
    let [a, b, c, d] = matrices((16, 16, 16));
    let half = |values: &[i32]| values.iter().map(|value| f16(*value)).collect::<Vec<u16>>();
    assert_eq!(run("f16_half", &half(&a), &half(&b), &half(&c)), half(&d));
}

#[test]
fn tensor_single_precision() {
    let [a, b, c, d] = matrices((16, 16, 8));
    assert_eq!(run("tf32_16", &singles(&a), &singles(&b), &singles(&c)), singles(&d));
    let [a, b, c, d] = matrices((16, 8, 8));
    assert_eq!(run("mma_tf32", &singles(&a), &singles(&b), &singles(&c)), singles(&d));
}

#[test]
fn bytes_are_summed_in_integers() {
    for (kernel, size) in [("s8_16", (16, 16, 16)), ("s8_8", (8, 32, 16)), ("mma_s8", (16, 8, 32))]
    {
        let [a, b, c, d] = matrices(size);
        let bytes = |values: &[i32]| values.iter().map(|value| *value as i8).collect::<Vec<i8>>();
        assert_eq!(run(kernel, &bytes(&a), &bytes(&b), &c), d, "{kernel}");
    }
}

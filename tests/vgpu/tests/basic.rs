//! The unmodified cudarc loads the virtual driver and runs what NVIDIA's compiler emitted.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use aimass_vgpu::{Checks, Settings};
use cudarc::driver::{LaunchConfig, PushKernelArg};
use device::{Device, shape};

fn check_all(settings: &Settings) {
    let device = Device::new(settings, device::BASIC);
    gelu(&device);
    softmax(&device);
    matmul(&device);
    histogram(&device);
    collatz(&device);
    lookup(&device);
    assert_eq!(device.vgpu.findings(), [""; 0]);
}

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| 3.0 * next()).collect()
}

fn gelu(device: &Device) {
    for n in [1usize, 31, 257, 5000] {
        let x = numbers(n, 7);
        let dx = device.stream.clone_htod(&x).unwrap();
        let mut dy = device.stream.alloc_zeros::<f32>(n).unwrap();
        let function = device.function("gelu_f32");
        let count = n as u32;
        let mut launch = device.stream.launch_builder(&function);
        launch.arg(&dx).arg(&mut dy).arg(&count);
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(shape(4, 128)) }.unwrap();
        for (x, y) in x.iter().zip(device.stream.clone_dtoh(&dy).unwrap()) {
            let exact = 0.5 * f64::from(*x) * (1.0 + erf(f64::from(*x) / 2f64.sqrt()));
            assert!((exact - f64::from(y)).abs() < 1e-6, "gelu({x}) = {y}, not {exact}");
        }
    }
}

/// Abramowitz and Stegun 7.1.5 and 7.1.14.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let value = if a < 2.5 {
        let mut term = a;
        let mut sum = a;
        for n in 1..60 {
            term *= -a * a / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(0.0, |f, k| f64::from(k) / 2.0 / (a + f));
        1.0 - (-a * a).exp() / (a + fraction) / std::f64::consts::PI.sqrt()
    };
    value.copysign(x)
}

fn softmax(device: &Device) {
    let function = device.function("softmax_rows_f32");
    for (rows, columns, threads) in
        [(1usize, 1usize, 32), (3, 33, 64), (5, 1000, 256), (2, 4097, 1024)]
    {
        let x = numbers(rows * columns, 9);
        let dx = device.stream.clone_htod(&x).unwrap();
        let mut dy = device.stream.alloc_zeros::<f32>(rows * columns).unwrap();
        let width = columns as u32;
        let mut launch = device.stream.launch_builder(&function);
        launch.arg(&dx).arg(&mut dy).arg(&width);
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(shape(rows as u32, threads)) }.unwrap();
        let y = device.stream.clone_dtoh(&dy).unwrap();
        for (x, y) in x.chunks(columns).zip(y.chunks(columns)) {
            let largest = x.iter().copied().fold(f32::MIN, f32::max);
            let exps: Vec<f64> = x.iter().map(|x| f64::from(x - largest).exp()).collect();
            let sum: f64 = exps.iter().sum();
            for (exact, y) in exps.iter().map(|e| e / sum).zip(y) {
                assert!((exact - f64::from(*y)).abs() < 1e-6, "softmax {y}, not {exact}");
            }
        }
    }
}

fn matmul(device: &Device) {
    let function = device.function("matmul_f32");
    for (m, n, k) in [(1usize, 1usize, 1usize), (17, 33, 5), (64, 48, 100)] {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (da, db) =
            (device.stream.clone_htod(&a).unwrap(), device.stream.clone_htod(&b).unwrap());
        let mut dc = device.stream.alloc_zeros::<f32>(m * n).unwrap();
        let sizes = [m as u32, n as u32, k as u32];
        let mut launch = device.stream.launch_builder(&function);
        launch.arg(&da).arg(&db).arg(&mut dc).arg(&sizes[0]).arg(&sizes[1]).arg(&sizes[2]);
        let config = LaunchConfig {
            grid_dim: (sizes[1].div_ceil(16), sizes[0].div_ceil(16), 1),
            block_dim: (16, 16, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(config) }.unwrap();
        let c = device.stream.clone_dtoh(&dc).unwrap();
        for (at, c) in c.iter().enumerate() {
            let (i, j) = (at / n, at % n);
            let exact: f64 =
                (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j])).sum();
            assert!((exact - f64::from(*c)).abs() < 1e-4, "c[{i}][{j}] = {c}, not {exact}");
        }
    }
}

fn histogram(device: &Device) {
    let bytes: Vec<u8> =
        (0..10_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut expected = vec![0u32; 256];
    bytes.iter().for_each(|byte| expected[usize::from(*byte)] += 1);
    let dx = device.stream.clone_htod(&bytes).unwrap();
    let mut counts = device.stream.alloc_zeros::<u32>(256).unwrap();
    let n = bytes.len() as u32;
    let function = device.function("histogram_u8");
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&dx).arg(&mut counts).arg(&n);
    let config = LaunchConfig { shared_mem_bytes: 1024, ..shape(3, 96) };
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(config) }.unwrap();
    assert_eq!(device.stream.clone_dtoh(&counts).unwrap(), expected);
}

fn collatz(device: &Device) {
    let x: Vec<u32> = (1..=100).collect();
    let expected: Vec<u32> = x
        .iter()
        .map(|x| {
            let (mut v, mut steps) = (*x, 0);
            while v != 1 {
                v = if v & 1 == 1 { 3 * v + 1 } else { v / 2 };
                steps += 1;
            }
            steps
        })
        .collect();
    let dx = device.stream.clone_htod(&x).unwrap();
    let mut dy = device.stream.alloc_zeros::<u32>(x.len()).unwrap();
    let n = x.len() as u32;
    let function = device.function("collatz_u32");
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&dx).arg(&mut dy).arg(&n);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(2, 64)) }.unwrap();
    assert_eq!(device.stream.clone_dtoh(&dy).unwrap(), expected);
}

fn lookup(device: &Device) {
    let mut dy = device.stream.alloc_zeros::<f32>(6).unwrap();
    let function = device.function("lookup_f32");
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&mut dy).arg(&6u32);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(1, 32)) }.unwrap();
    assert_eq!(device.stream.clone_dtoh(&dy).unwrap(), [3.0, 6.0, 12.0, 24.0, 3.0, 6.0]);
}

#[test]
fn kernels_compute_what_they_say_on_every_schedule() {
    for seed in 0..4 {
        check_all(&Settings { seed, checks: Checks::Off, ..Settings::default() });
    }
}

#[test]
fn shadow_memory_is_silent_on_correct_kernels() {
    for (seed, checks) in [(0, Checks::Memory), (1, Checks::Races), (2, Checks::Races)] {
        check_all(&Settings { seed, checks, count: true, ..Settings::default() });
    }
}

#[test]
fn a_cubin_is_executed_from_the_text_of_its_folder() {
    let folder = std::env::temp_dir().join(format!("aimass-vgpu-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("compute_75.ptx"), device::BASIC).unwrap();
    let settings = Settings { ptx: Some(folder.clone()), ..Settings::default() };
    let device = Device::with_image(&settings, device::basic_cubin());
    collatz(&device);
    lookup(&device);
    let function = device.function("softmax_rows_f32");
    assert_eq!(function.shared_size_bytes().unwrap(), 128);
    assert!(function.num_regs().unwrap() > 8);
    assert_eq!(device.function("fill_f32").max_threads_per_block().unwrap(), 128);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn counters_say_what_a_launch_did() {
    let settings = Settings { count: true, ..Settings::default() };
    let device = Device::new(&settings, device::BASIC);
    let mut y = device.stream.alloc_zeros::<f32>(128).unwrap();
    let function = device.function("fill_f32");
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&mut y).arg(&2.5f32).arg(&128u32);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(1, 128)) }.unwrap();
    device.stream.synchronize().unwrap();
    let counters = device.vgpu.counters();
    let (name, counters) = &counters[0];
    assert_eq!((name.as_str(), counters.launches), ("fill_f32", 1));
    assert_eq!((counters.sectors, counters.instructions % 128), (16, 0));
}

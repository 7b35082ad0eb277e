//! Memory, atomics, and what lanes and warps do together.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use aimass_vgpu::{Checks, Settings};
use cudarc::driver::PushKernelArg;
use device::{Device, random_bits, shape};

const MEMORY: &str = include_str!("kernels/memory.compute_80.ptx");

fn device(checks: Checks, seed: u64) -> Device {
    Device::new(&Settings { checks, seed, ..Settings::default() }, MEMORY)
}

#[test]
fn vectors_of_every_width_are_loaded() {
    let device = device(Checks::Races, 1);
    let mut random = random_bits(1);
    let n = 40usize;
    let x: Vec<f32> = (0..4 * n).map(|_| (random() & 0xff) as f32).collect();
    let bytes: Vec<u8> = (0..4 * n).map(|_| random() as u8).collect();
    let shorts: Vec<i16> = (0..2 * n).map(|_| random() as i16).collect();
    let (dx, db) =
        (device.stream.clone_htod(&x).unwrap(), device.stream.clone_htod(&bytes).unwrap());
    let ds = device.stream.clone_htod(&shorts).unwrap();
    let mut dy = device.stream.alloc_zeros::<f32>(4 * n).unwrap();
    let function = device.function("vectors");
    let count = n as u32;
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&dx).arg(&db).arg(&ds).arg(&mut dy).arg(&count);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(2, 32)) }.unwrap();
    let y = device.stream.clone_dtoh(&dy).unwrap();
    for i in 0..n {
        let b = [0, 1, 2, 3].map(|part| i32::from(bytes[4 * i + part]));
        let s = [i32::from(shorts[2 * i]), i32::from(shorts[2 * i + 1])];
        let added = [b[0] + s[0], b[1] - s[1], b[2], b[3]];
        for part in 0..4 {
            assert_eq!(y[4 * i + part], x[4 * i + part] + added[part] as f32, "{i} {part}");
        }
    }
}

#[test]
fn an_indexed_array_lives_in_local_memory() {
    let device = device(Checks::Races, 2);
    let mut random = random_bits(2);
    let (threads, n) = (50usize, 30usize);
    let x: Vec<u32> = (0..threads + n).map(|_| random()).collect();
    let dx = device.stream.clone_htod(&x).unwrap();
    let mut dy = device.stream.alloc_zeros::<u32>(threads).unwrap();
    let function = device.function("local_array");
    let count = n as u32;
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&dx).arg(&mut dy).arg(&count);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(1, threads as u32)) }.unwrap();
    let y = device.stream.clone_dtoh(&dy).unwrap();
    for i in 0..threads {
        let mut a: [u32; 16] = std::array::from_fn(|k| x[i].wrapping_mul(k as u32 + 1));
        let mut sum = 0u32;
        for k in 0..n {
            sum = sum.wrapping_add(a[(x[i + k] & 15) as usize]);
            a[(sum & 15) as usize] = k as u32;
        }
        assert_eq!(y[i], sum, "thread {i}");
    }
}

#[test]
fn atomics_of_every_kind_count_every_thread() {
    for seed in 0..3 {
        let device = device(Checks::Races, seed);
        let stream = &device.stream;
        let mut u = stream
            .clone_htod(&[vec![0, 0, 9999, 0, 0, 0, 0, 0], vec![0u32; 256]].concat())
            .unwrap();
        let mut s = stream.clone_htod(&[0i32, -5000]).unwrap();
        let mut f = stream.clone_htod(&[1.0f32]).unwrap();
        let mut h = stream.clone_htod(&[0u32]).unwrap();
        let mut w = stream.clone_htod(&[5u64]).unwrap();
        let mut d = stream.clone_htod(&[0.0f64]).unwrap();
        let function = device.function("atomics");
        let mut launch = stream.launch_builder(&function);
        launch.arg(&mut u).arg(&mut s).arg(&mut f).arg(&mut h).arg(&mut w).arg(&mut d);
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(shape(4, 64)) }.unwrap();
        let u = stream.clone_dtoh(&u).unwrap();
        let xor = (0..256).fold(0, |all, i| all ^ i);
        assert_eq!(u[..8], [256, 255, 0, u32::MAX, xor, 256 % 10, 77, 768]);
        let mut tickets = u[8..].to_vec();
        tickets.sort_unstable();
        assert_eq!(tickets, (0..256).collect::<Vec<u32>>());
        assert_eq!(stream.clone_dtoh(&s).unwrap(), [-255, -745]);
        assert_eq!(stream.clone_dtoh(&f).unwrap(), [129.0]);
        // Halves: 256 times 1 and 256 times a quarter.
        assert_eq!(stream.clone_dtoh(&h).unwrap(), [0x5400_5c00]);
        assert_eq!(stream.clone_dtoh(&w).unwrap(), [5 + (256 << 33)]);
        assert_eq!(stream.clone_dtoh(&d).unwrap(), [32.0]);
    }
}

/// What `lanes` writes for lane `t` of a warp that holds `v`; `all` are the words of the block.
fn lane_results(v: &[u32], t: usize, all: &[u32]) -> Vec<u32> {
    let mask = |f: &dyn Fn(usize) -> bool| (0..32).fold(0, |bits, i| bits | u32::from(f(i)) << i);
    let odd = all.iter().filter(|word| **word & 1 == 1).count() as u32;
    vec![
        v[5],
        v[t / 8 * 8 + (t + 3) % 8],
        if t < 3 { v[t] } else { v[t - 3] },
        if t % 16 < 2 { v[t] } else { v[t - 2] },
        if t + 7 < 32 { v[t + 7] } else { v[t] },
        v[t ^ 12],
        mask(&|i| v[i] & 1 == 1),
        u32::from(v.contains(&3)),
        u32::from(v.iter().all(|word| *word < 1000)),
        u32::MAX,
        mask(&|i| v[i] & 3 == v[t] & 3),
        v.iter().fold(0, |sum, word| sum.wrapping_add(*word)),
        v.iter().copied().max().unwrap(),
        odd,
        1,
        u32::from(all.iter().all(|word| *word != 0xffff)),
        v[if t % 2 == 1 { t ^ 2 } else { t ^ 4 }],
        u32::MAX.wrapping_add(1),
        v[t ^ 1],
    ]
}

#[test]
fn lanes_exchange_as_documented() {
    for seed in 0..3 {
        let device = device(Checks::Races, seed);
        let mut random = random_bits(3);
        let x: Vec<u32> =
            (0..64).map(|i| if i < 32 { random() & 7 } else { random() >> 4 }).collect();
        let results = lane_results(&x[..32], 0, &x).len();
        let dx = device.stream.clone_htod(&x).unwrap();
        let mut dy = device.stream.alloc_zeros::<u32>(64 * results).unwrap();
        let function = device.function("lanes");
        let mut launch = device.stream.launch_builder(&function);
        launch.arg(&dx).arg(&mut dy);
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(shape(1, 64)) }.unwrap();
        let y = device.stream.clone_dtoh(&dy);
        let y = y.unwrap_or_else(|error| panic!("{error:?} {:?}", device.vgpu.findings()));
        for t in 0..64 {
            let expected = lane_results(&x[t / 32 * 32..][..32], t % 32, &x);
            for (k, expected) in expected.into_iter().enumerate() {
                assert_eq!(y[k * 64 + t], expected, "result {k} of thread {t}");
            }
        }
    }
}

#[test]
fn a_switch_takes_every_branch() {
    let device = device(Checks::Races, 4);
    let x: Vec<u32> = (0..32).map(|i| i % 8).collect();
    let dx = device.stream.clone_htod(&x).unwrap();
    let mut dy = device.stream.alloc_zeros::<u32>(128).unwrap();
    let function = device.function("switches");
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&dx).arg(&mut dy);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(1, 32)) }.unwrap();
    // Several lanes write the places behind the results: a race, found as one.
    assert!(device.stream.synchronize().is_err());
    assert!(device.vgpu.findings()[0].contains("race: write"), "{:?}", device.vgpu.findings());
}

#[test]
fn named_barriers_order_producer_and_consumer() {
    for seed in 0..6 {
        let device = device(Checks::Races, seed);
        let x: Vec<u32> = (0..32).collect();
        let dx = device.stream.clone_htod(&x).unwrap();
        let mut dy = device.stream.alloc_zeros::<u32>(32).unwrap();
        let function = device.function("named_barriers");
        let mut launch = device.stream.launch_builder(&function);
        launch.arg(&dx).arg(&mut dy);
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(shape(1, 64)) }.unwrap();
        let expected: Vec<u32> = (0..32).map(|i| (i ^ 1) + 1).collect();
        assert_eq!(device.stream.clone_dtoh(&dy).unwrap(), expected);
    }
}

#[test]
fn asynchronous_copies_arrive_when_they_are_waited_for() {
    let x: Vec<f32> = (0..256).map(|i| i as f32).collect();
    let device_of = |kernel: &str| {
        let device = device(Checks::Races, 0);
        let dx = device.stream.clone_htod(&x).unwrap();
        let mut dy = device.stream.alloc_zeros::<f32>(128).unwrap();
        let function = device.function(kernel);
        let mut launch = device.stream.launch_builder(&function);
        launch.arg(&dx).arg(&mut dy);
        if kernel == "copies" {
            launch.arg(&30u32);
        }
        // SAFETY: the arguments are those of the kernel.
        unsafe { launch.launch(shape(1, 32)) }.unwrap();
        (device.stream.clone_dtoh(&dy).map_err(|_| device.vgpu.findings().concat()), device)
    };
    let (y, _device) = device_of("copies");
    let y = y.unwrap();
    let staged =
        |stage: usize, t: usize, part| if t < 30 { x[stage * 128 + t * 4 + part] } else { 0.0 };
    for t in 0..32 {
        for part in 0..4 {
            let expected = staged(0, t ^ 1, part) + staged(1, t ^ 2, part);
            assert_eq!(y[t * 4 + part], expected, "thread {t}");
        }
    }
    drop(_device);
    let (y, _device) = device_of("unwaited_copy");
    assert!(y.unwrap_err().contains("never written"));
}

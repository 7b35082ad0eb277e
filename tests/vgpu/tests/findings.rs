//! Every kernel with a mistake is found, named with block, thread and line, and the error stays.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use aimass_vgpu::{Checks, Settings};
use cudarc::driver::sys::CUresult;
use cudarc::driver::{DriverError, PushKernelArg};
use device::{Device, WRONG, shape};

fn launch(device: &Device, kernel: &str, floats: usize, threads: u32) -> DriverError {
    let x = device.stream.alloc_zeros::<f32>(floats).unwrap();
    let mut y = device.stream.alloc_zeros::<f32>(floats).unwrap();
    let function = device.function(kernel);
    let mut launch = device.stream.launch_builder(&function);
    match kernel {
        "no_bound" | "misaligned" | "shared_race" => launch.arg(&x).arg(&mut y),
        "shuffle_from_gone" => launch.arg(&mut y).arg(&8u32),
        _ => launch.arg(&mut y),
    };
    // SAFETY: the arguments are those of the kernel; what it does wrong is what the test is about.
    unsafe { launch.launch(shape(2, threads)) }.unwrap();
    let error = device.stream.synchronize().unwrap_err();
    let next = device.context.new_stream().map(|_| ()).unwrap_err();
    assert_eq!(next, error, "the error stays with the context");
    error
}

fn check(kernel: &str, (checks, threads): (Checks, u32), code: CUresult, expected: &[&str]) {
    for seed in [0, 3] {
        let settings = Settings { checks, seed, steps: 100_000, ..Settings::default() };
        let device = Device::new(&settings, WRONG);
        let error = launch(&device, kernel, 256, threads);
        let findings = device.vgpu.findings();
        assert_eq!(error.0, code, "{kernel}: {findings:?}");
        for part in [kernel, "wrong.cu:"].iter().chain(expected) {
            assert!(findings[0].contains(part), "{kernel}: `{part}` is not in {findings:?}");
        }
    }
}

const ILLEGAL: CUresult = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
const FAILED: CUresult = CUresult::CUDA_ERROR_LAUNCH_FAILED;

#[test]
fn an_access_past_the_end_is_found_without_checks() {
    check(
        "no_bound",
        (Checks::Off, 256),
        ILLEGAL,
        &["past the end of the 1024 bytes", "block [1,"],
    );
}

#[test]
fn a_misaligned_vector_is_found_without_checks() {
    let code = CUresult::CUDA_ERROR_MISALIGNED_ADDRESS;
    check("misaligned", (Checks::Off, 32), code, &["16 bytes at", "not a multiple"]);
}

#[test]
fn a_missing_barrier_is_a_race() {
    // Without its barrier the kernel also reads what no thread has written yet, in some orders.
    check("shared_race", (Checks::Races, 256), FAILED, &["shared memory"]);
}

#[test]
fn blocks_that_write_one_place_race() {
    check("block_race", (Checks::Races, 32), FAILED, &["race: write of 4 bytes", "global memory"]);
}

#[test]
fn a_read_before_any_write_is_found() {
    check("shared_uninitialized", (Checks::Memory, 256), FAILED, &["never written"]);
}

#[test]
fn a_barrier_in_two_places_is_divergent() {
    check("divergent_barrier", (Checks::Off, 32), FAILED, &["divergence"]);
}

#[test]
fn a_shuffle_from_lanes_that_left_is_found() {
    check("shuffle_from_gone", (Checks::Off, 32), FAILED, &["does not take part"]);
}

#[test]
fn an_endless_loop_times_out() {
    check("endless", (Checks::Off, 32), CUresult::CUDA_ERROR_LAUNCH_TIMEOUT, &["no end after"]);
}

#[test]
fn a_trap_fails_the_launch() {
    check("trapped", (Checks::Off, 32), FAILED, &["executed `trap`"]);
}

#[test]
fn global_memory_that_nobody_wrote_is_found() {
    let settings = Settings { checks: Checks::Memory, ..Settings::default() };
    let device = Device::new(&settings, WRONG);
    // SAFETY: the test is about reading what was never written.
    let x = unsafe { device.stream.alloc::<f32>(64) }.unwrap();
    let mut y = device.stream.alloc_zeros::<f32>(64).unwrap();
    let function = device.function("no_bound");
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&x).arg(&mut y);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(2, 32)) }.unwrap();
    assert_eq!(device.stream.synchronize().unwrap_err().0, FAILED);
    let findings = device.vgpu.findings();
    assert!(findings[0].contains("never written"), "{findings:?}");
}

#[test]
fn text_that_is_not_understood_is_named() {
    let vgpu = aimass_vgpu::load(&Settings::default()).unwrap();
    let context = cudarc::driver::CudaContext::new(0).unwrap();
    let load = |ptx: &str| {
        let result = context.load_module(cudarc::nvrtc::Ptx::from_src(ptx));
        (result.err().map(|error| error.0), vgpu.findings().pop().unwrap_or_default())
    };
    let (code, finding) = load(&WRONG.replacen("add.f32", "wonder.f32", 1));
    assert_eq!(code, Some(CUresult::CUDA_ERROR_INVALID_PTX));
    assert!(finding.starts_with("module:") && finding.contains("wonder.f32"), "{finding}");
    let (code, finding) = load(&WRONG.replacen("add.f32", "add.odd.f32", 1));
    assert_eq!(code, Some(CUresult::CUDA_ERROR_INVALID_PTX));
    assert!(finding.contains("unknown modifiers .odd"), "{finding}");
}

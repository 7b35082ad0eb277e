//! Faults at a call of the test's choice, symbols that are missing, and several devices.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use aimass_vgpu::{Settings, load};
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, DriverError, PushKernelArg};
use device::{BASIC, Device, shape};

/// A small program: load, copy, launch, copy back.
fn program() -> Result<Vec<f32>, DriverError> {
    let context = CudaContext::new(0)?;
    let stream = context.new_stream()?;
    let module = context.load_module(cudarc::nvrtc::Ptx::from_src(BASIC))?;
    let function = module.load_function("fill_f32")?;
    let mut y = stream.alloc_zeros::<f32>(100)?;
    let mut launch = stream.launch_builder(&function);
    launch.arg(&mut y).arg(&3.0f32).arg(&100u32);
    // SAFETY: the arguments are those of the kernel.
    unsafe { launch.launch(shape(1, 128)) }?;
    stream.clone_dtoh(&y)
}

#[test]
fn a_fault_at_every_call_is_an_error_and_never_a_wrong_answer() {
    let vgpu = load(&Settings::default()).unwrap();
    assert_eq!(program().unwrap(), vec![3.0; 100]);
    let calls = vgpu.calls();
    assert!(calls > 15, "{:?}", vgpu.log());
    let mut failed = 0;
    for at in 1..=calls {
        for code in [CUresult::CUDA_ERROR_OUT_OF_MEMORY, CUresult::CUDA_ERROR_LAUNCH_FAILED] {
            let settings = Settings { fail_at: Some((at, code as i32)), ..Settings::default() };
            vgpu.configure(&settings).unwrap();
            match program() {
                Ok(y) => assert_eq!(y, vec![3.0; 100], "call {at}"),
                Err(_) => failed += 1,
            }
        }
    }
    // Only the calls that cudarc makes while it drops its objects hide their error.
    assert!(failed > calls, "{failed} of {}", 2 * calls);
}

#[test]
fn a_fault_can_name_its_function() {
    let fail = vec![("cuMemAllocAsync".to_owned(), 1, 2)];
    let vgpu = load(&Settings { fail, ..Settings::default() }).unwrap();
    assert_eq!(program().unwrap_err().0, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    assert!(vgpu.log().iter().any(|name| name == "cuMemAllocAsync"));
    assert_eq!(program().unwrap(), vec![3.0; 100], "the second call is not asked to fail");
}

#[test]
fn memory_is_returned_when_objects_are_dropped() {
    for pools in [true, false] {
        let settings = Settings { pools, ..Settings::default() };
        let device = Device::new(&settings, BASIC);
        let before = device.context.mem_get_info().unwrap();
        let y = device.stream.alloc_zeros::<f32>(1000).unwrap();
        assert_eq!(before.0 - device.context.mem_get_info().unwrap().0, 4000);
        drop(y);
        device.context.synchronize().unwrap();
        assert_eq!(device.context.mem_get_info().unwrap(), before);
    }
}

#[test]
fn two_devices_have_memory_of_their_own() {
    let _vgpu = load(&Settings { devices: 2, mem_mb: 4, ..Settings::default() }).unwrap();
    let [first, second] = [0, 1].map(|ordinal| CudaContext::new(ordinal).unwrap());
    let a = first.default_stream().alloc_zeros::<u8>(3 << 20).unwrap();
    let b = second.default_stream().alloc_zeros::<u8>(3 << 20).unwrap();
    assert!(first.default_stream().alloc_zeros::<u8>(3 << 20).is_err());
    assert_ne!(first.uuid().unwrap().bytes, second.uuid().unwrap().bytes);
    drop((a, b));
}

#[test]
fn eager_streams_report_a_launch_that_fails_at_the_next_call() {
    let settings = Settings { streams: aimass_vgpu::Streams::Eager, ..Settings::default() };
    let device = Device::new(&settings, device::WRONG);
    let mut y = device.stream.alloc_zeros::<i32>(1).unwrap();
    let function = device.function("trapped");
    let mut launch = device.stream.launch_builder(&function);
    launch.arg(&mut y);
    // SAFETY: the arguments are those of the kernel.
    let launched = unsafe { launch.launch(shape(1, 32)) }.map(|_| ());
    let error = launched.and_then(|()| device.context.new_stream().map(|_| ())).unwrap_err();
    assert_eq!(error.0, CUresult::CUDA_ERROR_LAUNCH_FAILED);
}

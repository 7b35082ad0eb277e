//! No compiler for kernels at run time: an error that says what to install, where cudarc would panic.

use aimass_cuda::fused::{Expression, Function, FusedKernel};
use aimass_cuda::unary::Unary;
use aimass_cuda::{Compiler, CompilerError, Device, DeviceOptions};
use aimass_tensor::DType;
use aimass_vgpu::Settings;

#[test]
fn an_absent_compiler_is_told() {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/prebuilt");
    let settings = Settings { ptx: Some(images.into()), ..Settings::default() };
    let _vgpu = aimass_vgpu::load(&settings).expect("the virtual GPU");
    if let Ok(compiler) = Compiler::get() {
        return eprintln!("left out: the loader finds NVRTC {}", compiler.version());
    }
    let device = Device::open(0, &DeviceOptions::default()).expect("a device");
    let mut expression = Expression::default();
    let x = expression.input(DType::F32).expect("an input");
    expression.push(Function::Unary(Unary::Abs), &[x]).expect("a step");
    let error = FusedKernel::new(&device, &expression).expect_err("no compiler");
    assert_eq!(error, CompilerError::NoLibrary);
    assert!(error.to_string().contains("libnvrtc.so of CUDA 11.8 to 13, or set LD_LIBRARY_PATH"));
}

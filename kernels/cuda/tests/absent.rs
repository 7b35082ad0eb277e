//! A driver that lacks a function: an error that names it, where cudarc would panic.

use aimass_cuda::{Device, DeviceError, DeviceOptions, Driver};
use aimass_vgpu::Settings;

#[test]
fn a_missing_function_is_named() {
    let missing = "cuStreamBeginCapture_v2";
    let settings = Settings { missing: vec![missing.to_owned()], ..Settings::default() };
    let _vgpu = aimass_vgpu::load(&settings).expect("the virtual GPU");
    let expected = DeviceError::NoSymbol { symbol: missing };
    assert_eq!(Driver::open(), Err(expected.clone()));
    assert_eq!(Device::open(0, &DeviceOptions::default()).err(), Some(expected));
}

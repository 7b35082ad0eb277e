//! The device that the tests of this crate use.

use aimass_graph::{Gpu, GpuOptions};
use std::sync::{Arc, OnceLock};

/// The one that `AIMASS_DEVICE` names; none for the CPU.
pub(crate) fn named() -> Option<&'static Arc<Gpu>> {
    static DEVICE: OnceLock<Option<Arc<Gpu>>> = OnceLock::new();
    let open = || {
        let name = std::env::var("AIMASS_DEVICE").ok().filter(|name| name != "cpu")?;
        let ordinal = match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(number)) => number,
            None if name == "virtual" => {
                virtual_gpu();
                0
            }
            Some(Err(_)) | None => panic!("AIMASS_DEVICE={name}: expected virtual or cuda:N"),
        };
        Some(Gpu::open(ordinal, &GpuOptions::default()).expect("a device"))
    };
    DEVICE.get_or_init(open).as_ref()
}

/// Makes the virtual GPU the driver of this process; `VGPU_...` sets it up.
fn virtual_gpu() {
    let mut settings = aimass_vgpu::Settings::from_environment().expect("VGPU_ variables");
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    settings.ptx.get_or_insert_with(|| images.into());
    // It stays for as long as the process.
    std::mem::forget(aimass_vgpu::load(&settings).expect("the virtual GPU"));
}

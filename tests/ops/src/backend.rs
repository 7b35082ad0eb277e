//! Where the suite runs.

use aimass_graph::{Attribute, Gpu, GpuOptions, RunError};
use aimass_tensor::Tensor;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

/// The device that `AIMASS_DEVICE` names; none for the CPU.
pub(crate) fn device() -> Option<&'static Arc<Gpu>> {
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

/// Makes the virtual GPU the driver of this process; `VGPU_…` sets it up.
fn virtual_gpu() {
    let mut settings = aimass_vgpu::Settings::from_environment().expect("VGPU_ variables");
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    settings.ptx.get_or_insert_with(|| images.into());
    // It stays for as long as the process.
    std::mem::forget(aimass_vgpu::load(&settings).expect("the virtual GPU"));
}

/// Ops that had no kernel on the device when they were run.
static ON_CPU: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// As [`aimass_graph::run_op`], on the backend under test; a failure of the device is one of the test.
pub(crate) fn run_op(
    name: &str,
    inputs: &[Tensor],
    attributes: &[(String, Attribute)],
) -> Result<Vec<Tensor>, RunError> {
    let Some(gpu) = device() else { return aimass_graph::run_op(name, inputs, attributes) };
    let before = gpu.state().fallbacks;
    let (outputs, on_device) = aimass_graph::run_op_on(gpu, name, inputs, attributes)?;
    let state = gpu.state();
    // Tests run beside each other: another one's may be counted, and is a failure all the same.
    if state.fallbacks != before {
        panic!("{name} {inputs:?} {attributes:?}: {:?}", state.last_error);
    }
    let form = inputs.iter().map(|input| input.dtype().to_string()).collect::<Vec<String>>();
    let form = format!("{name}({})", form.join(", "));
    if !on_device && ON_CPU.lock().expect("a list").insert(form.clone()) {
        println!("on the CPU: {form}");
    }
    Ok(outputs)
}

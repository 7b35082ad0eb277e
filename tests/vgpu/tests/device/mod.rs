//! A device with one module, as the tests of this folder use it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses a part")]

use std::sync::Arc;

use aimass_vgpu::{Settings, Vgpu, load};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, LaunchConfig};
use cudarc::nvrtc::Ptx;

/// `basic.cu` as PTX.
pub const BASIC: &str = include_str!("../kernels/basic.compute_75.ptx");
/// `wrong.cu` as PTX.
pub const WRONG: &str = include_str!("../kernels/wrong.compute_75.ptx");

/// `basic.cu` as a cubin.
pub fn basic_cubin() -> Ptx {
    Ptx::from_binary(include_bytes!("../kernels/basic.sm_80.cubin").to_vec())
}

/// A stream of a fresh virtual device, and a module.
pub struct Device {
    pub module: Arc<CudaModule>,
    pub stream: Arc<CudaStream>,
    pub context: Arc<CudaContext>,
    pub vgpu: Vgpu,
}

impl Device {
    /// A device that has loaded `ptx`.
    pub fn new(settings: &Settings, ptx: &str) -> Self {
        Self::with_image(settings, Ptx::from_src(ptx))
    }

    /// A device that has loaded an image.
    pub fn with_image(settings: &Settings, image: Ptx) -> Self {
        let vgpu = load(settings).unwrap();
        let context = CudaContext::new(0).unwrap();
        let stream = context.new_stream().unwrap();
        let module = context.load_module(image);
        let module = module.unwrap_or_else(|error| panic!("{error:?}: {:?}", vgpu.findings()));
        Self { module, stream, context, vgpu }
    }

    /// An entry of the module.
    pub fn function(&self, name: &str) -> CudaFunction {
        self.module.load_function(name).unwrap()
    }
}

/// A launch of `blocks` blocks of `threads` threads.
pub fn shape(blocks: u32, threads: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 }
}

/// Pseudo-random bits (Numerical Recipes' generator, its upper bits folded in).
pub fn random_bits(seed: u32) -> impl FnMut() -> u32 {
    let mut state = u64::from(seed) + 1;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32 ^ (state >> 11) as u32
    }
}

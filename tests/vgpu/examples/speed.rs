//! How many instructions a second the interpreter executes: `cargo run -p aimass-vgpu --example speed`.

use std::time::Instant;

use aimass_vgpu::{Checks, Settings, load};
use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

const PTX: &str = include_str!("../tests/kernels/basic.compute_75.ptx");

/// Seconds of a matmul of `n` in each dimension and of a softmax of `n` rows of 1000.
fn run(n: usize) -> Result<[f64; 2], Box<dyn std::error::Error>> {
    let context = CudaContext::new(0)?;
    let stream = context.new_stream()?;
    let module = context.load_module(Ptx::from_src(PTX))?;
    let (matmul, softmax) =
        (module.load_function("matmul_f32")?, module.load_function("softmax_rows_f32")?);
    let x = stream.clone_htod(&vec![0.5f32; n * 1000])?;
    let mut y = stream.alloc_zeros::<f32>(n * 1000)?;
    stream.synchronize()?;
    let (size, columns, blocks) = (n as u32, 1000u32, n.div_ceil(16) as u32);
    let grid_dim = (blocks, blocks, 1);
    let tiles = LaunchConfig { grid_dim, block_dim: (16, 16, 1), shared_mem_bytes: 0 };
    let start = Instant::now();
    let mut launch = stream.launch_builder(&matmul);
    launch.arg(&x).arg(&x).arg(&mut y).arg(&size).arg(&size).arg(&size);
    // SAFETY: the arguments are those of the kernel, and the matrices fit the buffers.
    unsafe { launch.launch(tiles) }?;
    stream.synchronize()?;
    let first = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let rows = LaunchConfig { grid_dim: (size, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
    let mut launch = stream.launch_builder(&softmax);
    launch.arg(&x).arg(&mut y).arg(&columns);
    // SAFETY: the arguments are those of the kernel, and the rows fit the buffers.
    unsafe { launch.launch(rows) }?;
    stream.synchronize()?;
    Ok([first, start.elapsed().as_secs_f64()])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (checks, n) in [(Checks::Off, 256), (Checks::Memory, 128), (Checks::Races, 128)] {
        let vgpu = load(&Settings { checks, ..Settings::default() })?;
        let seconds = run(n)?;
        for ((name, counters), seconds) in vgpu.counters().iter().zip(seconds) {
            let millions = counters.instructions as f64 / 1e6;
            println!(
                "{checks:?} {name}: {millions:.1} M lane instructions, {:.0} M a second",
                millions / seconds
            );
        }
    }
    Ok(())
}

//! Which files of PTX the virtual GPU understands: `cargo run -p aimass-vgpu --example decode FILE...`.

use aimass_vgpu::{Settings, load};
use cudarc::driver::CudaContext;
use cudarc::nvrtc::Ptx;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut refused = 0;
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        // A target with a suffix is for that architecture alone.
        let digits = text.split("sm_").nth(1).unwrap_or("");
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        let vgpu = load(&Settings { sm: digits.parse().unwrap_or(75), ..Settings::default() })?;
        let result = CudaContext::new(0)?.load_module(Ptx::from_src(text));
        match result {
            Ok(_) => println!("{path}: ok"),
            Err(error) => {
                refused += 1;
                println!("{path}: {error:?}: {}", vgpu.findings().join("; "));
            }
        }
    }
    if refused > 0 { Err(format!("{refused} files were refused").into()) } else { Ok(()) }
}

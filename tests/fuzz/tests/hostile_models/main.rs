//! Model files that want more than they may, read by the first-party plugins in the real sandbox: each
//! is refused with a reason, and the host holds little memory meanwhile.
//!
//! They need the plugins that `cargo xtask test` builds; without `AIMASS_PLUGINS_DIR` they say so and
//! pass.

mod bert;
mod onnx;
mod proto;
mod refusals;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use aimass_fuzz::{Format, Refused};
use aimass_testkit::Peak;

#[global_allocator]
static PEAK: Peak = Peak::new();

const MIB: usize = 1 << 20;

/// Files of one package: what came of them, and the bytes that the host held at most.
type Served = (Result<usize, Refused>, usize);

/// Serves each package by the plugin; `None` where it was not built.
fn serve(plugin: &str, packages: Vec<Vec<(String, Vec<u8>)>>) -> Option<Vec<Served>> {
    static ONE: Mutex<()> = Mutex::new(());
    let Some(folder) = std::env::var_os("AIMASS_PLUGINS_DIR") else {
        println!("AIMASS_PLUGINS_DIR is not set: `cargo xtask test` sets it");
        return None;
    };
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let component = PathBuf::from(folder).join(plugin).with_extension("wasm");
    let format = Format::open(&component).unwrap_or_else(|error| panic!("{error:#}"));
    Some(packages.into_iter().map(|files| PEAK.during(|| format.serve(files))).collect())
}

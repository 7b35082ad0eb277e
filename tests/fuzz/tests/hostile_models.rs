//! Model files that want more than they may, read by the first-party plugins in the real sandbox: each
//! is refused with a reason, and the host holds little memory meanwhile.
//!
//! They need the plugins that `cargo xtask test` builds; without `AIMASS_PLUGINS_DIR` they say so and
//! pass.

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

#[test]
fn bert_files_that_lie_are_refused() {
    let config = br#"{"model_type": "bert", "hidden_act": "gelu", "hidden_size": 8,
        "num_attention_heads": 2, "num_hidden_layers": 2, "layer_norm_eps": 1e-12}"#;
    let file = |length: u64, header: &str| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + 64, 0);
        bytes
    };
    let tensor = |shape: &str, start: u64, end: u64| {
        let header = format!(
            r#"{{"embeddings.word_embeddings.weight": {{"dtype": "F32", "shape": {shape}, "data_offsets": [{start}, {end}]}}}}"#
        );
        file(header.len() as u64, &header)
    };
    let nested = "[".repeat(100_000);
    let cases = vec![
        ("a header of 2^60 bytes", file(1 << 60, "{}")),
        ("a header of u64::MAX bytes", file(u64::MAX, "{}")),
        ("a header beyond the file", file(1_000, "{}")),
        ("a range past the end", tensor("[4, 4]", 16, 80)),
        ("a range backwards", tensor("[4, 4]", 64, 0)),
        ("an offset that overflows", tensor("[4, 4]", u64::MAX - 63, u64::MAX)),
        ("a shape that overflows", tensor("[4294967296, 4294967296, 4]", 0, 64)),
        ("a negative shape", tensor("[-4, -4]", 0, 64)),
        ("2^40 elements", tensor("[1048576, 1048576]", 0, 64)),
        ("lists 100,000 deep", file(nested.len() as u64, &nested)),
        ("nothing", Vec::new()),
    ];
    let packages = cases.iter().map(|(_, tensors)| {
        vec![
            ("config.json".to_owned(), config.to_vec()),
            ("model.safetensors".to_owned(), tensors.clone()),
        ]
    });
    let Some(served) = serve("bert", packages.collect()) else { return };
    for ((name, _), (outcome, bytes)) in cases.into_iter().zip(served) {
        let error = outcome.expect_err(name);
        assert!(["safetensors", "header-bytes"].contains(&&*error.code), "{name}: {error:?}");
        assert!(bytes < 32 * MIB, "{name}: held {bytes} bytes");
    }
}

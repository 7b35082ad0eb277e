//! The graph check under libFuzzer: `cargo +nightly fuzz run graph corpus/graph` in `tests/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(aimass_fuzz::graph(bytes)));

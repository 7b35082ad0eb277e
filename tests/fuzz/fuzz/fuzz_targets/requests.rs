//! The requests check under libFuzzer: `cargo +nightly fuzz run requests corpus/requests` in `tests/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(aimass_fuzz::requests(bytes)));

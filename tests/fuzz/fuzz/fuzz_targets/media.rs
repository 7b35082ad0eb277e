//! Pictures and sound under libFuzzer: `cargo +nightly fuzz run media corpus/media` in `tests/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(aimass_fuzz::media(bytes)));

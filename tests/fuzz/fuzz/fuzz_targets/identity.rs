//! Credentials, key files and key sets under libFuzzer: `cargo +nightly fuzz run identity
//! corpus/identity` in `tests/fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(aimass_fuzz::identity(bytes)));

//! Fuzz targets as plain functions of bytes, and the campaigns that feed them.
//!
//! A target answers *events*: numbers that tell executions apart (which call came to which error,
//! what was compiled, how a run ended). An input with an event that no other had joins the corpus;
//! that is all the guidance there is without instrumented code. `fuzz/` feeds the same functions from
//! libFuzzer, which is guided by the coverage of the code.

mod campaign;
mod form;
mod formats;
mod graph;
mod identity;
mod media;
mod mutate;
mod random;
mod requests;
mod source;
mod trust;

pub use campaign::{Campaign, Outcome, replay};
pub use formats::{Format, Package, Refused};
pub use graph::graph;
pub use identity::identity;
pub use media::media;
pub use mutate::Mutator;
pub use random::Random;
pub use requests::requests;
pub use trust::{TrustParser, trust};

/// Names bytes by content (FNV-1a, 64 bits): for events and for names of files, not for trust.
pub fn digest(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// One number of two.
fn mix(a: u64, b: u64) -> u64 {
    Random::new(a.rotate_left(32) ^ b).bits()
}

/// A count as an event tells it: its number of binary digits.
fn magnitude(count: usize) -> u64 {
    u64::from(usize::BITS - count.leading_zeros())
}

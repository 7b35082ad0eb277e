//! Answering in parts. Needs the capability `emit` in `plugin.toml`.
//!
//! Each item reaches the client before `process` returns: as an event of `generate_stream`, or as an answer of
//! the gRPC method `ModelStreamInfer`. What `process` returns is the last part; no outputs at all if the items
//! said everything.
//!
//! ```no_run
//! use aimass_sdk::emit;
//! use aimass_sdk::prelude::*;
//!
//! fn words(text: &str) -> Result<Outputs> {
//!     for word in text.split_whitespace() {
//!         emit::send(Outputs::new().with("word", Tensor::strings(&[1], [word])?))?;
//!     }
//!     Ok(Outputs::new())
//! }
//! ```

use crate::call::Outputs;
use crate::error::Result;

/// Sends some or all of the described outputs to the client. Sleeps while 16 items wait to be read; each
/// item gives the call the time again that it had at its start, up to the plugin's `wall_ms_max`.
///
/// # Errors
/// `cancelled/cancelled` when the client went away: return soon. `input/streaming-only` if the client asked
/// for one answer; pass it on, or go on without streaming.
pub fn send(item: Outputs) -> Result<()> {
    crate::bindings::model::aimass::plugin::emit::emit(item.into())
}

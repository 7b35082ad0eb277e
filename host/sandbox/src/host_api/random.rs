//! `random`: bytes of the operating system's generator.

use crate::state::CallState;
use crate::worlds::bindings::random::Host;
use wasmtime::{Result, bail};

/// Bytes of one call at most.
const BYTES_MAX: u32 = 4096;

impl Host for CallState {
    fn bytes(&mut self, len: u32) -> Result<Vec<u8>> {
        self.count_host_call()?;
        if len > BYTES_MAX {
            bail!("random.bytes gives at most {BYTES_MAX} bytes a call, {len} were asked for");
        }
        let mut bytes = vec![0; len as usize];
        if let Err(error) = getrandom::fill(&mut bytes) {
            bail!("the operating system gives no random bytes: {error}");
        }
        Ok(bytes)
    }
}

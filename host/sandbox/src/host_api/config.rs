//! `config`: the plugin's configuration.

use crate::state::CallState;
use crate::worlds::bindings::{config, types};
use crate::worlds::convert::error_in;
use wasmtime::Result;

impl config::Host for CallState {
    fn get(&mut self) -> Result<Vec<u8>> {
        self.count_host_call()?;
        Ok(self.package.config.to_vec())
    }

    fn reject(&mut self, reason: types::Error) -> Result<()> {
        self.count_host_call()?;
        self.rejected.get_or_insert_with(|| error_in(reason));
        Ok(())
    }
}

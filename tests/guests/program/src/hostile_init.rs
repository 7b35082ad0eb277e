//! Guests that do harm while they are loaded.

use aimass_sdk::prelude::*;

use crate::{Program, hostile};

/// What `init` does; answers a tensor if it is to be kept.
pub(crate) fn run(program: Program) -> Result<Option<Tensor>> {
    if program == Program::InitLoop {
        hostile::spin()?;
    }
    if program == Program::InitPanic {
        panic!("as configured");
    }
    if program == Program::InitMemory {
        hostile::take_memory()?;
    }
    if program == Program::InitReject {
        return Err(Error::input("not-this", "expected another program"));
    }
    if program == Program::InitKeepsHandle {
        return Tensor::from_f32(&[1], &[0.0]).map(Some);
    }
    Ok(None)
}

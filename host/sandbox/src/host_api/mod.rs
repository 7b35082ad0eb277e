//! What a plugin can call: one file an interface of the contract.
//!
//! A linker holds only the interfaces that were granted, so a component that got past admission by
//! mistake still finds nothing behind an import. `types` carries no function and is always there.

pub(crate) mod bytes;
pub(crate) mod clock;
pub(crate) mod config;
pub(crate) mod emit;
pub(crate) mod files;
pub(crate) mod graph;
pub(crate) mod log;
pub(crate) mod media;
pub(crate) mod models;
pub(crate) mod plans;
pub(crate) mod random;
pub(crate) mod tensor;

use self::graph::record::{Recorder, Recording};
use crate::error::ErrorFamily;
use crate::state::{CallState, LimitHit};
use crate::worlds::bindings::{self, types};
use crate::worlds::convert::error_out;
use aimass_trust::{Capabilities, Capability};
use wasmtime::component::{HasSelf, Linker, ResourceTableError};
use wasmtime::{Engine, Result};

/// Code of the error of a guest that holds too many handles.
pub(crate) const HANDLES: &str = "handles";

/// Why a host function gives no answer: an error that the guest gets, or a trap that ends it.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub enum HostError {
    /// The guest gets this.
    Answer(types::Error),
    /// The guest is stopped.
    Trap(wasmtime::Error),
}

/// The answer of a host function.
pub(crate) type HostResult<T> = std::result::Result<T, HostError>;

impl HostError {
    /// An error that the guest gets.
    pub(crate) fn answer(family: ErrorFamily, code: &str, message: impl Into<String>) -> HostError {
        HostError::Answer(error_out(family, code, message))
    }

    /// The caller's input is wrong.
    pub(crate) fn input(code: &str, message: impl Into<String>) -> HostError {
        HostError::answer(ErrorFamily::Input, code, message)
    }

    /// The host knows the item but has no code for it.
    pub(crate) fn unsupported(item: &str) -> HostError {
        let message = format!("{item} is not supported by this version of the server");
        HostError::answer(ErrorFamily::Unsupported, "unsupported", message)
    }
}

impl From<LimitHit> for HostError {
    fn from(hit: LimitHit) -> HostError {
        HostError::Trap(hit.into())
    }
}

impl From<ResourceTableError> for HostError {
    fn from(error: ResourceTableError) -> HostError {
        match error {
            ResourceTableError::Full => HostError::answer(
                ErrorFamily::Limit,
                HANDLES,
                "the plugin holds too many handles; drop those that are no longer needed",
            ),
            ResourceTableError::NotPresent
            | ResourceTableError::WrongType
            | ResourceTableError::HasChildren => HostError::Trap(error.into()),
        }
    }
}

/// What a bound function returns to wasmtime.
pub(crate) fn answer<T>(result: HostResult<T>) -> Result<(std::result::Result<T, types::Error>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(HostError::Answer(error)) => Ok((Err(error),)),
        Err(HostError::Trap(error)) => Err(error),
    }
}

impl types::Host for CallState {
    fn convert_error(&mut self, error: HostError) -> Result<types::Error> {
        match error {
            HostError::Answer(error) => Ok(error),
            HostError::Trap(error) => Err(error),
        }
    }
}

/// The functions that a plugin with these grants may call; in a worker, graphs are `recorded`.
///
/// # Errors
/// wasmtime's, if a name were defined twice.
pub(crate) fn linker(
    engine: &Engine,
    granted: &Capabilities,
    recorded: bool,
) -> Result<Linker<CallState>> {
    type Own = HasSelf<CallState>;
    fn own(state: &mut CallState) -> &mut CallState {
        state
    }
    fn recorder(state: &mut CallState) -> Recorder<'_> {
        Recorder::of(state)
    }
    let mut linker = Linker::new(engine);
    let to = &mut linker;
    types::add_to_linker::<_, Own>(to, own)?;
    for (capability, _) in granted.iter() {
        match capability {
            Capability::Tensor => tensor::add_to_linker(to)?,
            Capability::Files => files::add_to_linker(to)?,
            Capability::Config => bindings::config::add_to_linker::<_, Own>(to, own)?,
            Capability::Graph if recorded => {
                bindings::graph::add_to_linker::<_, Recording>(to, recorder)?;
            }
            Capability::Graph => bindings::graph::add_to_linker::<_, Own>(to, own)?,
            Capability::Plans => bindings::plans::add_to_linker::<_, Own>(to, own)?,
            Capability::Media => media::add_to_linker(to)?,
            Capability::Models => bindings::models::add_to_linker::<_, Own>(to, own)?,
            Capability::Log => bindings::log::add_to_linker::<_, Own>(to, own)?,
            Capability::Clock => bindings::clock::add_to_linker::<_, Own>(to, own)?,
            Capability::Random => bindings::random::add_to_linker::<_, Own>(to, own)?,
            Capability::Emit => bindings::emit::add_to_linker::<_, Own>(to, own)?,
        }
    }
    Ok(linker)
}

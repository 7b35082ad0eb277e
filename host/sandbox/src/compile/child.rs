//! The child's side: an engine, the jail, then component after component until there is none.

use super::pipe::{self, Answer};
use crate::engine::compiling_engine;
use crate::jail::{self, JailError};
use crate::limits::CompileLimits;
use std::io;

/// Exit status of a child whose jail cannot be closed.
pub(super) const EXIT_NO_JAIL: u8 = 3;
/// How much the compiler yields to whoever serves requests.
const NICENESS: i32 = 10;

/// Why a compiling child ends before its work is done.
#[derive(Debug, thiserror::Error)]
pub enum CompilerError {
    /// The walls do not stand.
    #[error("the compiler's jail cannot be closed: {0}")]
    Jail(#[from] JailError),
    /// wasmtime refuses its own configuration.
    #[error("the compiler cannot start: {0}")]
    Engine(String),
    /// A pipe broke.
    #[error("the server is gone: {0}")]
    Pipe(#[from] io::Error),
}

impl CompilerError {
    /// What the process should exit with, so that the server knows whose fault it was.
    pub fn exit_code(&self) -> u8 {
        match self {
            CompilerError::Jail(_) => EXIT_NO_JAIL,
            CompilerError::Engine(_) | CompilerError::Pipe(_) => 1,
        }
    }
}

/// Closes the jail around this process, then compiles what comes on standard input and answers on
/// standard output, until the input ends. `metering` compiles code that counts what it executes. Call it on the main thread before any other exists.
///
/// # Errors
/// [`CompilerError`]. A component that cannot be compiled is an answer, not an error.
pub fn serve(limits: &CompileLimits, metering: bool) -> Result<(), CompilerError> {
    let engine =
        compiling_engine(metering).map_err(|error| CompilerError::Engine(format!("{error:#}")))?;
    // Not being nicer is no reason not to work.
    let _ = rustix::process::nice(NICENESS);
    jail::enter(&super::walls(limits))?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    io::Write::write_all(&mut output, &engine.settings)?;
    io::Write::flush(&mut output)?;
    while let Some(wasm) = pipe::receive_request(&mut input)? {
        let answer = match engine.wasmtime.precompile_component(&wasm) {
            Ok(code) => Answer::Code(code),
            Err(error) => Answer::Refused(format!("{error:#}")),
        };
        pipe::send_answer(&mut output, &answer)?;
    }
    Ok(())
}

//! Compiling a stranger's code somewhere else: in a jailed child process, within bounds.
//!
//! A compiler's time and memory grow far faster than its input (32 KB of nested loops took 69 s and
//! 1.3 GB), and its bugs are reached by whoever writes the input. So the server starts this program
//! again (`aimass __compile`), which closes the jail around itself ([`crate::jail`]) and answers on its
//! standard output; a bomb costs its author a refusal. One child serves one load, which compiles up to
//! twice: the component that runs `init`, unless the cache has it, and the image that `init` left. Few children run at once; the others wait.

mod child;
mod pipe;

pub use child::{CompilerError, serve};

use crate::engine::SandboxEngine;
use crate::error::SandboxError;
use crate::jail::{Role, Walls};
use crate::limits::{CompileLimits, SandboxConfig};
use pipe::Answer;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Component;

/// The hidden subcommand that a child is started as.
pub const COMPILE_COMMAND: &str = "__compile";
/// What a child's words at its end are cut to.
const WORDS_BYTES_MAX: u64 = 4 << 10;
/// Time that a child which broke off may take to end.
const END_MAX: Duration = Duration::from_secs(2);
/// Descriptors that a child needs: its three streams, and those of threads' making.
const FILES_OPEN_MAX: u64 = 32;

/// Compiles components for one sandbox.
pub(crate) struct Compiler {
    /// Program whose hidden subcommand compiles; `None` compiles in this process.
    program: Option<PathBuf>,
    start_max: Duration,
    limits: CompileLimits,
    metering: bool,
    turns: Arc<Semaphore>,
}

/// The compiler of one load.
pub(crate) struct Session<'a> {
    compiler: &'a Compiler,
    engine: &'a SandboxEngine,
    plugin: Arc<str>,
    child: Option<Running>,
}

/// A child at work, and its turn.
struct Running {
    child: Child,
    _turn: OwnedSemaphorePermit,
}

/// Walls of a compiling child.
pub(crate) fn walls(limits: &CompileLimits) -> Walls {
    Walls {
        role: Role::Compiler,
        memory_bytes_max: limits.memory_bytes_max,
        cpu_time_max: Some(limits.cpu_max),
        files_open_max: FILES_OPEN_MAX,
    }
}

impl Compiler {
    pub(crate) fn new(config: &SandboxConfig) -> Compiler {
        let limits = config.compile.clone();
        let turns = Arc::new(Semaphore::new(limits.children_max.max(1)));
        let (program, start_max) = (config.child_program.clone(), config.child_start_max);
        Compiler { program, start_max, limits, metering: config.metering, turns }
    }

    /// A compiler for one load of this plugin. Its child is started when it is first needed.
    pub(crate) fn session<'a>(
        &'a self,
        engine: &'a SandboxEngine,
        plugin: &Arc<str>,
    ) -> Session<'a> {
        Session { compiler: self, engine, plugin: plugin.clone(), child: None }
    }

    async fn start(&self, engine: &SandboxEngine) -> Result<Option<Running>, Trouble> {
        let Some(program) = &self.program else { return Ok(None) };
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Trouble::host("the sandbox ends"))?;
        let spawned = Command::new(program)
            .arg0("aimass")
            .arg(COMPILE_COMMAND)
            .arg(self.limits.memory_bytes_max.to_string())
            .arg(self.limits.cpu_max.as_millis().to_string())
            .arg(self.metering.to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let child = spawned.map_err(|error| {
            Trouble::host(format!("{} cannot be started: {error}", program.display()))
        })?;
        let mut running = Running { child, _turn: turn };
        let settings = match tokio::time::timeout(self.start_max, running.hello()).await {
            Ok(Ok(settings)) => settings,
            Ok(Err(_)) => return Err(running.ended(&self.limits).await),
            Err(_) => {
                return Err(Trouble::host(format!(
                    "its compiler did not start within {:?}; the machine is busy, try again later or \
                     allow more (`--child-start-seconds-max`)",
                    self.start_max
                )));
            }
        };
        if settings != engine.settings {
            let program = program.display();
            return Err(Trouble::host(format!(
                "{program} compiles for another engine; it was replaced while this server runs, \
                 restart the server"
            )));
        }
        Ok(Some(running))
    }
}

impl Session<'_> {
    /// Compiles a component, and answers it serialized, too.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] with the code `complexity` if it takes more than it may, or more than an
    /// instance has, or `invalid` for what the compiler refuses; [`SandboxError::Compiler`] if there is no child to ask.
    pub(crate) async fn compile(
        &mut self,
        wasm: &[u8],
    ) -> Result<(Component, Vec<u8>), SandboxError> {
        let code = self.code(wasm).await.map_err(|trouble| trouble.of(&self.plugin))?;
        let component = deserialize(self.engine, &code);
        let component = component.map_err(|error| {
            let message = format!("what was compiled cannot be loaded: {error:#}");
            let is_code = wasmtime::Engine::detect_precompiled(&code).is_some();
            // Code of ours that does not fit: its tables, memories or instances are beyond the pool's.
            let trouble = if is_code { Trouble::Costly(message) } else { Trouble::host(message) };
            trouble.of(&self.plugin)
        })?;
        Ok((component, code))
    }

    async fn code(&mut self, wasm: &[u8]) -> Result<Vec<u8>, Trouble> {
        let limits = &self.compiler.limits;
        if self.child.is_none() {
            self.child = self.compiler.start(self.engine).await?;
        }
        let Some(running) = &mut self.child else {
            let compiled = self.engine.wasmtime.precompile_component(wasm);
            return compiled.map_err(|error| Trouble::Invalid(format!("{error:#}")));
        };
        let answer = tokio::time::timeout(limits.wall_max, running.ask(wasm)).await;
        let trouble = match answer {
            Ok(Ok(Answer::Code(code))) => return Ok(code),
            Ok(Ok(Answer::Refused(message))) => Trouble::Invalid(message),
            Ok(Err(_)) => running.ended(limits).await,
            Err(_) => Trouble::host(running.too_slow(limits)),
        };
        // Dropped, it is killed.
        self.child = None;
        Err(trouble)
    }
}

impl Running {
    async fn hello(&mut self) -> std::io::Result<[u8; 32]> {
        let Some(output) = &mut self.child.stdout else { return Err(closed()) };
        let mut settings = [0; 32];
        output.read_exact(&mut settings).await?;
        Ok(settings)
    }

    async fn ask(&mut self, wasm: &[u8]) -> std::io::Result<Answer> {
        let (Some(input), Some(output)) = (&mut self.child.stdin, &mut self.child.stdout) else {
            return Err(closed());
        };
        pipe::send_request(input, wasm).await?;
        pipe::receive_answer(output).await
    }

    /// What is said of a child that was given its time and not the processors that it needs.
    fn too_slow(&self, limits: &CompileLimits) -> String {
        let spent = self.child.id().and_then(processor_time).unwrap_or_default();
        format!(
            "the machine is busy: in {:?} its compiler got {:.1} s of the {:?} of processor time that it \
             may take; try again later or allow more (`--compile-seconds-max`)",
            limits.wall_max,
            spent.as_secs_f64(),
            limits.cpu_max
        )
    }

    /// Why a child that broke off did so.
    async fn ended(&mut self, limits: &CompileLimits) -> Trouble {
        let mut words = Vec::new();
        let end = async {
            if let Some(errors) = &mut self.child.stderr {
                let _ = errors.take(WORDS_BYTES_MAX).read_to_end(&mut words).await;
            }
            self.child.wait().await
        };
        // One that broke off and goes on must not keep its turn.
        let ended = tokio::time::timeout(END_MAX, end).await;
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        match ended {
            Ok(Ok(status)) => cause_of_end(status, &words, limits),
            Ok(Err(error)) => Trouble::host(error.to_string()),
            Err(_) => Trouble::Invalid(format!("the compiler gave no answer and went on: {words}")),
        }
    }
}

fn closed() -> std::io::Error {
    std::io::ErrorKind::BrokenPipe.into()
}

/// What is said of a component that takes more processor time than it may.
pub(crate) fn too_complex(cpu_max: Duration) -> String {
    format!(
        "compiling it took more than {cpu_max:?} of processor time; make its functions smaller, with \
         fewer locals and loops inside one another"
    )
}

/// Processor time that a process has taken, over all of its threads; none if it is gone.
pub(crate) fn processor_time(pid: u32) -> Option<Duration> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?);
    let clock = nix::time::clock_getcpuclockid(pid).ok()?;
    Some(nix::time::clock_gettime(clock).ok()?.into())
}

fn cause_of_end(status: ExitStatus, words: &str, limits: &CompileLimits) -> Trouble {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(libc::SIGXCPU) => Trouble::Costly(too_complex(limits.cpu_max)),
        // Of this host's own limits none kills.
        Some(libc::SIGKILL) => Trouble::host(format!(
            "the compiler was killed from outside, as a machine or container does that has no memory \
             left; a compiler may take {} bytes, and {} work at once: allow less, or give the machine \
             more",
            limits.memory_bytes_max, limits.children_max
        )),
        Some(libc::SIGABRT) if words.contains("memory allocation") => Trouble::Costly(format!(
            "compiling it took more than {} bytes of memory",
            limits.memory_bytes_max
        )),
        Some(signal) => Trouble::Invalid(format!("the compiler ended by signal {signal}: {words}")),
        None if status.code() == Some(child::EXIT_NO_JAIL.into()) => {
            Trouble::host(words.to_owned())
        }
        None => Trouble::Invalid(format!("the compiler failed: {words}")),
    }
}

/// Why there is no code.
enum Trouble {
    /// It takes more than it may.
    Costly(String),
    /// The compiler does not want it.
    Invalid(String),
    /// Not the component's fault.
    Host(String),
}

impl Trouble {
    fn host(message: impl Into<String>) -> Trouble {
        Trouble::Host(message.into())
    }

    fn of(self, plugin: &Arc<str>) -> SandboxError {
        let plugin = plugin.clone();
        match self {
            Trouble::Costly(message) => {
                SandboxError::Refused { plugin, code: "complexity", message }
            }
            Trouble::Invalid(message) => SandboxError::Refused { plugin, code: "invalid", message },
            Trouble::Host(message) => SandboxError::Compiler { plugin, message },
        }
    }
}

/// Loads what was compiled by this host.
///
/// # Errors
/// wasmtime's, if it was compiled for another engine.
#[expect(unsafe_code, reason = "compiled code comes from this host's compiler only")]
pub(crate) fn deserialize(engine: &SandboxEngine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes were made by wasmtime for this host: just now, by the child that this server
    // started, or before, by the MAC that `CompileCache::get` checks.
    unsafe { Component::deserialize(&engine.wasmtime, code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn every_end_of_a_child_is_told_as_what_it_was() {
        let limits = CompileLimits::default();
        let end =
            |raw: i32, words: &str| match cause_of_end(ExitStatus::from_raw(raw), words, &limits) {
                Trouble::Costly(message) => ("costly", message),
                Trouble::Invalid(message) => ("invalid", message),
                Trouble::Host(message) => ("host", message),
            };
        let (kind, message) = end(libc::SIGXCPU, "");
        assert!(kind == "costly" && message.contains("processor time"), "{message}");
        let (kind, message) = end(libc::SIGKILL, "");
        assert!(kind == "host" && message.contains("no memory left"), "{message}");
        let (kind, message) = end(libc::SIGABRT, "memory allocation of 8 bytes failed");
        assert_eq!(kind, "costly");
        assert!(message.contains("bytes of memory"), "{message}");
        assert_eq!(end(libc::SIGABRT, "a panic").0, "invalid");
        assert_eq!(end(libc::SIGSEGV, "").0, "invalid");
        assert_eq!(
            end(i32::from(child::EXIT_NO_JAIL) << 8, "no Landlock"),
            ("host", "no Landlock".into())
        );
        assert_eq!(end(1 << 8, "it is broken").0, "invalid");
    }
}

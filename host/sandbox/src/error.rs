//! What goes wrong, and whose fault it is: a call of a plugin ([`PluginError`]) or the loading of
//! one ([`SandboxError`]).

use crate::package::World;
use std::fmt;
use std::sync::Arc;

/// A call of a plugin that gave no answer.
///
/// The text names the plugin, its version, its world, the function and the cause, and is fit for the
/// client; the backtrace is for the operator's log only.
#[derive(Debug, Clone, thiserror::Error)]
#[error("plugin {plugin} {version} ({world}) failed in {function}: {cause}")]
pub struct PluginError {
    /// Name of the package.
    pub plugin: Arc<str>,
    /// Version of the package.
    pub version: Arc<str>,
    /// Its world.
    pub world: World,
    /// The exported function that was called.
    pub function: &'static str,
    /// Why it failed.
    pub cause: Cause,
    /// Where in the guest, outermost frame last.
    pub backtrace: Option<Arc<String>>,
}

/// Why a call failed. Every limit says its bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The guest broke a rule of WebAssembly or of the component model and was stopped.
    #[error("it trapped: {message}")]
    Trap {
        /// wasmtime's words.
        message: String,
    },
    /// The deadline passed while the guest ran or waited.
    #[error("its deadline passed")]
    Deadline,
    /// The guest wanted more linear memory than it may have, and then stopped.
    #[error("it needs more than its {limit_bytes} bytes of memory")]
    Memory {
        /// The bound.
        limit_bytes: u64,
    },
    /// The guest held too many handles.
    #[error("it holds more than {limit} handles")]
    Handles {
        /// The bound.
        limit: u64,
    },
    /// The guest called host functions too often.
    #[error("it made more than {limit} host calls")]
    HostCalls {
        /// The bound.
        limit: u64,
    },
    /// One host call carried too many bytes out of the guest.
    #[error("one host call carried more than {limit_bytes} bytes")]
    HostCopy {
        /// The bound.
        limit_bytes: u64,
    },
    /// The outputs together are too large.
    #[error("its outputs take {got_bytes} bytes, the limit is {limit_bytes}")]
    OutputTooLarge {
        /// The bound.
        limit_bytes: u64,
        /// What came.
        got_bytes: u64,
    },
    /// The outputs are not what the plugin's own description promises.
    #[error("its outputs are not as it described them: {message}")]
    BadOutput {
        /// Expected and got.
        message: String,
    },
    /// The inputs are not what the plugin asks for: the caller's fault.
    #[error("the inputs do not fit: {message}")]
    BadInput {
        /// Expected and got.
        message: String,
    },
    /// The guest answered with an error of its own.
    #[error("{0}")]
    Guest(GuestError),
    /// All instances are in use; a later attempt may succeed.
    #[error("all {instances_max} instances are in use, try again later")]
    Overloaded {
        /// The bound.
        instances_max: u64,
    },
    /// Its worker process ended, or was killed, while the call ran; the next call gets another one.
    #[error("its worker process was lost: {reason}; try again")]
    WorkerLost {
        /// What became of the process.
        reason: String,
    },
    /// There are as many worker processes as may be, all of them busy; a later attempt may succeed.
    #[error("all {workers_max} worker processes are in use, try again later")]
    NoWorker {
        /// The bound.
        workers_max: u64,
    },
    /// The host failed the guest.
    #[error("the host could not serve it: {message}")]
    Host {
        /// What happened.
        message: String,
    },
}

macro_rules! cause_kinds {
    ($($(#[$doc:meta])* $kind:ident = $text:literal,)+) => {
        /// The kinds of [`Cause`], as labels of metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum CauseKind {
            $($(#[$doc])* $kind,)+
        }

        impl CauseKind {
            /// Every kind.
            pub const ALL: [CauseKind; 14] = [$(CauseKind::$kind,)+];

            /// Short name in kebab-case: `output-too-large`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(CauseKind::$kind => $text,)+
                }
            }
        }
    };
}

cause_kinds! {
    /// [`Cause::Trap`]
    Trap = "trap",
    /// [`Cause::Deadline`]
    Deadline = "deadline",
    /// [`Cause::Memory`]
    Memory = "memory",
    /// [`Cause::Handles`]
    Handles = "handles",
    /// [`Cause::HostCalls`]
    HostCalls = "host-calls",
    /// [`Cause::HostCopy`]
    HostCopy = "host-copy",
    /// [`Cause::OutputTooLarge`]
    OutputTooLarge = "output-too-large",
    /// [`Cause::BadOutput`]
    BadOutput = "bad-output",
    /// [`Cause::BadInput`]
    BadInput = "bad-input",
    /// [`Cause::Guest`]
    Guest = "guest-error",
    /// [`Cause::Overloaded`]
    Overloaded = "overloaded",
    /// [`Cause::WorkerLost`]
    WorkerLost = "worker-lost",
    /// [`Cause::NoWorker`]
    NoWorker = "no-worker",
    /// [`Cause::Host`]
    Host = "host",
}

impl Cause {
    /// Its kind.
    pub fn kind(&self) -> CauseKind {
        match self {
            Cause::Trap { .. } => CauseKind::Trap,
            Cause::Deadline => CauseKind::Deadline,
            Cause::Memory { .. } => CauseKind::Memory,
            Cause::Handles { .. } => CauseKind::Handles,
            Cause::HostCalls { .. } => CauseKind::HostCalls,
            Cause::HostCopy { .. } => CauseKind::HostCopy,
            Cause::OutputTooLarge { .. } => CauseKind::OutputTooLarge,
            Cause::BadOutput { .. } => CauseKind::BadOutput,
            Cause::BadInput { .. } => CauseKind::BadInput,
            Cause::Guest(_) => CauseKind::Guest,
            Cause::Overloaded { .. } => CauseKind::Overloaded,
            Cause::WorkerLost { .. } => CauseKind::WorkerLost,
            Cause::NoWorker { .. } => CauseKind::NoWorker,
            Cause::Host { .. } => CauseKind::Host,
        }
    }
}

/// Who has to act on an error of a guest (`types.error-family` of the contract).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFamily {
    /// The caller's input.
    Input,
    /// Something named does not exist.
    NotFound,
    /// A limit.
    Limit,
    /// The host has no code for it.
    Unsupported,
    /// Not granted.
    Forbidden,
    /// The client went away.
    Cancelled,
    /// The deadline has passed.
    Deadline,
    /// Overloaded, or a device is lost.
    Unavailable,
    /// A defect.
    Internal,
}

impl ErrorFamily {
    /// Its name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorFamily::Input => "input",
            ErrorFamily::NotFound => "not-found",
            ErrorFamily::Limit => "limit",
            ErrorFamily::Unsupported => "unsupported",
            ErrorFamily::Forbidden => "forbidden",
            ErrorFamily::Cancelled => "cancelled",
            ErrorFamily::Deadline => "deadline",
            ErrorFamily::Unavailable => "unavailable",
            ErrorFamily::Internal => "internal",
        }
    }
}

/// The error that a guest answered, cut to the bounds of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestError {
    /// Who has to act.
    pub family: ErrorFamily,
    /// Machine-readable code in kebab-case, at most 64 bytes.
    pub code: String,
    /// For a person, at most 4 KiB.
    pub message: String,
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}/{})", self.message, self.family.as_str(), self.code)
    }
}

/// A sandbox that could not be made, or a package that could not be loaded into it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// wasmtime refused its configuration or the machine its memory.
    #[error("the sandbox cannot start: {message}")]
    Start {
        /// What happened.
        message: String,
    },
    /// The folder of compiled components cannot be used.
    #[error("the cache folder {path} cannot be used: {source}")]
    Cache {
        /// The folder or file.
        path: std::path::PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The component may not run here.
    #[error("plugin {plugin} is refused ({code}): {message}")]
    Refused {
        /// Name of the package.
        plugin: Arc<str>,
        /// Stable code: `import`, `export`, `size`, `complexity`, `feature`, `invalid`, `config`,
        /// `config-schema`, `world`, `tier`.
        code: &'static str,
        /// Expected, got, remedy.
        message: String,
    },
    /// There is no compiler to ask: its process cannot be started, or its jail cannot be closed.
    #[error("plugin {plugin} cannot be compiled here: {message}")]
    Compiler {
        /// Name of the package.
        plugin: Arc<str>,
        /// What happened, and what to do.
        message: String,
    },
    /// `init` failed, or its memory cannot be kept as an image.
    #[error("plugin {plugin} cannot be initialized: {message}")]
    Image {
        /// Name of the package.
        plugin: Arc<str>,
        /// What happened.
        message: String,
    },
    /// The plugin ran and failed: `init` rejected its configuration, trapped or ran too long, or
    /// `describe` did.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

//! Plain data of the facade: what goes into [`Engine::infer`](crate::Engine::infer) and what comes
//! out. No protocol type appears here, and nothing here is `Serialize`: the gateway converts.

use aimass_tensor::{DType, Tensor};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which version of a model is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The label `stable` if it is set, else the newest ready version.
    #[default]
    Default,
    /// The newest ready version, whatever the labels say.
    Newest,
    /// The version that this label points to.
    Label(String),
    /// Exactly this version.
    Version(u64),
}

impl FromStr for Selector {
    type Err = EngineError;

    /// Reads what a client writes for a version: an integer, `newest`, or a label.
    fn from_str(text: &str) -> Result<Selector, EngineError> {
        if text.is_empty() {
            return Ok(Selector::Default);
        }
        if let Ok(version) = text.parse() {
            return Ok(Selector::Version(version));
        }
        if text == "newest" {
            return Ok(Selector::Newest);
        }
        if text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Ok(Selector::Label(text.to_owned()));
        }
        Err(EngineError::invalid(format!(
            "expected a version number, a label or `newest`, got {:?}",
            text.chars().take(64).collect::<String>()
        )))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Default => f.write_str("stable or newest"),
            Selector::Newest => f.write_str("newest"),
            Selector::Label(label) => write!(f, "label {label}"),
            Selector::Version(version) => write!(f, "version {version}"),
        }
    }
}

/// A request parameter, handed to every step of the pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
}

/// One inference, from any protocol.
#[derive(Clone, Debug)]
pub struct InferRequest {
    /// Serving name of the model.
    pub model: String,
    /// Version asked for.
    pub selector: Selector,
    /// Inputs by name, at most 64.
    pub inputs: Vec<(String, Tensor)>,
    /// Names of the outputs wanted; empty asks for all.
    pub outputs: Vec<String>,
    /// Parameters for the plugins.
    pub parameters: BTreeMap<String, Parameter>,
    /// Who is charged.
    pub tenant: Arc<str>,
    /// When the answer is worth nothing any more.
    pub deadline: Instant,
}

/// The answer to an [`InferRequest`].
#[derive(Clone, Debug)]
pub struct InferResponse {
    /// Serving name of the model.
    pub model: Arc<str>,
    /// Version that answered.
    pub version: u64,
    /// Outputs in the model's order, or in the order asked for.
    pub outputs: Vec<(Arc<str>, Tensor)>,
    /// What the call used.
    pub usage: Usage,
    /// Time spent in each step of the pipeline, in order.
    pub rooms: Vec<(Arc<str>, Duration)>,
}

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the inputs, where the model's package says how to count them.
    pub tokens: Option<u64>,
}

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorMetadata {
    /// Name.
    pub name: Arc<str>,
    /// Element type; `None` accepts any.
    pub dtype: Option<DType>,
    /// Extents, -1 where any extent is accepted; `None` accepts any shape.
    pub shape: Option<Vec<i64>>,
}

/// A model as clients see it.
#[derive(Clone, Debug)]
pub struct ModelMetadata {
    /// Serving name.
    pub name: Arc<str>,
    /// Version that the selector resolved to.
    pub version: u64,
    /// All ready versions, ascending.
    pub versions: Vec<u64>,
    /// Labels and the versions that they point to.
    pub labels: BTreeMap<String, u64>,
    /// `aimass` and the format plugin: `aimass_bert`.
    pub platform: Arc<str>,
    /// Inputs in order.
    pub inputs: Vec<TensorMetadata>,
    /// Outputs in order.
    pub outputs: Vec<TensorMetadata>,
    /// Publication time, seconds since 1970.
    pub created: u64,
    /// Who published this version.
    pub publisher: Arc<str>,
    /// What was checked before this version could serve.
    pub release: Arc<ReleaseFacts>,
}

/// What was checked of a version before it could serve, and who answers for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// The release that was signed: `publisher/name@version`.
    pub release: String,
    /// The publisher's key that signed it, `ed25519:…`.
    pub signed_by: String,
    /// Keys of the trust policy's reviewers that signed it too, each once.
    pub reviewed_by: Vec<String>,
    /// What its fixtures did at publication, such as `3 passed`; none if that was not told.
    pub fixtures: Option<String>,
}

/// Whether the server can answer, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Whether every served model can answer.
    pub ready: bool,
    /// What is missing.
    pub reasons: Vec<UnreadyReason>,
}

/// One thing that is missing before a server can answer everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadyReason {
    /// The model that it is about; none if it is about the server.
    pub model: Option<Arc<str>>,
    /// A sentence that may name the model and what went wrong.
    pub text: String,
    /// The same without any name, for whoever asks without a key.
    pub in_general: &'static str,
}

impl UnreadyReason {
    /// A reason that is about the whole server and names nothing.
    pub fn of_server(sentence: &'static str) -> UnreadyReason {
        UnreadyReason { model: None, text: sentence.to_owned(), in_general: sentence }
    }
}

/// Who has to act on an error; the gateway maps each to one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// The caller's input (400).
    InvalidInput,
    /// The caller may not do this (403).
    Forbidden,
    /// No such model, version or label (404).
    NotFound,
    /// Larger than a limit allows (413).
    TooLarge,
    /// A package was refused (422).
    PackageRefused,
    /// The tenant's quota is used up (429).
    Quota,
    /// A plugin trapped or failed (500); retrying does not help.
    Plugin,
    /// Overloaded, not ready, or a device is lost (503); a later attempt may succeed.
    Unavailable,
    /// The deadline passed (504).
    Deadline,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 9] = [
        Family::InvalidInput,
        Family::Forbidden,
        Family::NotFound,
        Family::TooLarge,
        Family::PackageRefused,
        Family::Quota,
        Family::Plugin,
        Family::Unavailable,
        Family::Deadline,
    ];

    /// Kebab-case name, used in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Family::InvalidInput => "invalid-input",
            Family::Forbidden => "forbidden",
            Family::NotFound => "not-found",
            Family::TooLarge => "too-large",
            Family::PackageRefused => "package-refused",
            Family::Quota => "quota",
            Family::Plugin => "plugin",
            Family::Unavailable => "unavailable",
            Family::Deadline => "deadline",
        }
    }
}

/// Why a request was not answered. `Display` is the text for the client.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    family: Family,
    code: String,
    message: String,
    log: Option<String>,
}

impl EngineError {
    /// An error of this family; `code` is stable and kebab-case, `message` is what the client reads.
    pub fn new(family: Family, code: &str, message: impl Into<String>) -> EngineError {
        EngineError { family, code: code.to_owned(), message: message.into(), log: None }
    }

    /// The caller's input is wrong.
    pub fn invalid(message: impl Into<String>) -> EngineError {
        EngineError::new(Family::InvalidInput, "invalid-input", message)
    }

    /// Adds what only the operator may read.
    #[must_use]
    pub fn with_log(mut self, log: impl Into<String>) -> EngineError {
        self.log = Some(log.into());
        self
    }

    /// Who has to act.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Stable machine-readable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What the client reads.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the operator reads in addition, such as a guest backtrace.
    pub fn log(&self) -> Option<&str> {
        self.log.as_deref()
    }
}

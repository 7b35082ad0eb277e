//! The one place where errors of lower floors become [`EngineError`]s.

use crate::{EngineError, Family};
use aimass_dispatch::DispatchError;
use aimass_registry::RegistryError;
use aimass_sandbox::{Cause, ErrorFamily, PluginError, SandboxError};

/// An error of a plan call, in the words of the step that made it.
pub(crate) fn of_dispatch(step: &str, error: &DispatchError) -> EngineError {
    let (family, code) = match error {
        DispatchError::Run(run) => return of_run(step, run),
        DispatchError::Overloaded { .. } => (Family::Unavailable, "overloaded"),
        DispatchError::Quota { .. } => (Family::Quota, "tenant-queue"),
        DispatchError::DeadlineExceeded => (Family::Deadline, "deadline"),
        DispatchError::DeadlineTooNear { .. } => (Family::Deadline, "deadline-too-near"),
        DispatchError::SlotLimit { .. } => (Family::Quota, "slots"),
        DispatchError::Closed => (Family::Unavailable, "closing"),
        DispatchError::KernelPanic => (Family::Unavailable, "kernel-panic"),
    };
    EngineError::new(family, code, format!("step {step}: {error}"))
}

fn of_run(step: &str, error: &aimass_graph::RunError) -> EngineError {
    use aimass_graph::ErrorFamily as Graph;
    let family = match error.family() {
        Graph::Input | Graph::NotFound | Graph::Unsupported => Family::InvalidInput,
        Graph::Limit => Family::TooLarge,
        Graph::Internal => Family::Unavailable,
    };
    EngineError::new(family, error.code(), format!("step {step}: {error}"))
}

/// An error of a plugin call. Only a guest error of family `input` is the client's fault.
pub(crate) fn of_plugin(step: &str, error: &PluginError) -> EngineError {
    let family = family_of(&error.cause);
    let code = match &error.cause {
        Cause::Guest(guest) => &*guest.code,
        other => other.kind().as_str(),
    };
    let engine = EngineError::new(family, code, format!("step {step}: {error}"));
    match &error.backtrace {
        Some(backtrace) => engine.with_log(&**backtrace),
        None => engine,
    }
}

/// Whose fault it is that a plugin did not answer.
fn family_of(cause: &Cause) -> Family {
    match cause {
        Cause::BadInput { .. } => Family::InvalidInput,
        Cause::Guest(guest) => guest_family(guest.family),
        Cause::Deadline => Family::Deadline,
        Cause::Overloaded { .. } | Cause::WorkerLost { .. } | Cause::NoWorker { .. } => {
            Family::Unavailable
        }
        Cause::Trap { .. }
        | Cause::Memory { .. }
        | Cause::Handles { .. }
        | Cause::HostCalls { .. }
        | Cause::HostCopy { .. }
        | Cause::OutputTooLarge { .. }
        | Cause::BadOutput { .. }
        | Cause::Host { .. } => Family::Plugin,
    }
}

fn guest_family(family: ErrorFamily) -> Family {
    match family {
        ErrorFamily::Input => Family::InvalidInput,
        ErrorFamily::Deadline => Family::Deadline,
        ErrorFamily::Unavailable => Family::Unavailable,
        ErrorFamily::NotFound
        | ErrorFamily::Limit
        | ErrorFamily::Unsupported
        | ErrorFamily::Forbidden
        | ErrorFamily::Cancelled
        | ErrorFamily::Internal => Family::Plugin,
    }
}

/// An error of loading a plugin.
pub(crate) fn of_sandbox(step: &str, error: &SandboxError) -> EngineError {
    let (family, code) = match error {
        SandboxError::Refused { code, .. } => (Family::PackageRefused, *code),
        SandboxError::Image { .. } => (Family::PackageRefused, "init-image"),
        SandboxError::Plugin(plugin) => {
            // For want of the machine, as a call; else the package is at fault, whatever its guest says.
            let is_ours = !matches!(plugin.cause, Cause::Guest(_));
            let for_now = is_ours && family_of(&plugin.cause) == Family::Unavailable;
            let family = if for_now { Family::Unavailable } else { Family::PackageRefused };
            (family, plugin.cause.kind().as_str())
        }
        SandboxError::Start { .. } => (Family::Unavailable, "sandbox"),
        SandboxError::Compiler { .. } => (Family::Unavailable, "compiler"),
        SandboxError::Cache { .. } => (Family::Unavailable, "io"),
    };
    EngineError::new(family, code, format!("step {step}: {error}"))
}

/// A refusal of the trust policy, with its code first.
pub(crate) fn of_refusal(refusal: &aimass_trust::Refusal) -> EngineError {
    EngineError::new(Family::PackageRefused, refusal.code.as_str(), refusal.to_string())
}

/// An error of the registry.
pub(crate) fn of_registry(error: &RegistryError) -> EngineError {
    use aimass_registry::ErrorFamily as Registry;
    let (family, code) = match error.family() {
        Registry::InvalidInput => (Family::InvalidInput, "registry-input"),
        Registry::Limit => (Family::TooLarge, "registry-limit"),
        Registry::NotFound => (Family::NotFound, "not-found"),
        Registry::Conflict => (Family::InvalidInput, "registry-conflict"),
        Registry::Unavailable => (Family::Unavailable, "registry-busy"),
        Registry::Storage => (Family::Unavailable, "registry-storage"),
    };
    EngineError::new(family, code, error.to_string())
}

/// An error of a marketplace: a refusal of a package, or a mirror that does not answer.
pub(crate) fn of_market(error: &aimass_market::MarketError) -> EngineError {
    match error.refusal() {
        Some(refusal) => of_refusal(refusal),
        None => EngineError::new(Family::Unavailable, "market", error.to_string()),
    }
}

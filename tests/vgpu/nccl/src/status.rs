//! Results of calls, and the text of the last failure.

use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, PoisonError};

/// An `ncclResult_t` other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    UnhandledCudaError,
    InvalidArgument,
    InvalidUsage,
    RemoteError,
    Timeout,
}

impl Status {
    /// The number of the interface.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::UnhandledCudaError => 1,
            Self::InvalidArgument => 4,
            Self::InvalidUsage => 5,
            Self::RemoteError => 6,
            Self::Timeout => 8,
        }
    }
}

/// What a result means.
pub(crate) fn describe(number: i32) -> &'static CStr {
    match number {
        0 => c"no error",
        1 => c"unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
        2 => c"unhandled system error (run with NCCL_DEBUG=INFO for details)",
        3 => c"internal error - please report this issue to the NCCL developers",
        4 => c"invalid argument (run with NCCL_DEBUG=WARN for details)",
        5 => c"invalid usage (run with NCCL_DEBUG=WARN for details)",
        6 => c"remote process exited or there was a network error",
        7 => c"NCCL operation in progress",
        8 => c"operation timed out",
        _ => c"unknown result code",
    }
}

/// A failed call: its result, and a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// An argument that is wrong whatever the other ranks do.
    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self::new(Status::InvalidArgument, text)
    }

    /// Calls that do not go together.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Status::InvalidUsage, text)
    }
}

/// The text of the last failure of the process; kept, since programs hold its address.
static LAST: Mutex<Option<&'static CStr>> = Mutex::new(None);

/// Remembers `text` for `ncclGetLastError`.
pub(crate) fn remember(text: &str) {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::leak(text.into_boxed_c_str()));
}

/// The text of the last failure.
pub(crate) fn last() -> *const c_char {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(c"").as_ptr()
}

//! What a plugin answers instead of outputs.
//!
//! The family decides who is told: only [`Error::input`] reaches the client as its own fault
//! (HTTP 400), everything else is the operator's or the plugin author's to mend.

pub use crate::bindings::aimass::plugin::types::{Error, ErrorFamily};

/// The result of everything that asks the host.
pub type Result<T, E = Error> = core::result::Result<T, E>;

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident => $family:ident,)*) => {
        impl Error {
            /// An error of a family, with a stable `code` in kebab-case (at most 64 bytes) and a
            /// `message` for a person: what was expected, what came, how to mend it.
            #[must_use]
            pub fn new(family: ErrorFamily, code: &str, message: impl Into<String>) -> Self {
                Error { family, code: code.to_owned(), message: message.into() }
            }

            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(code: &str, message: impl Into<String>) -> Self {
                    Self::new(ErrorFamily::$family, code, message)
                }
            )*
        }
    };
}

families! {
    /// The caller's input is at fault: a shape, a dtype, a value, the configuration.
    input => Input,
    /// Something named does not exist.
    not_found => NotFound,
    /// A limit is reached.
    limit => Limit,
    /// The plugin knows what is asked for, but has no code for it.
    unsupported => Unsupported,
    /// A defect of the plugin itself.
    internal => Internal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constructor_sets_family_code_and_message() {
        let error = Error::input("shape-mismatch", "expected [2], got [3]");
        assert_eq!(error.family, ErrorFamily::Input);
        assert_eq!(error.code, "shape-mismatch");
        assert!(error.to_string().contains("expected [2], got [3]"), "{error}");
    }
}

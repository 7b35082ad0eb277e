//! Which environment variables the inner Cargo may see.
//!
//! This code mostly runs below another Cargo (`cargo xtask`), which exports its own compiler,
//! flags and package to its children. Handed on, they would build the plugin with the wrong
//! compiler or with the host's flags.

use std::process::Command;

/// Cargo variables that are the user's settings rather than the outer Cargo's state.
const KEPT_PREFIXES: &[&str] = &[
    "CARGO_HOME",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_BUILD_JOBS",
];

/// Removes from `command` what an outer Cargo or rustup exported.
///
/// `keep_toolchain` keeps rustup's choice of a toolchain; Debian's Cargo must not see it.
pub(crate) fn clean(command: &mut Command, keep_toolchain: bool) {
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if is_foreign(name, keep_toolchain) {
            command.env_remove(name);
        }
    }
}

fn is_foreign(name: &str, keep_toolchain: bool) -> bool {
    let cargo = name == "CARGO" || name.starts_with("CARGO_");
    let kept = KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let compiler = name.starts_with("RUSTC") || name == "RUSTFLAGS" || name == "RUSTDOCFLAGS";
    let toolchain = name.starts_with("RUSTUP_TOOLCHAIN") || name == "LD_LIBRARY_PATH";
    (cargo && !kept) || compiler || (toolchain && !keep_toolchain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outer_cargo_is_hidden_and_the_users_settings_are_kept() {
        for name in ["CARGO", "CARGO_PKG_NAME", "CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS"] {
            assert!(is_foreign(name, true), "{name} must be removed");
        }
        for name in ["RUSTC", "RUSTC_WRAPPER", "RUSTFLAGS"] {
            assert!(is_foreign(name, true), "{name} must be removed");
        }
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX", "PATH"] {
            assert!(!is_foreign(name, false), "{name} must be kept");
        }
    }

    #[test]
    fn only_debians_cargo_loses_rustups_toolchain() {
        assert!(!is_foreign("RUSTUP_TOOLCHAIN", true));
        assert!(is_foreign("RUSTUP_TOOLCHAIN", false));
        assert!(is_foreign("LD_LIBRARY_PATH", false));
    }
}

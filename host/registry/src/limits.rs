//! How much a registry holds: a limit on everything that somebody can publish.

use std::time::Duration;

use crate::error::RegistryError;

/// Limits of a registry; the defaults suit one machine.
///
/// They bind what is published from now on; lowering one never hides what is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Model names ever published (a removed model keeps its version counter). Default 4,096.
    pub models_max: u64,
    /// Versions of one model that are not removed. Default 1,024.
    pub versions_per_model_max: u64,
    /// Labels of one model. Default 64.
    pub labels_per_model_max: u64,
    /// Label events kept for one label, which bounds how far it rolls back. Default 1,000.
    pub label_history_max: u64,
    /// Files of one model version, besides `model.toml` and the statement. Default 4,096.
    pub files_per_version_max: u64,
    /// Bytes of all files of one model version. Default 64 GiB.
    pub version_bytes_max: u64,
    /// Bytes of `model.toml`. Default 256 KiB.
    pub model_toml_bytes_max: u64,
    /// Bytes of a signed statement, as `AMT-SIZE` has it. Default 256 KiB.
    pub statement_bytes_max: u64,
    /// Steps of one model version that are locked to a plugin. Default 64.
    pub locks_per_version_max: u64,
    /// Plugin versions. Default 16,384.
    pub plugins_max: u64,
    /// Bytes of a plugin's component, as `AMT-SIZE` has it. Default 64 MiB.
    pub plugin_bytes_max: u64,
    /// Bytes of a fixture report or a failure reason; longer ones are cut. Default 64 KiB.
    pub report_bytes_max: usize,
    /// How long a call waits for another process's write. Default 10 s.
    pub busy_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            models_max: 4_096,
            versions_per_model_max: 1_024,
            labels_per_model_max: 64,
            label_history_max: 1_000,
            files_per_version_max: 4_096,
            version_bytes_max: 64 << 30,
            model_toml_bytes_max: 256 << 10,
            statement_bytes_max: 256 << 10,
            locks_per_version_max: 64,
            plugins_max: 16_384,
            plugin_bytes_max: 64 << 20,
            report_bytes_max: 64 << 10,
            busy_wait: Duration::from_secs(10),
        }
    }
}

/// Refuses `got` above `limit`.
pub(crate) fn check_limit(
    what: &'static str,
    limit: u64,
    got: u64,
    remedy: &'static str,
) -> Result<(), RegistryError> {
    if got > limit {
        return Err(RegistryError::LimitExceeded { what, limit, got, remedy });
    }
    Ok(())
}

/// `text` cut to at most `bytes_max` bytes at a character's border.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 99), "aé");
    }
}

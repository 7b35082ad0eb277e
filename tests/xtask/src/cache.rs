//! The folder of downloaded things, outside the repository and shared by all clones.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// The cache folder, which is made if it is missing.
pub(crate) fn dir() -> anyhow::Result<PathBuf> {
    let dir = dir_from(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
        .context("neither AIMASS_CACHE nor XDG_CACHE_HOME nor HOME is set; set one of them")?;
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

fn dir_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(dir) = variable("AIMASS_CACHE") {
        return std::path::absolute(dir).ok();
    }
    if let Some(dir) = variable("XDG_CACHE_HOME") {
        return Some(Path::new(&dir).join("aimass"));
    }
    variable("HOME").map(|home| Path::new(&home).join(".cache/aimass"))
}

/// Lower-case hexadecimal SHA-256 of `bytes`.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_specific_variable_wins() {
        let all = |name: &str| Some(OsString::from(format!("/{name}")));
        assert_eq!(dir_from(all), Some(PathBuf::from("/AIMASS_CACHE")));
        let no_own = |name: &str| all(name).filter(|_| name != "AIMASS_CACHE");
        assert_eq!(dir_from(no_own), Some(PathBuf::from("/XDG_CACHE_HOME/aimass")));
        let home_only = |name: &str| all(name).filter(|_| name == "HOME");
        assert_eq!(dir_from(home_only), Some(PathBuf::from("/HOME/.cache/aimass")));
        assert_eq!(dir_from(|_| None), None);
    }

    #[test]
    fn sha256_of_nothing_is_the_known_one() {
        assert!(sha256_hex(b"").starts_with("e3b0c44298fc1c14"));
    }
}

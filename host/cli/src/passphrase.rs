//! Passphrases of sealed signing keys: from a file, the environment, or a prompt.

use aimass_trust::TrustError;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const VARIABLE: &str = "AIMASS_PASSPHRASE";
const FILE_BYTES_MAX: u64 = 1 << 10;

/// Where passphrases come from.
pub(crate) struct Passphrases {
    file: Option<PathBuf>,
}

impl Passphrases {
    pub(crate) fn new(file: Option<PathBuf>) -> Passphrases {
        Passphrases { file }
    }

    /// The passphrase that opens the key file at `path`.
    pub(crate) fn ask(&self, path: &Path) -> Result<Zeroizing<String>, TrustError> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        let locked = || TrustError::KeyFileLocked { path: path.to_owned() };
        if !std::io::stdin().is_terminal() {
            return Err(locked());
        }
        let prompt = format!("passphrase of {}: ", path.display());
        rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|_| locked())
    }

    /// The passphrase for a new key file; `None` if nobody gave one.
    pub(crate) fn choose(&self, path: &Path) -> anyhow::Result<Option<Zeroizing<String>>> {
        if let Some(given) = self.given()? {
            return Ok(Some(given));
        }
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let prompt = format!("passphrase for {} (empty leaves it unsealed): ", path.display());
        let first = Zeroizing::new(rpassword::prompt_password(prompt)?);
        if first.is_empty() {
            return Ok(None);
        }
        let second = Zeroizing::new(rpassword::prompt_password("once more: ")?);
        anyhow::ensure!(first == second, "the two passphrases differ; nothing was written");
        Ok(Some(first))
    }

    /// The first line of the file, else the environment's.
    fn given(&self) -> Result<Option<Zeroizing<String>>, TrustError> {
        let Some(path) = &self.file else {
            return Ok(std::env::var(VARIABLE).ok().map(Zeroizing::new));
        };
        let read = |path: &Path| {
            use std::io::Read;
            let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
            std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
            Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
        };
        let text = read(path);
        text.map(Some).map_err(|source| TrustError::File { path: path.clone(), source })
    }
}

//! The file of a signing key: a few lines of text that only the owner can read.
//!
//! ```text
//! aimass signing key 1                      aimass sealed signing key 1
//! public ed25519:<64 hexadecimal digits>    public ed25519:<64 hexadecimal digits>
//! secret <64 hexadecimal digits>            kdf argon2id 65536 3 1 <32 hexadecimal digits of salt>
//!                                           sealed <144 hexadecimal digits>
//! ```
//! The right form is sealed with a passphrase, see [`crate::sealed`].

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::TrustError;
use crate::hex;
use crate::keys::{PublicKey, SigningKey};
use crate::sealed;

const FIRST_LINE: &str = "aimass signing key 1";
const BYTES_MAX: u64 = 4096;

impl SigningKey {
    /// Writes the key to a new file with mode 0600 and waits until it is on disk.
    ///
    /// # Errors
    /// [`TrustError::File`] if the file exists already or cannot be written: a key is never overwritten.
    pub fn create_file(&self, path: &Path) -> Result<(), TrustError> {
        let secret = Zeroizing::new(hex::encode(self.seed()));
        let text =
            Zeroizing::new(format!("{FIRST_LINE}\npublic {}\nsecret {}\n", self.public(), *secret));
        write_new(path, &text)
    }

    /// As [`SigningKey::create_file`], sealed with a passphrase of 8 to 1,024 bytes: Argon2id
    /// (RFC 9106, 64 MiB, 3 passes) and XChaCha20-Poly1305.
    ///
    /// # Errors
    /// As [`SigningKey::create_file`], and [`TrustError::Passphrase`], [`TrustError::Randomness`].
    pub fn create_sealed_file(&self, path: &Path, passphrase: &str) -> Result<(), TrustError> {
        write_new(path, &sealed::text(self, passphrase)?)
    }

    /// Reads the key from its file.
    ///
    /// # Errors
    /// [`TrustError::KeyFileMode`] if anybody but the owner may read or write it,
    /// [`TrustError::KeyFileLocked`] if it is sealed, [`TrustError::KeyFile`] if it holds something
    /// else, [`TrustError::File`] if it cannot be read.
    pub fn load(path: &Path) -> Result<Self, TrustError> {
        let locked = || Err(TrustError::KeyFileLocked { path: path.to_owned() });
        Self::load_with(path, locked)
    }

    /// As [`SigningKey::load`]; `passphrase` is asked only if the file is sealed.
    ///
    /// # Errors
    /// As [`SigningKey::load`], what `passphrase` answers, and [`TrustError::KeyFilePassphrase`] if it
    /// is not the one.
    pub fn load_with(
        path: &Path,
        passphrase: impl FnOnce() -> Result<Zeroizing<String>, TrustError>,
    ) -> Result<Self, TrustError> {
        let text = read(path)?;
        let wrong = |got| TrustError::KeyFile { path: path.to_owned(), got };
        if !sealed::is_sealed(&text) {
            return parse(&text).map_err(wrong);
        }
        let sealed = sealed::Sealed::parse(&text).map_err(wrong)?;
        let opened = sealed.open(&passphrase()?);
        opened.ok_or_else(|| TrustError::KeyFilePassphrase { path: path.to_owned() })
    }

    /// Whether the file at `path` is sealed with a passphrase.
    ///
    /// # Errors
    /// [`TrustError::File`], [`TrustError::KeyFileMode`].
    pub fn is_sealed_file(path: &Path) -> Result<bool, TrustError> {
        Ok(sealed::is_sealed(&read(path)?))
    }
}

impl PublicKey {
    /// The public half that a key file states, sealed or not. For messages and drafts: nothing proves
    /// that the secret belongs to it.
    ///
    /// # Errors
    /// As [`SigningKey::load`], but for passphrases.
    pub fn of_key_file(path: &Path) -> Result<Self, TrustError> {
        let text = read(path)?;
        let known = text.starts_with(FIRST_LINE) || sealed::is_sealed(&text);
        let stated = text.lines().nth(1).and_then(|line| line.strip_prefix("public "));
        let got = "no public key in line 2";
        stated
            .filter(|_| known)
            .ok_or_else(|| TrustError::KeyFile { path: path.to_owned(), got })?
            .parse()
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), TrustError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(TrustError::file(path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(TrustError::file(path))
}

fn read(path: &Path) -> Result<Zeroizing<String>, TrustError> {
    let file = File::open(path).map_err(TrustError::file(path))?;
    refuse_shared(&file, path)?;
    let mut text = Zeroizing::new(String::with_capacity(BYTES_MAX as usize));
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(TrustError::file(path))?;
    Ok(text)
}

#[cfg(unix)]
fn refuse_shared(file: &File, path: &Path) -> Result<(), TrustError> {
    let metadata = file.metadata().map_err(TrustError::file(path))?;
    match std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(TrustError::KeyFileMode { path: path.to_owned(), mode }),
    }
}

#[cfg(not(unix))]
fn refuse_shared(_file: &File, _path: &Path) -> Result<(), TrustError> {
    Ok(())
}

fn parse(text: &str) -> Result<SigningKey, &'static str> {
    let mut lines = text.lines();
    if lines.next() != Some(FIRST_LINE) {
        return Err("another first line");
    }
    let public = lines
        .next()
        .and_then(|line| line.strip_prefix("public "))
        .ok_or("no public key in line 2")?;
    let secret =
        lines.next().and_then(|line| line.strip_prefix("secret ")).ok_or("no secret in line 3")?;
    let seed = hex::decode::<32>(secret)
        .map(Zeroizing::new)
        .ok_or("a secret that is not 64 hexadecimal digits")?;
    let key = SigningKey::from_seed(&seed);
    match (key.public().to_string() == public, lines.next()) {
        (true, None) => Ok(key),
        (true, Some(_)) => Err("more than three lines"),
        (false, _) => Err("a public key that is not the secret's"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let key = SigningKey::generate().expect("randomness");
        key.create_file(&path).expect("written");
        assert_eq!(SigningKey::load(&path).expect("read").public(), key.public());
        assert!(matches!(key.create_file(&path), Err(TrustError::File { .. })));
        assert!(!format!("{key:?}").contains(&hex::encode(key.seed())));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        SigningKey::generate().expect("randomness").create_file(&path).expect("written");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o601] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("changed");
            let error = SigningKey::load(&path).expect_err("refused").to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn other_texts_are_refused_without_showing_the_secret() {
        let (public, secret) = (SigningKey::from_seed(&[1; 32]).public(), "01".repeat(32));
        let good = format!("{FIRST_LINE}\npublic {public}\nsecret {secret}\n");
        assert!(parse(&good).is_ok());
        for wrong in [
            String::new(),
            good.replace("key 1", "key 2"),
            good.replace("public ", "PUBLIC "),
            good.replace("secret 01", "secret 02"),
            good.replace("secret 01", "secret 1"),
            format!("{good}more\n"),
        ] {
            assert!(parse(&wrong).is_err_and(|why| !why.contains(&secret)), "{wrong}");
        }
    }
}

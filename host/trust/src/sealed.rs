//! Signing keys sealed with a passphrase: Argon2id (RFC 9106) to a key, XChaCha20-Poly1305 over the seed.
//!
//! The first three lines are authenticated with the seed, so that nobody exchanges the public key or
//! weakens the parameters. What a file may ask for is bounded: 8 MiB to 1 GiB, 1 to 16 passes, 1 to 4 lanes.

use argon2::{Algorithm, Argon2, Params};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::error::TrustError;
use crate::hex;
use crate::keys::SigningKey;

const FIRST_LINE: &str = "aimass sealed signing key 1";
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// A read sealed key; nothing in it is known to be true before [`Sealed::open`].
pub(crate) struct Sealed<'a> {
    head: String,
    public: &'a str,
    params: Params,
    salt: [u8; 16],
    nonce: [u8; 24],
    sealed: [u8; 48],
}

/// Whether the text of a key file is a sealed one's.
pub(crate) fn is_sealed(text: &str) -> bool {
    text.lines().next() == Some(FIRST_LINE)
}

/// The text of a file that holds `key` sealed with `passphrase`.
///
/// # Errors
/// [`TrustError::Passphrase`] for a length other than 8 to 1,024 bytes, [`TrustError::Randomness`].
pub(crate) fn text(key: &SigningKey, passphrase: &str) -> Result<Zeroizing<String>, TrustError> {
    if !(8..=1024).contains(&passphrase.len()) {
        return Err(TrustError::Passphrase { got: passphrase.len() });
    }
    let (mut salt, mut nonce) = ([0; 16], [0; 24]);
    getrandom::fill(&mut salt)
        .and_then(|()| getrandom::fill(&mut nonce))
        .map_err(|error| TrustError::Randomness(error.to_string()))?;
    let kdf = format!("argon2id {MEMORY_KIB} {PASSES} {LANES} {}", hex::encode(&salt));
    let head = format!("{FIRST_LINE}\npublic {}\nkdf {kdf}\n", key.public());
    let failed = || TrustError::Randomness("the key could not be sealed".to_owned());
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| failed())?;
    let cipher = cipher(passphrase, params, &salt).ok_or_else(failed)?;
    let payload = Payload { msg: key.seed(), aad: head.as_bytes() };
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| failed())?;
    Ok(Zeroizing::new(format!("{head}sealed {}{}\n", hex::encode(&nonce), hex::encode(&sealed))))
}

impl<'a> Sealed<'a> {
    /// Reads the text of a sealed key file.
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let lines: Vec<&str> = text.lines().collect();
        let [first, public, kdf, sealed] = lines[..] else {
            return Err("other than four lines");
        };
        let public = public.strip_prefix("public ").ok_or("no public key in line 2")?;
        let words: Vec<&str> = kdf.split(' ').collect();
        let ["kdf", "argon2id", memory, passes, lanes, salt] = words[..] else {
            return Err("no `kdf argon2id` in line 3");
        };
        let number = |text: &str, least: u32, most: u32| {
            let number = text.parse().ok().filter(|number| (least..=most).contains(number));
            number.ok_or(
                "parameters of Argon2id outside 8 MiB to 1 GiB, 1 to 16 passes, 1 to 4 lanes",
            )
        };
        let (memory, passes) = (number(memory, 8 << 10, 1 << 20)?, number(passes, 1, 16)?);
        let lanes = number(lanes, 1, 4)?;
        let params = Params::new(memory, passes, lanes, None);
        let sealed = sealed.strip_prefix("sealed ").and_then(hex::decode::<72>);
        let sealed = sealed.ok_or("no sealed secret of 144 hexadecimal digits in line 4")?;
        let (mut nonce, mut rest) = ([0; 24], [0; 48]);
        nonce.copy_from_slice(&sealed[..24]);
        rest.copy_from_slice(&sealed[24..]);
        Ok(Sealed {
            head: format!("{first}\npublic {public}\n{kdf}\n"),
            public,
            params: params.map_err(|_| "parameters that Argon2id does not have")?,
            salt: hex::decode(salt).ok_or("a salt that is not 32 hexadecimal digits")?,
            nonce,
            sealed: rest,
        })
    }

    /// The key, or `None` if the passphrase is another or a line was changed.
    pub(crate) fn open(&self, passphrase: &str) -> Option<SigningKey> {
        let cipher = cipher(passphrase, self.params.clone(), &self.salt)?;
        let payload = Payload { msg: &self.sealed, aad: self.head.as_bytes() };
        let seed = Zeroizing::new(cipher.decrypt(&XNonce::from(self.nonce), payload).ok()?);
        let seed = Zeroizing::new(<[u8; 32]>::try_from(&seed[..]).ok()?);
        let key = SigningKey::from_seed(&seed);
        (key.public().to_string() == self.public).then_some(key)
    }
}

fn cipher(passphrase: &str, params: Params, salt: &[u8; 16]) -> Option<XChaCha20Poly1305> {
    let mut key = Zeroizing::new([0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2.hash_password_into(passphrase.as_bytes(), salt, key.as_mut()).ok()?;
    Some(XChaCha20Poly1305::new(&Key::from(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const PASSPHRASE: &str = "correct horse battery";

    fn open_at(path: &Path, passphrase: &str) -> Result<SigningKey, TrustError> {
        SigningKey::load_with(path, || Ok(Zeroizing::new(passphrase.to_owned())))
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let key = SigningKey::generate().expect("randomness");
        key.create_sealed_file(&path, PASSPHRASE).expect("written");
        let text = std::fs::read_to_string(&path).expect("there");
        assert!(!text.contains(&hex::encode(key.seed())));
        assert_eq!(open_at(&path, PASSPHRASE).expect("opened").public(), key.public());
        let stated = crate::PublicKey::of_key_file(&path).expect("stated");
        assert_eq!(stated, key.public());
        assert!(SigningKey::is_sealed_file(&path).expect("read"));
        assert!(matches!(SigningKey::load(&path), Err(TrustError::KeyFileLocked { .. })));
        let wrong = open_at(&path, "correct horse batterx");
        assert!(matches!(wrong, Err(TrustError::KeyFilePassphrase { .. })));
        for short in ["", "seven b", &"x".repeat(1025)] {
            let refused = key.create_sealed_file(&folder.path().join("other"), short);
            assert!(matches!(refused, Err(TrustError::Passphrase { .. })), "{}", short.len());
        }
    }

    #[test]
    fn changed_lines_and_greedy_parameters_do_not_open() {
        let key = SigningKey::from_seed(&[1; 32]);
        let good = text(&key, PASSPHRASE).expect("sealed");
        let sealed = good.lines().last().expect("a line").to_owned();
        let other = SigningKey::from_seed(&[2; 32]).public().to_string();
        for changed in [
            good.replace(&key.public().to_string(), &other),
            good.replace("argon2id 65536 3", "argon2id 8192 1"),
            good.replace(
                &sealed[..9],
                if &sealed[7..9] == "00" { "sealed 01" } else { "sealed 00" },
            ),
        ] {
            assert_ne!(changed, *good);
            assert!(
                Sealed::parse(&changed).expect("a form").open(PASSPHRASE).is_none(),
                "{changed}"
            );
        }
        for wrong in [
            good.replace("65536 3 1", "1048577 3 1"),
            good.replace("65536 3 1", "8191 3 1"),
            good.replace("65536 3 1", "65536 17 1"),
            good.replace("65536 3 1", "65536 0 1"),
            good.replace("65536 3 1", "65536 3 5"),
            good.replace("argon2id", "scrypt"),
            good.replace("sealed ", "sealed 0"),
            format!("{}more\n", *good),
        ] {
            assert_ne!(wrong, *good);
            assert!(Sealed::parse(&wrong).is_err(), "{wrong}");
        }
    }
}

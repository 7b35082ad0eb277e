//! The few bytes of a component that trust depends on: header, signature section, manifest, imports.
//!
//! The signature section is wasmsign2's, of which exactly one form is accepted: first in the file, one
//! set of one hash with one signature, every length in its shortest form (132 bytes in all):
//!
//! ```text
//! 00 81 01 09 "signature"                custom section of 129 bytes
//!    01 01 01 01 72 01 <hash 32>         version 1, content 1, SHA-256, one set of 114 bytes, one hash
//!    01 4f 0c <key id 12> 01 40 <64>     one signature of 79 bytes: key id, Ed25519, signature
//! ```
//! The signature is over `"wasmsig" 01 01 01 ‖ hash`, the hash over everything after the section.
//! Nothing here allocates by a length that the file claims; nested modules and components are opaque.

use sha2::{Digest, Sha256};

use crate::keys::{PublicKey, SigningKey};
use crate::refusal::{GET_AGAIN, Refusal, RefusalCode, excerpt};

/// Size limit of a plugin file: 64 MiB.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// Header of every component: magic, version 13, layer 1.
pub(crate) const HEADER: &[u8; 8] = b"\0asm\x0d\0\x01\0";
pub(crate) const SIGNATURE: &str = "signature";
pub(crate) const MANIFEST: &str = "aimass:manifest";
const DELIMITER: &str = "signature_delimiter";
const IMPORTS_MAX: usize = 1_000;
const CUSTOM: u8 = 0;
const IMPORT: u8 = 10;
const SECTION_ID_MAX: u8 = 12;

const HEAD: &[u8; 19] = b"\x00\x81\x01\x09signature\x01\x01\x01\x01\x72\x01";
const RECORD: &[u8; 3] = b"\x01\x4f\x0c";
const ALGORITHM: &[u8; 2] = b"\x01\x40";
const SECTION_BYTES: usize = 132;

/// One top-level section of a component.
pub(crate) struct Section<'a> {
    /// Custom name and payload, for custom sections.
    pub(crate) custom: Option<(&'a str, &'a [u8])>,
    /// Everything: id, length and content.
    pub(crate) whole: &'a [u8],
    id: u8,
    body: &'a [u8],
}

/// The signature section's content.
pub(crate) struct SignatureSection {
    pub(crate) key_id: [u8; 12],
    hash: [u8; 32],
    signature: [u8; 64],
}

/// What trust reads of a component.
pub(crate) struct Parts<'a> {
    /// Absent in an unsigned component.
    pub(crate) signature: Option<SignatureSection>,
    /// Everything that the signature covers.
    pub(crate) signed: &'a [u8],
    /// Payload of the only manifest section.
    pub(crate) manifest: &'a [u8],
    /// Names of all imports but plain type equalities.
    pub(crate) imports: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    /// Reads a component that may be unsigned.
    pub(crate) fn read(wasm: &'a [u8]) -> Result<Self, Refusal> {
        let (mut signed, mut signature, mut manifest, mut imports) =
            (&wasm[..0], None, None, Vec::new());
        for (index, section) in sections(wasm)?.enumerate() {
            let section = section?;
            if index == 0 {
                signed = &wasm[HEADER.len()..];
            }
            match section.custom {
                Some((SIGNATURE, _)) if index == 0 => {
                    signature = Some(SignatureSection::read(section.whole)?);
                    signed = &wasm[HEADER.len() + SECTION_BYTES..];
                }
                Some((SIGNATURE | DELIMITER, _)) => {
                    return Err(Refusal::format(
                        "one `signature` section, first in the file",
                        "another one after it",
                    ));
                }
                Some((MANIFEST, payload)) if manifest.is_none() => manifest = Some(payload),
                Some((MANIFEST, _)) => {
                    return Err(Refusal::format("one `aimass:manifest` section", "a second one"));
                }
                Some((_, _)) => {}
                None if section.id == IMPORT => read_imports(section.body, &mut imports)?,
                None => {}
            }
        }
        let manifest = manifest.ok_or_else(|| {
            let remedy = "build the plugin with `aimass plugin build`, which embeds it";
            Refusal::new(RefusalCode::Format, "an `aimass:manifest` section", "none", remedy)
        })?;
        Ok(Parts { signature, signed, manifest, imports })
    }
}

impl SignatureSection {
    fn read(section: &[u8]) -> Result<Self, Refusal> {
        let read = || {
            let (key_part, signature) = section.strip_prefix(HEAD)?.split_last_chunk::<64>()?;
            let (hash, record) = key_part.split_first_chunk::<32>()?;
            let key_id = record.strip_prefix(RECORD)?.strip_suffix(ALGORITHM)?;
            let key_id = key_id.try_into().ok()?;
            Some(SignatureSection { key_id, hash: *hash, signature: *signature })
        };
        let expected = "a `signature` section of 132 bytes with one hash and one Ed25519 signature";
        read()
            .ok_or_else(|| Refusal::format(expected, format!("another of {} bytes", section.len())))
    }

    /// The section with `key`'s signature of `signed`, everything that shall follow the section.
    pub(crate) fn sign(signed: &[u8], key: &SigningKey) -> Vec<u8> {
        let hash: [u8; 32] = Sha256::digest(signed).into();
        let signature = key.sign(&message(&hash));
        [HEAD, &hash[..], RECORD, &key.public().key_id(), ALGORITHM, &signature].concat()
    }

    /// Checks that `signed` has this section's hash and that `key` signed the hash.
    pub(crate) fn check(&self, signed: &[u8], key: PublicKey) -> Result<(), Refusal> {
        let hash: [u8; 32] = Sha256::digest(signed).into();
        let refused = |got: &str| {
            Err(Refusal::new(
                RefusalCode::Sig,
                "the component as its publisher signed it",
                got,
                GET_AGAIN,
            ))
        };
        match (hash == self.hash, key.verifies(&message(&hash), &self.signature)) {
            (true, true) => Ok(()),
            (false, _) => refused("bytes that were changed after signing"),
            (true, false) => refused("a signature that does not hold"),
        }
    }
}

fn message(hash: &[u8; 32]) -> Vec<u8> {
    [b"wasmsig\x01\x01\x01", &hash[..]].concat()
}

/// The top-level sections of a component whose header is right.
pub(crate) fn sections(
    wasm: &[u8],
) -> Result<impl Iterator<Item = Result<Section<'_>, Refusal>>, Refusal> {
    let Some(rest) = wasm.strip_prefix(HEADER) else {
        let got = excerpt(&crate::hex::encode(wasm.get(..8).unwrap_or(wasm)));
        let remedy = "build a component, not a core module; a precompiled file cannot be signed";
        return Err(Refusal::new(
            RefusalCode::Format,
            "a component header 0061736d0d000100",
            got,
            remedy,
        ));
    };
    let mut reader = Some(Reader(rest));
    Ok(std::iter::from_fn(move || {
        let mut at = reader.take().filter(|at| !at.0.is_empty())?;
        let section = at.section().ok_or_else(|| {
            Refusal::format(
                "sections with ids, lengths and names in their only form",
                "a section without",
            )
        });
        // After an error there is nothing to go on from: `reader` stays empty.
        reader = section.is_ok().then_some(at);
        Some(section)
    }))
}

/// `name` and `payload` as a custom section.
pub(crate) fn custom_section(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = leb(name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(payload);
    [vec![CUSTOM], leb(body.len()), body].concat()
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn read_imports<'a>(body: &'a [u8], names: &mut Vec<&'a str>) -> Result<(), Refusal> {
    let wrong = || {
        Refusal::format(
            "imports in the binary form of the component model",
            "an import section without",
        )
    };
    let mut reader = Reader(body);
    for _ in 0..reader.u32().ok_or_else(wrong)? {
        let (name, needs_grant) = reader.import().ok_or_else(wrong)?;
        if names.len() == IMPORTS_MAX {
            let remedy = "drop imports that the plugin does not use";
            return Err(Refusal::new(RefusalCode::Size, "at most 1,000 imports", "more", remedy));
        }
        if needs_grant {
            names.push(name);
        }
    }
    if reader.0.is_empty() { Ok(()) } else { Err(wrong()) }
}

/// Reads the front of a slice; `None` where the bytes end or are not in their only form.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn section(&mut self) -> Option<Section<'a>> {
        let start = self.0;
        let id = self.byte().filter(|id| *id <= SECTION_ID_MAX)?;
        let body = self.bytes()?;
        let whole = start.get(..start.len().checked_sub(self.0.len())?)?;
        let custom = match id {
            CUSTOM => {
                let mut inner = Reader(body);
                Some((inner.name()?, inner.0))
            }
            _ => None,
        };
        Some(Section { custom, whole, id, body })
    }

    /// An import's name, and whether it is more than a type that equals one of the component's own.
    fn import(&mut self) -> Option<(&'a str, bool)> {
        self.byte().filter(|kind| *kind <= 1)?;
        let name = self.name()?;
        let needs_grant = match self.byte()? {
            0 => {
                self.byte().filter(|sort| *sort == 0x11)?;
                self.u32()?;
                true
            }
            // A type: equal to another one, or a fresh resource.
            3 => match self.byte()? {
                0 => {
                    self.u32()?;
                    false
                }
                1 => true,
                _ => return None,
            },
            // A function, a component or an instance. Values (2) are not part of the contract.
            1 | 4 | 5 => {
                self.u32()?;
                true
            }
            _ => return None,
        };
        Some((name, needs_grant))
    }

    fn name(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// An unsigned LEB128 number of 32 bits in its shortest form.
    fn u32(&mut self) -> Option<u32> {
        let mut value = 0u64;
        for place in 0..5 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || place == 0;
                return u32::try_from(value).ok().filter(|_| shortest);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_component_is_byte_for_byte_that_of_another_implementation() {
        let component = [HEADER.to_vec(), custom_section(MANIFEST, b"{}")].concat();
        let signed = crate::sign_component(&component, &SigningKey::from_seed(&[7; 32]));
        let golden = include_str!("../tests/golden/signature_section.hex");
        assert_eq!(crate::hex::encode(&signed.expect("signed")), golden.trim());
    }

    #[test]
    fn numbers_have_one_form() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 0xffff_ffff] {
            assert_eq!(Reader(&leb(value)).u32().map(|read| read as usize), Some(value));
        }
        for wrong in
            [&[][..], &[0x80], &[0x80, 0], &[0xff, 0], &[0xff, 0xff, 0xff, 0xff, 0x10], &[0x80; 6]]
        {
            assert_eq!(Reader(wrong).u32(), None, "{wrong:?}");
        }
    }
}

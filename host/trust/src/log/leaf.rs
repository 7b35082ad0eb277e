//! What the log holds of a release.
//!
//! ```text
//! entry = SHA-256( "AMT-1 leaf" ‖ SHA-256(PAE of the statement) ‖ count (1 byte)
//!                  ‖ sorted: SHA-256(public key, 32 bytes) ‖ signature (64 bytes) … )
//! ```
//! So a monitor that has the statement can attribute every signature to a key, a log index says when a
//! signature existed, and adding or dropping a signature is another entry.

use sha2::{Digest, Sha256};

use crate::dsse::Envelope;
use crate::keys::PublicKey;
use crate::refusal::{Refusal, RefusalCode, excerpt};

/// The 32 bytes that the log has as the entry of the release with this statement.
///
/// # Errors
/// `AMT-LOG` if a line names its key by anything but the key's text; else as the envelope's reader.
pub fn entry_of(dsse: &[u8]) -> Result<[u8; 32], Refusal> {
    entry(&Envelope::parse(dsse)?)
}

pub(crate) fn entry(envelope: &Envelope) -> Result<[u8; 32], Refusal> {
    let mut lines = Vec::new();
    for (id, signature) in &envelope.signatures {
        let key: PublicKey = id.parse().map_err(|_| {
            let expected = "signatures that name their keys as `ed25519:<hexadecimal>`";
            let remedy = "sign the statement with `aimass plugin sign`, which does";
            Refusal::new(RefusalCode::Log, expected, excerpt(id), remedy)
        })?;
        let hash: [u8; 32] = Sha256::digest(key.to_bytes()).into();
        lines.push([&hash[..], signature].concat());
    }
    lines.sort_unstable();
    let statement: [u8; 32] = Sha256::digest(envelope.message()).into();
    // An envelope has at most 16 signatures.
    let count = u8::try_from(lines.len()).unwrap_or(u8::MAX);
    let hash = Sha256::new_with_prefix(b"AMT-1 leaf").chain_update(statement).chain_update([count]);
    Ok(lines.iter().fold(hash, |hash, line| hash.chain_update(line)).finalize().into())
}

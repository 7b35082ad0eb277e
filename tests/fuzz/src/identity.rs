//! What tells the gateway who is asking: credentials, key files and key sets of issuers.
//!
//! The first byte chooses the parser; `j` is a token whose header and claims are the two lines that
//! follow, so that mutations reach what is inside the base64.

use crate::{digest, mix};
use aimass_gateway::fuzzing;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Reads what the bytes say; answers what happened, as numbers that tell executions apart.
///
/// # Panics
/// If a parser is wrong.
pub fn identity(bytes: &[u8]) -> Vec<u64> {
    let Some((&kind, rest)) = bytes.split_first() else { return Vec::new() };
    let (parser, outcome) = match kind {
        b'c' => ("credential", fuzzing::parse_credential(rest)),
        b'j' => ("token", fuzzing::parse_credential(token(rest).as_bytes())),
        b'k' => ("key file", fuzzing::parse_key_file(rest)),
        _ => ("key set", fuzzing::parse_key_set(rest)),
    };
    vec![mix(digest(parser.as_bytes()), outcome)]
}

/// A token with these lines as header and claims, and 64 zeros as signature.
fn token(lines: &[u8]) -> String {
    let middle = lines.iter().position(|&byte| byte == b'\n').unwrap_or(lines.len());
    let (header, claims) = lines.split_at(middle);
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let claims = claims.strip_prefix(b"\n").unwrap_or(claims);
    format!("{}.{}.{}", part(header), part(claims), part(&[0; 64]))
}

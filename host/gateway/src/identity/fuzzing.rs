//! What outsiders and operators write, as plain functions of bytes, for the fuzz targets: credentials
//! of requests, key files, and key sets of issuers.

use super::jwt::{KeySet, Token};
use super::{key_file, lifetime};
use std::path::Path;

/// Longest token that is taken apart, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Takes a credential apart as a request's is. Answers a number that tells outcomes apart.
pub fn parse_credential(bytes: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(bytes) else { return 0 };
    match Token::parse(text, TOKEN_BYTES_MAX) {
        Err(fault) => 1 + fault as u64,
        Ok(token) => {
            let until = token.valid_until(2_000_000_000, 60);
            let claims = token.claims.len().min(15) as u64;
            let roles =
                token.claim("/realm_access/roles").map_or(0, |roles| roles.to_string().len());
            1 << 8
                | claims << 9
                | u64::from(until.is_ok()) << 13
                | u64::from(token.is_for("aimass")) << 14
                | (roles.min(7) as u64) << 15
        }
    }
}

/// Reads a file of API keys. Answers a number that tells outcomes apart.
///
/// # Panics
/// If a record that is taken has an end that cannot be read again.
pub fn parse_key_file(bytes: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(bytes) else { return 0 };
    match key_file::read_text(Path::new("fuzz"), text) {
        Err(error) => 1 + u64::from(error.to_string().len().min(255) as u8),
        Ok(records) => {
            for (record, checked) in &records {
                let end = record.expires.as_ref().and_then(lifetime::unix_seconds);
                assert_eq!(end, checked.expires, "{record:?}");
            }
            1 << 16 | (records.len().min(255) as u64) << 17
        }
    }
}

/// Reads the key set of an issuer. Answers a number that tells outcomes apart.
pub fn parse_key_set(bytes: &[u8]) -> u64 {
    match KeySet::parse(bytes) {
        Err(error) => 1 + u64::from(error.to_string().len().min(255) as u8),
        Ok(keys) => 1 << 16 | (keys.len() as u64) << 17,
    }
}

//! What anybody may send to the gateway: bytes become a request, which is echoed.

use crate::{digest, mix};

/// Reads a request as `aimass_gateway::read_request` says; answers what came of it as events.
///
/// # Panics
/// If a reader or a writer of the gateway is wrong.
pub fn requests(bytes: &[u8]) -> Vec<u64> {
    let way = u64::from(bytes.first().copied().unwrap_or_default() % 6);
    let (kind, text) = match aimass_gateway::read_request(bytes) {
        Ok(shapes) => (1, shapes),
        Err(refusal) => (2, shape_of(&refusal)),
    };
    vec![mix(kind << 8 | way, digest(text.as_bytes()))]
}

/// The refusal without what came: numbers, and names in quotes.
fn shape_of(refusal: &str) -> String {
    let mut quoted = false;
    let mut kept = String::new();
    for letter in refusal.chars() {
        if letter == '"' || letter == '`' {
            quoted = !quoted;
        } else if !quoted && !letter.is_ascii_digit() {
            kept.push(letter);
        }
    }
    kept
}

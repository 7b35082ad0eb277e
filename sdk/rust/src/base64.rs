//! Base64 (RFC 4648 §4), padded or not, which is how JSON carries a file; line breaks are not taken.

use crate::error::{Error, Result};

/// The bytes that `text` stands for.
///
/// # Errors
/// `input/base64` for another character, or a length that no bytes have.
pub fn decode(text: &[u8]) -> Result<Vec<u8>> {
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let (digits, padding) = text.split_at(end);
    if digits.len() % 4 == 1 || padding.len() > 2 {
        let message = format!("expected base64, got {} characters of it", text.len());
        return Err(Error::input("base64", message));
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for (index, group) in digits.chunks(4).enumerate() {
        let mut bits = 0u32;
        for place in 0..4 {
            let digit = match group.get(place) {
                Some(&byte) => value(byte).ok_or_else(|| wrong(4 * index + place, byte))?,
                None => 0,
            };
            bits = bits << 6 | u32::from(digit);
        }
        let [_, first, second, third] = bits.to_be_bytes();
        bytes.extend_from_slice(&[first, second, third][..group.len() * 3 / 4]);
    }
    Ok(bytes)
}

fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

fn wrong(at: usize, byte: u8) -> Error {
    let byte = char::from(byte).escape_default().to_string();
    Error::input("base64", format!("expected base64, got `{byte}` at character {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_standard_are_decoded() {
        let check = |text: &str, bytes: &str| {
            assert_eq!(decode(text.as_bytes()), Ok(bytes.as_bytes().to_vec()), "{text}");
            let bare = text.trim_end_matches('=');
            assert_eq!(decode(bare.as_bytes()), Ok(bytes.as_bytes().to_vec()), "{bare}");
        };
        check("", "");
        check("Zg==", "f");
        check("Zm8=", "fo");
        check("Zm9v", "foo");
        check("Zm9vYmFy", "foobar");
        assert_eq!(decode(b"//+A"), Ok(vec![0xff, 0xff, 0x80]));
    }

    #[test]
    fn what_is_no_base64_is_refused_where_it_stops_to_be() {
        let message = |text: &[u8]| decode(text).map_err(|error| error.message).unwrap_err();
        assert_eq!(message(b"Zm9-"), "expected base64, got `-` at character 3");
        assert_eq!(message(b"Z"), "expected base64, got 1 characters of it");
        assert_eq!(message(b"Zg==="), "expected base64, got 5 characters of it");
    }
}

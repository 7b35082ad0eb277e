//! Texts without secrets: API keys, credentials of `Authorization` headers and of URLs, private keys.
//!
//! A net below code that does not log secrets in the first place, and not a reason to log them.

use std::borrow::Cow;

/// What stands for a secret.
const HIDDEN: &str = "***";
/// `am_`, eight characters of id, `_`: what may be shown of an API key.
const KEY_SHOWN: usize = 12;
/// Words before a secret, up to `=` or `:`; compared without case.
const NAMES: [&str; 7] =
    ["authorization", "password", "passphrase", "secret", "token", "api_key", "apikey"];
/// Schemes before a credential; compared without case.
const SCHEMES: [&str; 3] = ["bearer", "basic", "dpop"];

/// The text with every secret that can be told from its form replaced by `***`.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let mut hidden: Vec<(usize, usize)> = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match secret_at(bytes, at) {
            Some((start, end)) => {
                hidden.push((start, end));
                at = end.max(at + 1);
            }
            None => at += 1,
        }
    }
    if hidden.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for (start, end) in hidden {
        out.push_str(&text[from..start]);
        out.push_str(HIDDEN);
        from = end;
    }
    out.push_str(&text[from..]);
    Cow::Owned(out)
}

/// Start and end of the secret whose sign starts at `at`. All borders are beside ASCII characters.
fn secret_at(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = &bytes[at..];
    match rest[0] {
        b'a' if rest.starts_with(b"am_") => api_key(rest).map(|(from, to)| (at + from, at + to)),
        b':' if rest.starts_with(b"://") => url(rest).map(|(from, to)| (at + from, at + to)),
        b'-' if rest.starts_with(b"-----BEGIN ") => {
            pem(rest).map(|(from, to)| (at + from, at + to))
        }
        byte if byte.is_ascii_alphabetic() && word_starts(bytes, at) => {
            named(rest).map(|(from, to)| (at + from, at + to))
        }
        _ => None,
    }
}

fn word_starts(bytes: &[u8], at: usize) -> bool {
    at == 0 || !bytes[at - 1].is_ascii_alphanumeric()
}

fn api_key(rest: &[u8]) -> Option<(usize, usize)> {
    let end = 3 + length(&rest[3..], |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    (end > KEY_SHOWN).then_some((KEY_SHOWN, end))
}

/// `user:password@` behind `://`.
fn url(rest: &[u8]) -> Option<(usize, usize)> {
    let authority =
        length(&rest[3..], |byte| !byte.is_ascii_whitespace() && !b"/?#\"'".contains(&byte));
    let at = rest[3..3 + authority].iter().rposition(|&byte| byte == b'@')?;
    Some((3, 3 + at))
}

/// A block of a private key, from behind its first line.
fn pem(rest: &[u8]) -> Option<(usize, usize)> {
    let line = length(rest, |byte| byte != b'\n' && byte != b'\\');
    let is_private = rest[..line].windows(11).any(|window| window == b"PRIVATE KEY");
    let end = rest[line..].windows(9).position(|window| window == b"-----END ");
    is_private.then_some((line, end.map_or(rest.len(), |end| line + end)))
}

/// A credential behind its scheme, or a value behind the name of a secret.
fn named(rest: &[u8]) -> Option<(usize, usize)> {
    let word = length(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is = |names: &[&str]| {
        names.iter().any(|name| rest[..word].eq_ignore_ascii_case(name.as_bytes()))
    };
    if is(&SCHEMES) {
        let gap = length(&rest[word..], |byte| byte == b' ');
        let value = length(&rest[word + gap..], is_value);
        // Shorter words are prose: "basic trust".
        return (gap > 0 && value >= 8).then_some((word + gap, word + gap + value));
    }
    if !is(&NAMES) {
        return None;
    }
    let sign = length(&rest[word..], |byte| b"\"' ".contains(&byte));
    let found = rest.get(word + sign).filter(|byte| b"=:".contains(byte));
    let gap = word + sign + 1;
    found?;
    let gap = gap + length(&rest[gap..], |byte| b"\"' \\".contains(&byte));
    let mut end = gap + length(&rest[gap..], is_value);
    // `Authorization: Bearer …` has its secret behind one more word.
    let scheme = SCHEMES.iter().any(|one| rest[gap..end].eq_ignore_ascii_case(one.as_bytes()));
    if scheme {
        end += length(&rest[end..], |byte| byte == b' ');
        end += length(&rest[end..], is_value);
    }
    (end > gap).then_some((gap, end))
}

fn is_value(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !b"\"'&,;)}\\".contains(&byte)
}

fn length(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !is(byte)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (text, expected) in [
            ("plain text, ä basic idea", "plain text, ä basic idea"),
            ("key am_01234567_abcDEF-_9 end", "key am_01234567_*** end"),
            ("am_short", "am_short"),
            ("Authorization: Bearer abc.def", "Authorization: ***"),
            ("\"authorization\": \"Basic dXNlcg==\"", "\"authorization\": \"***\""),
            ("sent bearer eyJhbGciOi.x.y, then", "sent bearer ***, then"),
            ("https://user:pa@ss@host/p?token=abc&x=1", "https://***@host/p?token=***&x=1"),
            ("http://host/a@b", "http://host/a@b"),
            ("password=hunter2; secret: 'x'", "password=***; secret: '***'"),
            ("the token was refused", "the token was refused"),
            ("tokens=5 secretary=me", "tokens=5 secretary=me"),
            (
                "-----BEGIN PRIVATE KEY-----\nMC4\n-----END PRIVATE KEY-----",
                "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----",
            ),
            ("-----BEGIN CERTIFICATE-----\nMC4", "-----BEGIN CERTIFICATE-----\nMC4"),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }

    #[test]
    fn any_text_is_taken_without_a_panic() {
        let pieces =
            ["am_", "ä", "://", "@", "bearer ", "token=", "-----BEGIN ", "PRIVATE KEY", "\n"];
        for first in pieces {
            for second in pieces {
                for third in pieces {
                    let text = format!("{first}{second}ß{third}");
                    let _ = redacted(&text);
                }
            }
        }
        assert_eq!(redacted(&"am_".repeat(100_000)).len(), 15);
    }
}

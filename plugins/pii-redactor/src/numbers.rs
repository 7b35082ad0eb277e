//! Numbers that people write in groups: cards, bank accounts, telephones.

/// Digits of a card number (ISO/IEC 7812-1).
const CARD_DIGITS: core::ops::RangeInclusive<usize> = 13..=19;

/// Digits of a telephone number: fewer are rather a date or an amount, more E.164 does not allow.
const PHONE_DIGITS: core::ops::RangeInclusive<usize> = 8..=15;

/// Countries and lengths of their IBANs (SWIFT IBAN registry).
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 \
    CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 \
    HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 \
    MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 \
    SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

/// Length of the card number that the text starts with: groups by one space or hyphen, the Luhn checksum
/// holds, and the digits are not all the same.
pub(crate) fn card(text: &str) -> Option<usize> {
    let (digits, len) = grouped(text, |byte| byte.is_ascii_digit(), *CARD_DIGITS.end() + 1)?;
    let varied = digits.iter().any(|digit| *digit != digits[0]);
    (CARD_DIGITS.contains(&digits.len()) && varied && luhn(&digits)).then_some(len)
}

/// Length of the IBAN that the text starts with: of its country's length, and mod 97 holds.
pub(crate) fn iban(text: &str) -> Option<usize> {
    let country = text.get(..2).filter(|it| it.bytes().all(|byte| byte.is_ascii_uppercase()))?;
    let entry = IBAN_LENGTHS.split_whitespace().find(|entry| entry.starts_with(country))?;
    let length: usize = entry[2..].parse().ok()?;
    let allowed = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    let (signs, len) = taken(text, allowed, length)?;
    (signs.len() == length && mod_97(&signs) == 1).then_some(len)
}

/// Length of the telephone number that the text starts with: `+` and digits in groups, or digits in groups
/// that start with 0 or a bracket. Groups are kept apart by a space, hyphen, dot, slash or brackets.
pub(crate) fn phone(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let first = *bytes.first()?;
    let mut groups = usize::from(first == b'+' || first == b'(');
    let mut digits = 0;
    let mut end = 0;
    let mut open = 0_i32;
    for (at, byte) in bytes.iter().enumerate().take(40) {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                end = at + 1;
            }
            b'+' if at == 0 => {}
            b'(' => open += 1,
            b')' if open > 0 => open -= 1,
            b' ' | b'-' | b'.' | b'/' | b')' => {}
            _ => break,
        }
        let separator = !byte.is_ascii_digit();
        let doubled = at > 0 && bytes[at - 1] == *byte;
        if separator && doubled {
            break;
        }
        groups += usize::from(separator && at > 0 && digits > 0 && bytes[at - 1].is_ascii_digit());
    }
    let international =
        first == b'+' && bytes.get(1).is_some_and(|byte| matches!(byte, b'1'..=b'9'));
    let national = matches!(first, b'0' | b'(') && groups >= 1;
    // Digits that go on belong to a longer number.
    let whole = !text[end..].chars().next().is_some_and(char::is_alphanumeric);
    let dated = text[..end].bytes().filter(|byte| *byte == b'.' || *byte == b'/').count() >= 2
        && digits <= 8;
    let valid = PHONE_DIGITS.contains(&digits) && whole && !dated;
    (valid && (international || national)).then_some(end)
}

/// The digits that the text starts with, in groups by one space or hyphen, and their length in bytes; none
/// if `max` digits come or another letter follows.
fn grouped(text: &str, allowed: fn(u8) -> bool, max: usize) -> Option<(Vec<u8>, usize)> {
    let (signs, len) = taken(text, allowed, max)?;
    let whole = !text[len..].chars().next().is_some_and(char::is_alphanumeric);
    (signs.len() < max && whole).then_some((signs, len))
}

/// At most `max` signs that the text starts with, with single spaces or hyphens between them.
fn taken(text: &str, allowed: fn(u8) -> bool, max: usize) -> Option<(Vec<u8>, usize)> {
    let mut signs = Vec::with_capacity(max);
    let mut end = 0;
    for (at, byte) in text.bytes().enumerate() {
        if allowed(byte) {
            signs.push(byte);
            end = at + 1;
        } else if !matches!(byte, b' ' | b'-') || end != at || at == 0 {
            break;
        }
        if signs.len() == max {
            break;
        }
    }
    let whole = !text[end..].chars().next().is_some_and(char::is_alphanumeric);
    (end > 0 && whole).then_some((signs, end))
}

/// ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let digits = digits.iter().rev().map(|digit| u32::from(digit - b'0')).enumerate();
    let sum: u32 = digits.map(|(at, digit)| if at % 2 == 1 { doubled(digit) } else { digit }).sum();
    sum.is_multiple_of(10)
}

/// ISO/IEC 7064 mod 97-10 over the signs with the first four moved to the end.
fn mod_97(signs: &[u8]) -> u32 {
    let (head, tail) = signs.split_at(4.min(signs.len()));
    tail.iter().chain(head).fold(0, |rest, sign| match sign {
        b'0'..=b'9' => (rest * 10 + u32::from(sign - b'0')) % 97,
        _ => (rest * 100 + u32::from(sign - b'A') + 10) % 97,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of: fn(&str) -> Option<usize>, found: &[&str], not: &[&str]) {
        for text in found {
            assert_eq!(of(text), Some(text.len()), "{text}");
            assert_eq!(of(&format!("{text}. ")), Some(text.len()), "{text}");
        }
        for text in not {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn cards_have_13_to_19_digits_and_a_checksum() {
        let found = [
            "4111111111111111",
            "5500 0000 0000 0004",
            "3400-0000-0000-009",
            "4222222222222",
            "6304000000000000000",
        ];
        let not = [
            "4111111111111112",
            "411111111111",
            "0000000000000000",
            "41111111111111111111",
            "4111--1111-1111-1111",
            "4111111111111111a",
            " 4111111111111111",
        ];
        check(card, &found, &not);
    }

    #[test]
    fn ibans_have_their_countrys_length_and_a_checksum() {
        let found = [
            "DE89370400440532013000",
            "GB29 NWBK 6016 1331 9268 19",
            "NO9386011117947",
            "FR1420041010050500013M02606",
            "MT84MALT011000012345MTLCAST001S",
        ];
        let not = [
            "DE88370400440532013000",
            "DE8937040044053201300",
            "XX89370400440532013000",
            "de89370400440532013000",
            "DE893704004405320130001",
            "DE",
        ];
        check(iban, &found, &not);
    }

    #[test]
    fn telephone_numbers_are_told_from_other_numbers() {
        let found = [
            "+4930123456",
            "+1 (555) 010-9999",
            "030/1234567",
            "(555) 010-9999",
            "089 12 34 56 78",
            "+86 138 0013 8000",
            "0170-1234567",
        ];
        let not = [
            "12345678",
            "2026-11-22",
            "01.02.2026",
            "+0123456789",
            "030 1234",
            "00000000",
            "+1234567890123456",
            "1 000 000 000",
            "+49 30 123456x",
        ];
        check(phone, &found, &not);
    }
}

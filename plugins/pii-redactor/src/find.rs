//! Where a text holds something of a known form.
//!
//! One pass: candidates start at a boundary of words, the kinds are tried in an order that gives the more
//! exact form the way (an IBAN before a card, a card before a phone number), and a finding is not
//! looked at again. Each candidate has a bounded length, so that time grows with the text.

use core::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;

use crate::numbers;

/// Bytes of an e-mail address at most (RFC 5321 §4.5.3.1): local part, then domain.
const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 255;

/// What a finding is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Email,
    Card,
    Iban,
    Ip,
    Phone,
}

impl Kind {
    /// As the configuration and the answer name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Email => "email",
            Kind::Card => "card",
            Kind::Iban => "iban",
            Kind::Ip => "ip",
            Kind::Phone => "phone",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kinds(u8);

impl Kinds {
    /// Every kind.
    pub(crate) const ALL: Kinds = Kinds(0xff);

    /// These kinds.
    pub(crate) fn of(kinds: &[Kind]) -> Kinds {
        Kinds(kinds.iter().fold(0, |set, kind| set | 1 << *kind as u8))
    }

    fn has(self, kind: Kind) -> bool {
        self.0 >> kind as u8 & 1 == 1
    }
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Everything that is found, in order; no two findings overlap.
pub(crate) fn findings(text: &str, kinds: Kinds) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut done = 0;
    let mut before = [' '; 2];
    for (start, c) in text.char_indices() {
        // A number that follows another one and a dot is the rest of a longer one.
        let inside = before[1].is_alphanumeric() || before[1] == '.' && before[0].is_numeric();
        before = [before[1], c];
        if start < done {
            continue;
        }
        if c == '@' && kinds.has(Kind::Email) {
            if let Some(email) = email(text, start, done) {
                // A local part of digits may have been taken for a number.
                done = email.end;
                found.push(email);
            }
            continue;
        }
        if inside {
            continue;
        }
        if let Some((kind, len)) = starts(&text[start..], kinds)
            && !continues_as_email(&text[start + len..], kinds)
        {
            done = start + len;
            found.push(Finding { kind, start, end: done });
        }
    }
    found
}

/// Length of what the text starts with if it has a form.
type Form = fn(&str) -> Option<usize>;

/// Kind and length of what the text starts with.
fn starts(text: &str, kinds: Kinds) -> Option<(Kind, usize)> {
    let tries: [(Kind, Form); 4] = [
        (Kind::Iban, numbers::iban),
        (Kind::Ip, ip),
        (Kind::Card, numbers::card),
        (Kind::Phone, numbers::phone),
    ];
    let wanted = tries.into_iter().filter(|(kind, _)| kinds.has(*kind));
    wanted.into_iter().find_map(|(kind, of)| Some((kind, of(text)?)))
}

/// Whether what was found is the local part of an address.
fn continues_as_email(rest: &str, kinds: Kinds) -> bool {
    kinds.has(Kind::Email) && rest.starts_with('@') && domain(&rest[1..]).is_some()
}

/// The address around the `@` at `at`, not before `done`.
fn email(text: &str, at: usize, done: usize) -> Option<Finding> {
    let local = |c: char| c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
    let mut start = at;
    for (place, c) in text[done..at].char_indices().rev() {
        if !local(c) || at - (done + place) > LOCAL_BYTES_MAX {
            break;
        }
        start = done + place;
    }
    // Signs at the start are rather quotes or brackets than a part of it.
    let name = text[start..at].trim_start_matches(|c: char| !c.is_alphanumeric() && c != '_');
    let valid = !name.is_empty() && !name.ends_with('.') && !name.contains("..");
    let len = domain(&text[at + 1..]).filter(|_| valid)?;
    Some(Finding { kind: Kind::Email, start: at - name.len(), end: at + 1 + len })
}

/// Length of the domain name of two labels or more that the text starts with.
fn domain(text: &str) -> Option<usize> {
    let mut end = 0;
    let mut labels = 0;
    loop {
        let rest = &text[end..];
        let label = rest.find(|c: char| !c.is_alphanumeric() && c != '-').unwrap_or(rest.len());
        let label = rest[..label].trim_end_matches('-').len();
        if label == 0 || rest.starts_with('-') || end + label > DOMAIN_BYTES_MAX {
            break;
        }
        labels += 1;
        end += label;
        if !text[end..].starts_with('.') {
            break;
        }
        end += 1;
    }
    let name = text[..end].trim_end_matches('.');
    let top = name.rsplit('.').next().unwrap_or_default();
    let letters = top.chars().count() >= 2 && top.chars().any(char::is_alphabetic);
    (labels >= 2 && letters && name.contains('.')).then_some(name.len())
}

/// Length of the IPv4 or IPv6 address that the text starts with.
fn ip(text: &str) -> Option<usize> {
    let end =
        text.bytes().take(46).position(|b| !(b.is_ascii_hexdigit() || b == b'.' || b == b':'));
    let candidate = text[..end.unwrap_or(text.len().min(46))].trim_end_matches(['.', ':']);
    // A run that goes on with letters is a word.
    if text[candidate.len()..].chars().next().is_some_and(char::is_alphanumeric) {
        return None;
    }
    let port = candidate.split_once(':').map_or(candidate, |(address, _)| address);
    if port.parse::<Ipv4Addr>().is_ok() {
        return Some(port.len());
    }
    // Two groups or fewer are rather a time than an address.
    let groups = candidate.bytes().filter(|byte| *byte == b':').count();
    let address = if candidate.len() < text.len() && text[candidate.len()..].starts_with("::") {
        &text[..candidate.len() + 2]
    } else {
        candidate
    };
    let six = groups >= 2 && address.parse::<Ipv6Addr>().is_ok();
    six.then_some(address.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let found = findings(text, Kinds::ALL);
        let found: Vec<_> =
            found.iter().map(|found| (found.kind.name(), &text[found.start..found.end])).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn addresses_are_found_in_sentences() {
        check(
            "Write to <jane.doe+x@mail.example.org>.",
            &[("email", "jane.doe+x@mail.example.org")],
        );
        check(
            "'müller@straße.de', or b@c.io!",
            &[("email", "müller@straße.de"), ("email", "b@c.io")],
        );
        check("4111111111111111@bank.example", &[("email", "4111111111111111@bank.example")]);
        check("a@b a@b.1 @c.de a..b@c.de x.@c.de a@-b.de a@b.c", &[]);
        let local = "a".repeat(LOCAL_BYTES_MAX);
        check(&format!("{local}@b.de"), &[("email", &format!("{local}@b.de"))]);
    }

    #[test]
    fn ip_addresses_are_told_from_times_and_versions() {
        check("at 192.168.0.1:8080, 10.0.0.255.", &[("ip", "192.168.0.1"), ("ip", "10.0.0.255")]);
        check(
            "2001:db8::8a2e:370:7334 and fe80::1!",
            &[("ip", "2001:db8::8a2e:370:7334"), ("ip", "fe80::1")],
        );
        check("12:30:45, 1.2.3, 256.1.1.1, v1.2.3.4, 1.2.3.4.5, dead:beef", &[]);
    }

    #[test]
    fn the_more_exact_form_wins() {
        check("DE89 3704 0044 0532 0130 00", &[("iban", "DE89 3704 0044 0532 0130 00")]);
        check("card 4111-1111-1111-1111.", &[("card", "4111-1111-1111-1111")]);
        check("call +49 (30) 123456-78", &[("phone", "+49 (30) 123456-78")]);
        check("order 20261117001", &[]);
    }

    #[test]
    fn only_what_is_asked_for_is_found() {
        let text = "a@b.de 10.0.0.1 4111111111111111";
        let found = findings(text, Kinds::of(&[Kind::Ip]));
        assert_eq!(found, [Finding { kind: Kind::Ip, start: 7, end: 15 }]);
    }

    #[test]
    fn time_grows_with_the_text() {
        for text in ["@", "a@", "1", "1 ", "+1-", "DE", "1.", "a:", "::", "a.b@"] {
            let long = text.repeat((1 << 20) / text.len());
            let start = std::time::Instant::now();
            findings(&long, Kinds::ALL);
            assert!(start.elapsed().as_secs() < 10, "{text:?} took {:?}", start.elapsed());
        }
    }

    proptest! {
        #[test]
        fn findings_are_in_order_and_cut_no_character(text in "[a-c1-9@. +:é\u{300}()DE-]{0,80}") {
            let mut done = 0;
            for found in findings(&text, Kinds::ALL) {
                prop_assert!(done <= found.start && found.start < found.end);
                prop_assert!(text.get(found.start..found.end).is_some());
                done = found.end;
            }
        }

        #[test]
        fn addresses_of_the_common_form_are_found(
            text in "[a-z]{1,10}(\\.[a-z0-9]{1,8})?@[a-z]{1,10}\\.[a-z]{2,6}",
        ) {
            let around = format!("see {text}, please");
            let found = findings(&around, Kinds::ALL);
            prop_assert_eq!(found, [Finding { kind: Kind::Email, start: 4, end: 4 + text.len() }]);
        }
    }
}

//! Names that look like a protected one: at most one edit away, unless the root permits them.
//!
//! An edit is a character added, dropped or changed, or two neighbors swapped. A root lists who is
//! protected and who may be close, since only its threshold should be able to say so.

use crate::names::PackageName;
use crate::refusal::{Refusal, RefusalCode, excerpt};
use crate::tuf::metadata::NameRules;

impl NameRules {
    /// Checks a package's name, and its publisher's, against the protected ones.
    ///
    /// # Errors
    /// `AMT-NAME` naming the protected one that it is close to.
    pub(crate) fn check(&self, name: &PackageName) -> Result<(), Refusal> {
        let permitted = |text: &str| self.permitted.iter().any(|one| one == text);
        if permitted(name.as_str()) || permitted(name.publisher()) {
            return Ok(());
        }
        let close = |protected: &&String| {
            let own = if protected.contains('/') { name.as_str() } else { name.publisher() };
            own != protected.as_str() && one_edit(own.as_bytes(), protected.as_bytes())
        };
        // A protected publisher's own names may be close to one another.
        let same_publisher = |protected: &&String| {
            protected.split('/').next() == Some(name.publisher()) && protected.contains('/')
        };
        match self.protected.iter().filter(|one| !same_publisher(one)).find(close) {
            None => Ok(()),
            Some(protected) => Err(Refusal::new(
                RefusalCode::Name,
                format!("a name that nobody takes for the protected `{}`", excerpt(protected)),
                name.as_str(),
                "ask for the package that you meant; a name that is meant so needs a permission in the marketplace's root",
            )),
        }
    }
}

/// Whether one edit, or none, makes `a` to `b`.
fn one_edit(a: &[u8], b: &[u8]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let same = short.iter().zip(long).take_while(|(one, other)| one == other).count();
    let (short, long) = (&short[same..], &long[same..]);
    match long.len() - short.len() {
        0 => match (short, long) {
            ([], []) => true,
            ([_, rest @ ..], [_, others @ ..]) if rest == others => true,
            ([a, b, rest @ ..], [c, d, others @ ..]) => a == d && b == c && rest == others,
            ([_] | [], _) | (_, [] | [_]) => false,
        },
        1 => short == &long[1..],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_edit_is_one_character_or_one_swap() {
        for (a, b) in [
            ("acme", "acme"),
            ("acme", "acne"),
            ("acme", "acm"),
            ("acme", "cme"),
            ("acme", "aacme"),
            ("acme", "acmes"),
            ("acme", "acem"),
            ("acme", "came"),
            ("", "a"),
            ("ab", "ba"),
        ] {
            assert!(
                one_edit(a.as_bytes(), b.as_bytes()) && one_edit(b.as_bytes(), a.as_bytes()),
                "{a} {b}"
            );
        }
        for (a, b) in [
            ("acme", "ac"),
            ("acme", "mace"),
            ("acme", "acne1"),
            ("acme", "emca"),
            ("", "ab"),
            ("abc", "cba"),
        ] {
            assert!(
                !one_edit(a.as_bytes(), b.as_bytes()) && !one_edit(b.as_bytes(), a.as_bytes()),
                "{a} {b}"
            );
        }
    }

    #[test]
    fn close_names_need_a_permission() {
        let text = |names: &[&str]| names.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let mut rules =
            NameRules { protected: text(&["acme", "tools/onnx"]), permitted: Vec::new() };
        let refused =
            |rules: &NameRules, name: &str| rules.check(&name.parse().expect("a name")).is_err();
        for name in ["acme/xx", "tools/onnx", "tools/onn", "other/onnx", "axme1/xx"] {
            assert!(!refused(&rules, name), "{name}");
        }
        for name in ["acne/xx", "amce/xx", "acm/xx", "tool/onnx", "too1s/onnx"] {
            assert!(refused(&rules, name), "{name}");
        }
        rules.permitted = text(&["acne", "tool/onnx"]);
        assert!(!refused(&rules, "acne/xx") && !refused(&rules, "tool/onnx"));
        assert!(refused(&rules, "acm/xx"));
    }
}

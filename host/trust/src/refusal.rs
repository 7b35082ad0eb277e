//! Why a package was refused: a code, what was expected, what came, and what to do about it.

use std::fmt;

/// The check that failed. Each has one text (`AMT-SIG`), one CLI exit code and one problem type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusalCode {
    /// A file is larger than its limit.
    Size,
    /// The host's clock cannot be right.
    Clock,
    /// The chain of root metadata is broken: a wrong version, or too few keys of the old or new root.
    Root,
    /// Too few different keys of its role signed a metadata file, or a signature on it does not hold.
    Threshold,
    /// Metadata files that do not belong together.
    Mix,
    /// The statement, metadata, or the publisher's entry in the policy is not valid now.
    Expired,
    /// The release or metadata is not newer than what was seen before.
    Rollback,
    /// The name breaks the rules, is not the one that was asked for, or is not the publisher's to use.
    Name,
    /// The bytes are not those that the statement speaks of.
    Digest,
    /// There is no signature at all.
    Unsigned,
    /// A file does not have the exact form that AMT-1 prescribes.
    Format,
    /// The signing key is not one that the policy lists for this publisher.
    Key,
    /// A signature does not hold: the bytes were changed after signing.
    Sig,
    /// Too few reviewers signed.
    Review,
    /// Statement, manifest and component contradict one another.
    Bind,
    /// The release is not in the transparency log, or too few witnesses saw the log so.
    Log,
    /// The log shows different histories to different people.
    Equivocation,
    /// The release, its key or its publisher was revoked.
    Revoked,
    /// The package asks for, or imports, more than it may have.
    Cap,
    /// The component does not compile for this host.
    Compile,
}

impl RefusalCode {
    /// Every code, in the order of the checks.
    pub const ALL: [RefusalCode; 20] = [
        RefusalCode::Size,
        RefusalCode::Clock,
        RefusalCode::Root,
        RefusalCode::Threshold,
        RefusalCode::Mix,
        RefusalCode::Expired,
        RefusalCode::Rollback,
        RefusalCode::Name,
        RefusalCode::Digest,
        RefusalCode::Unsigned,
        RefusalCode::Format,
        RefusalCode::Key,
        RefusalCode::Sig,
        RefusalCode::Review,
        RefusalCode::Bind,
        RefusalCode::Log,
        RefusalCode::Equivocation,
        RefusalCode::Revoked,
        RefusalCode::Cap,
        RefusalCode::Compile,
    ];

    /// The code as it appears in messages, logs and metrics, such as `AMT-SIG`.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalCode::Size => "AMT-SIZE",
            RefusalCode::Clock => "AMT-CLOCK",
            RefusalCode::Root => "AMT-ROOT",
            RefusalCode::Threshold => "AMT-THRESHOLD",
            RefusalCode::Mix => "AMT-MIX",
            RefusalCode::Expired => "AMT-EXPIRED",
            RefusalCode::Rollback => "AMT-ROLLBACK",
            RefusalCode::Name => "AMT-NAME",
            RefusalCode::Digest => "AMT-DIGEST",
            RefusalCode::Unsigned => "AMT-UNSIGNED",
            RefusalCode::Format => "AMT-FORMAT",
            RefusalCode::Key => "AMT-KEY",
            RefusalCode::Sig => "AMT-SIG",
            RefusalCode::Review => "AMT-REVIEW",
            RefusalCode::Bind => "AMT-BIND",
            RefusalCode::Log => "AMT-LOG",
            RefusalCode::Equivocation => "AMT-EQUIVOCATION",
            RefusalCode::Revoked => "AMT-REVOKED",
            RefusalCode::Cap => "AMT-CAP",
            RefusalCode::Compile => "AMT-COMPILE",
        }
    }

    /// Exit code of the command line, 20 to 33: 20 plus the step of AMT-1's verification order.
    pub fn exit_code(self) -> u8 {
        match self {
            RefusalCode::Size => 20,
            RefusalCode::Clock => 21,
            RefusalCode::Root
            | RefusalCode::Threshold
            | RefusalCode::Mix
            | RefusalCode::Expired
            | RefusalCode::Rollback => 22,
            RefusalCode::Name => 23,
            RefusalCode::Digest => 24,
            RefusalCode::Unsigned | RefusalCode::Format => 25,
            RefusalCode::Key => 26,
            RefusalCode::Sig => 27,
            RefusalCode::Review => 28,
            RefusalCode::Bind => 29,
            RefusalCode::Log | RefusalCode::Equivocation => 30,
            RefusalCode::Revoked => 31,
            RefusalCode::Cap => 32,
            RefusalCode::Compile => 33,
        }
    }

    /// The `type` of the RFC 9457 problem, such as `urn:aimass:problem:trust:AMT-SIG`.
    pub fn problem_type(self) -> String {
        format!("urn:aimass:problem:trust:{}", self.as_str())
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A package or statement was refused. Text that came from the package is escaped and cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: expected {expected}, got {got}. Remedy: {remedy}")]
pub struct Refusal {
    /// Which check failed.
    pub code: RefusalCode,
    /// What would have been accepted.
    pub expected: String,
    /// What was there instead.
    pub got: String,
    /// What the operator or the publisher can do about it, as a sentence without its full stop.
    pub remedy: String,
}

impl Refusal {
    /// A refusal by the check `code`. An empty `got` reads as `nothing`.
    pub fn new(
        code: RefusalCode,
        expected: impl Into<String>,
        got: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let mut got = got.into();
        if got.is_empty() {
            got.push_str("nothing");
        }
        Refusal { code, expected: expected.into(), got, remedy: remedy.into() }
    }

    /// Whether the operator alone can let the release in: it asks for more than the one that runs.
    pub fn waits_for_approval(&self) -> bool {
        self.code == RefusalCode::Cap && self.remedy == APPROVE
    }

    /// A refusal of a form that only damage, or a foreign tool, can produce.
    pub(crate) fn format(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::new(RefusalCode::Format, expected, got, GET_AGAIN)
    }
}

/// The remedy where a release asks for more than the one that runs.
pub(crate) const APPROVE: &str =
    "look at the change, then approve it with `aimass plugin approve`, or keep the running release";

/// The remedy where the bytes are not what their publisher made.
pub(crate) const GET_AGAIN: &str =
    "get the package again from its publisher, or sign it again with `aimass plugin sign`";

/// Text of a stranger made fit for a message: escaped, and cut after 120 characters.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 120;
    let mut short: String =
        text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_has_its_own_text_and_an_exit_code_in_range() {
        let texts: BTreeSet<_> = RefusalCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), RefusalCode::ALL.len());
        for code in RefusalCode::ALL {
            assert!((20..=33).contains(&code.exit_code()), "{code}");
            assert!(code.problem_type().ends_with(code.as_str()));
        }
    }

    #[test]
    fn a_message_says_expected_got_and_remedy_and_escapes_strangers() {
        let refusal =
            Refusal::new(RefusalCode::Name, "a name", excerpt("a\u{1b}[2J\n"), "ask again");
        let text = refusal.to_string();
        assert_eq!(text, r"AMT-NAME: expected a name, got a\u{1b}[2J\n. Remedy: ask again");
        assert!(excerpt(&"x".repeat(1 << 20)).len() < 200);
    }
}

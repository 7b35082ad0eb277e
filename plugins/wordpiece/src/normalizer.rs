//! BERT's normalizer: removes control characters, isolates ideographs, strips accents, lowers case.

use unicode_normalization_alignments::UnicodeNormalization;

use crate::characters::{Kind, Kinds};

/// Which steps run, in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Steps {
    /// Whether control characters go and every blank becomes a space.
    pub(crate) clean_text: bool,
    /// Whether ideographs get spaces around them.
    pub(crate) isolate_ideographs: bool,
    /// Whether text is decomposed (NFD) and nonspacing marks go.
    pub(crate) strip_accents: bool,
    /// Whether letters become small.
    pub(crate) lowercase: bool,
}

impl Steps {
    /// Whether a character ends what can be normalized on its own: words never reach across it.
    pub(crate) fn separates(self, kind: Kind) -> bool {
        kind.is(Kind::SPACE) && !(self.clean_text && kind.is(Kind::CONTROL))
    }

    /// Appends the normalized `text` to `out`.
    pub(crate) fn apply(self, kinds: &Kinds, text: &str, out: &mut String) {
        if self.strip_accents && text.chars().any(|c| kinds.of(c).is(Kind::DECOMPOSES)) {
            let cleaned = text.chars().flat_map(|c| self.clean(kinds.of(c), c));
            for (c, _) in cleaned.nfd() {
                self.finish(kinds.of(c), c, out);
            }
        } else {
            for c in text.chars().flat_map(|c| self.clean(kinds.of(c), c)) {
                self.finish(kinds.of(c), c, out);
            }
        }
    }

    /// What comes of a character before decomposition: nothing, itself, or itself between spaces.
    fn clean(self, kind: Kind, c: char) -> impl Iterator<Item = char> + use<> {
        let removed = self.clean_text && kind.is(Kind::CONTROL);
        let isolated = !removed && self.isolate_ideographs && kind.is(Kind::IDEOGRAPH);
        let c = if self.clean_text && kind.is(Kind::SPACE) { ' ' } else { c };
        let space = isolated.then_some(' ');
        space.into_iter().chain((!removed).then_some(c)).chain(space)
    }

    fn finish(self, kind: Kind, c: char, out: &mut String) {
        if self.strip_accents && kind.is(Kind::MARK) {
            return;
        }
        if self.lowercase && kind.is(Kind::UPPER) {
            out.extend(c.to_lowercase());
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Steps =
        Steps { clean_text: true, isolate_ideographs: true, strip_accents: true, lowercase: true };

    #[track_caller]
    fn check(steps: Steps, text: &str, expected: &str) {
        let mut out = String::new();
        steps.apply(&Kinds::new(), text, &mut out);
        assert_eq!(out, expected, "{text:?}");
    }

    #[test]
    fn each_step_does_its_part() {
        check(ALL, "Zoë\u{200b}\tÅb", "zoe ab");
        check(ALL, "a中b", "a 中 b");
        check(ALL, "İstanbul", "istanbul");
        check(ALL, "e\u{323}\u{301}", "e");
        check(Steps { strip_accents: false, ..ALL }, "Zoë İ", "zoë i\u{307}");
        check(Steps { lowercase: false, ..ALL }, "Zoë", "Zoe");
        check(Steps { isolate_ideographs: false, ..ALL }, "a中b", "a中b");
        check(Steps { clean_text: false, ..ALL }, "a\u{1}\tb", "a\u{1}\tb");
    }
}

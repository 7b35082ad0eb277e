//! Models that know whole words: WordPiece (arXiv:1609.08144 §4.1), which cuts a word into the longest
//! pieces from its start, and WordLevel, which does not cut.

use aimass_sdk::prelude::*;

use crate::trie::{Place, Trie};
use crate::vocabulary::ModelConfig;

/// Characters of a word beyond which it is unknown, if the file does not say.
const WORD_CHARACTERS_MAX: usize = 100;

/// The model.
#[derive(Debug)]
pub(crate) struct WordPiece {
    names: Trie,
    unknown: u32,
    /// Where names of pieces start that do not start a word; none if no name is of such a piece.
    inside: Option<Place>,
    word_characters_max: usize,
}

impl WordPiece {
    /// Of the file.
    ///
    /// # Errors
    /// `input/tokenizer` if the unknown token is none, `limit/vocabulary`.
    pub(crate) fn new(config: &ModelConfig<'_>) -> Result<Self> {
        let names = trie(config)?;
        let prefix = config.continuing_subword_prefix.as_deref().unwrap_or("##");
        Ok(WordPiece {
            unknown: unknown(config, &names)?,
            inside: names.walk(Trie::START, prefix.as_bytes()),
            word_characters_max: config.max_input_chars_per_word.unwrap_or(WORD_CHARACTERS_MAX),
            names,
        })
    }

    /// Appends the pieces of a word, or one unknown token if it has none.
    pub(crate) fn encode(&self, word: &str, ids: &mut Vec<i32>) {
        let max = self.word_characters_max;
        if word.len() > max && word.chars().count() > max {
            return ids.push(self.unknown as i32);
        }
        let first = ids.len();
        let mut rest = word.as_bytes();
        let mut place = Some(Trie::START);
        while !rest.is_empty() {
            let found = place.and_then(|place| self.names.longest(place, rest));
            let Some((id, len)) = found else {
                ids.truncate(first);
                return ids.push(self.unknown as i32);
            };
            ids.push(id as i32);
            rest = &rest[len..];
            place = self.inside;
        }
    }
}

/// The model.
#[derive(Debug)]
pub(crate) struct WordLevel {
    names: Trie,
    unknown: u32,
}

impl WordLevel {
    /// Of the file.
    ///
    /// # Errors
    /// `input/tokenizer` if the unknown token is none, `limit/vocabulary`.
    pub(crate) fn new(config: &ModelConfig<'_>) -> Result<Self> {
        let names = trie(config)?;
        Ok(WordLevel { unknown: unknown(config, &names)?, names })
    }

    /// Appends the word's token.
    pub(crate) fn encode(&self, word: &str, ids: &mut Vec<i32>) {
        ids.push(self.names.get(word.as_bytes()).unwrap_or(self.unknown) as i32);
    }
}

fn trie(config: &ModelConfig<'_>) -> Result<Trie> {
    let names = config.names()?;
    Trie::new(names.iter().map(|(name, id)| (name.as_bytes(), *id)))
}

fn unknown(config: &ModelConfig<'_>, names: &Trie) -> Result<u32> {
    let name = config.unk_token.as_deref().unwrap_or("[UNK]");
    names.get(name.as_bytes()).ok_or_else(|| {
        let message = format!("tokenizer file: unk_token {name:?} is no token of the vocabulary");
        Error::input("tokenizer", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_into_the_longest_pieces() {
        let json = r###"{"type": "WordPiece", "max_input_chars_per_word": 8, "unk_token": "[UNK]",
            "vocab": {"[UNK]": 0, "un": 1, "##aff": 2, "##able": 3, "##a": 4, "ü": 5}}"###;
        let model = WordPiece::new(&serde_json::from_str(json).unwrap()).unwrap();
        let check = |word: &str, expected: &[i32]| {
            let mut ids = Vec::new();
            model.encode(word, &mut ids);
            assert_eq!(ids, expected, "{word}");
        };
        check("unable", &[1, 3]);
        check("unaaffa", &[1, 4, 2, 4]);
        check("unx", &[0]);
        check("able", &[0]);
        check("üaaaaaaa", &[5, 4, 4, 4, 4, 4, 4, 4]);
        check("üaaaaaaaa", &[0]);
    }

    #[test]
    fn words_that_are_whole_tokens() {
        let json = r#"{"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "my": 1}}"#;
        let model = WordLevel::new(&serde_json::from_str(json).unwrap()).unwrap();
        let mut ids = Vec::new();
        ["my", "name"].iter().for_each(|word| model.encode(word, &mut ids));
        assert_eq!(ids, [1, 0]);
        let none = json.replace("\"?\": 0, ", "");
        let config: ModelConfig<'_> = serde_json::from_str(&none).unwrap();
        assert_eq!(WordLevel::new(&config).unwrap_err().code, "tokenizer");
    }
}

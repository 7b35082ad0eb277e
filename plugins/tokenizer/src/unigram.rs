//! The unigram language model (arXiv:1804.10959 §3.2): of all ways to cut a piece, the most probable.

use aimass_sdk::prelude::*;

use crate::bpe::byte_tokens;
use crate::trie::Trie;
use crate::vocabulary::{Ids, ModelConfig};

/// How much less an unknown character scores than the worst token.
const UNKNOWN_PENALTY: f64 = 10.0;

/// What no token has as its id.
const NONE: u32 = u32::MAX;

/// The model.
#[derive(Debug)]
pub(crate) struct Unigram {
    names: Trie,
    scores: Vec<f64>,
    unknown: Option<u32>,
    unknown_score: f64,
    /// Tokens of the bytes of unknown characters.
    fallback: Option<Box<[u32; 256]>>,
}

/// The best way that is known to reach a place in the piece.
#[derive(Clone, Copy, Debug)]
struct Path {
    score: f64,
    /// Token that ends here.
    id: u32,
    /// Where it starts; none if no way leads here.
    start: u32,
}

const NO_PATH: Path = Path { score: 0.0, id: NONE, start: NONE };

/// Buffers that are reused from piece to piece.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    paths: Vec<Path>,
    tokens: Vec<(u32, u32, u32)>,
}

impl Unigram {
    /// Of the file.
    ///
    /// # Errors
    /// `input/tokenizer` if the unknown token is none; `unsupported/tokenizer` for sampling;
    /// `limit/vocabulary`.
    pub(crate) fn new(config: &ModelConfig<'_>) -> Result<Self> {
        if config.alpha.is_some_and(|alpha| alpha != 0.0) {
            let message = "tokenizer file: expected no alpha, which makes tokens random";
            return Err(Error::unsupported("tokenizer", message));
        }
        let pieces = config.scores()?;
        if let Some(id) = config.unk_id.filter(|id| *id as usize >= pieces.len()) {
            let count = pieces.len();
            let message = format!("tokenizer file: expected an unk_id below {count}, got {id}");
            return Err(Error::input("tokenizer", message));
        }
        let names = pieces.iter().zip(0..).map(|((name, _), id)| (name.as_bytes(), id));
        let fallback = config.byte_fallback.then(|| {
            let ids: Ids<'_> =
                pieces.iter().zip(0..).map(|((name, _), id)| (&**name, id)).collect();
            Box::new(byte_tokens(&ids))
        });
        let scores: Vec<f64> = pieces.iter().map(|(_, score)| *score).collect();
        let worst = scores.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Unigram {
            names: Trie::new(names)?,
            scores,
            unknown: config.unk_id,
            unknown_score: worst - UNKNOWN_PENALTY,
            fallback,
        })
    }

    /// Appends the tokens of a piece.
    ///
    /// # Errors
    /// `input/unknown-character` if the piece has one and the model no token for it.
    pub(crate) fn encode(
        &self,
        piece: &str,
        scratch: &mut Scratch,
        ids: &mut Vec<i32>,
    ) -> Result<()> {
        self.search(piece, &mut scratch.paths)?;
        let tokens = &mut scratch.tokens;
        tokens.clear();
        let mut end = piece.len() as u32;
        while end > 0 {
            let Path { id, start, .. } = scratch.paths[end as usize];
            match tokens.last_mut() {
                // Neighbors that are unknown are one token.
                Some((last, last_start, _)) if *last == id && Some(id) == self.unknown => {
                    *last_start = start;
                }
                Some(_) | None => tokens.push((id, start, end)),
            }
            end = start;
        }
        for (id, start, end) in tokens.iter().rev() {
            if Some(*id) == self.unknown {
                self.push_unknown(&piece.as_bytes()[*start as usize..*end as usize], *id, ids);
            } else {
                ids.push(*id as i32);
            }
        }
        Ok(())
    }

    /// The best path to every place of the piece.
    fn search(&self, piece: &str, paths: &mut Vec<Path>) -> Result<()> {
        let bytes = piece.as_bytes();
        paths.clear();
        paths.resize(bytes.len() + 1, NO_PATH);
        for (start, c) in piece.char_indices() {
            let before = paths[start].score;
            let mut known = false;
            for (id, len) in self.names.prefixes(&bytes[start..]) {
                let score = before + self.scores[id as usize];
                known |= len == c.len_utf8();
                improve(&mut paths[start + len], Path { score, id, start: start as u32 });
            }
            if !known {
                let id = self.unknown.ok_or_else(|| {
                    let message = format!("expected characters that the model knows, got {c:?}");
                    Error::input("unknown-character", message)
                })?;
                let path = Path { score: before + self.unknown_score, id, start: start as u32 };
                improve(&mut paths[start + c.len_utf8()], path);
            }
        }
        Ok(())
    }

    fn push_unknown(&self, text: &[u8], unknown: u32, ids: &mut Vec<i32>) {
        if let Some(id) = self.names.get(text) {
            return ids.push(id as i32);
        }
        match &self.fallback {
            Some(bytes) if text.iter().all(|byte| bytes[usize::from(*byte)] != NONE) => {
                ids.extend(text.iter().map(|byte| bytes[usize::from(*byte)] as i32));
            }
            Some(_) | None => ids.push(unknown as i32),
        }
    }
}

fn improve(path: &mut Path, other: Path) {
    if path.start == NONE || other.score > path.score {
        *path = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0],
        ["b", -1.5], ["ab", -2.0], ["abc", -9.0], ["c", -2.5], ["<0xC3>", -5], ["<0xA9>", -5]]}"#;

    fn encode(json: &str, piece: &str) -> Result<Vec<i32>> {
        let config: ModelConfig<'_> = serde_json::from_str(json).unwrap();
        let mut ids = Vec::new();
        Unigram::new(&config)?.encode(piece, &mut Scratch::default(), &mut ids)?;
        Ok(ids)
    }

    #[test]
    fn the_most_probable_cut_wins() {
        assert_eq!(encode(SMALL, "abc"), Ok(vec![3, 5]));
        assert_eq!(encode(SMALL, "ba"), Ok(vec![2, 1]));
        assert_eq!(encode(SMALL, ""), Ok(vec![]));
    }

    #[test]
    fn unknown_neighbors_are_one_token_or_their_bytes() {
        assert_eq!(encode(SMALL, "xya"), Ok(vec![0, 1]));
        let bytes = SMALL.replace("\"unk_id\"", "\"byte_fallback\": true, \"unk_id\"");
        assert_eq!(encode(&bytes, "éé"), Ok(vec![6, 7, 6, 7]));
        assert_eq!(encode(&bytes, "éx"), Ok(vec![0]));
    }

    #[test]
    fn files_that_cannot_work_are_refused() {
        let none = SMALL.replace("\"unk_id\": 0, ", "");
        assert_eq!(encode(&none, "ax").unwrap_err().code, "unknown-character");
        let high = SMALL.replace("\"unk_id\": 0", "\"unk_id\": 8");
        assert_eq!(encode(&high, "a").unwrap_err().code, "tokenizer");
        let random = SMALL.replace("\"unk_id\"", "\"alpha\": 0.1, \"unk_id\"");
        assert_eq!(encode(&random, "a").unwrap_err().code, "tokenizer");
    }
}

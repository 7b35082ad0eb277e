//! Cuts long texts, or rows of token ids, into overlapping chunks.
//!
//! With the unit `sentence`, `word` or `character`:
//!
//! | tensor   | shape      | dtype |                                                   |
//! |----------|------------|-------|---------------------------------------------------|
//! | `text`   | `[batch]`  | bytes | UTF-8, at most 16 MiB together                    |
//! | `chunks` | `[chunks]` | bytes | parts of the texts, in order                      |
//! | `source` | `[chunks]` | u32   | which text each is a part of                      |
//! | `start`  | `[chunks]` | u32   | where it starts in its text, in bytes             |
//! | `end`    | `[chunks]` | u32   | where it ends                                     |
//!
//! With the unit `token` it takes `input_ids` `[ragged(offsets)]` i32 and `offsets` `[batch + 1]` u32, and
//! answers `input_ids` and `offsets` of the chunks, and their `source` and `start` in tokens.
//!
//! Sentences and words end where Unicode UAX #29 says: it knows no abbreviations. Nothing is trimmed:
//! chunks without what they repeat are the text again.

mod cut;

use aimass_sdk::prelude::*;
use serde::Deserialize;

use cut::{Chunk, Cutter, Unit};

/// Bytes of all texts of a call at most, and of all chunks.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// Chunks of a call at most.
const CHUNKS_MAX: usize = 100_000;

/// Token ids of all chunks of a call at most.
const TOKENS_MAX: usize = 4 << 20;

/// The plugin, as configured.
#[derive(Debug)]
pub struct TextChunker {
    cutter: Cutter,
}

impl Processor for TextChunker {
    fn init(config: Config) -> Result<Self> {
        Ok(TextChunker { cutter: config.parse::<Settings>()?.cutter()? })
    }

    fn describe(&self) -> Signature {
        let chunks = || [Dim::dynamic("chunks")];
        let places = |name| TensorSpec::new(name, DType::U32, chunks());
        if self.cutter.unit != Unit::Token {
            return Signature::new()
                .input(TensorSpec::new("text", DType::Bytes, [Dim::Batch]))
                .output(TensorSpec::new("chunks", DType::Bytes, chunks()))
                .output(places("source"))
                .output(places("start"))
                .output(places("end"));
        }
        let ids = || TensorSpec::new("input_ids", DType::I32, [Dim::dynamic("tokens")]);
        let offsets = |name| TensorSpec::new("offsets", DType::U32, [Dim::dynamic(name)]);
        Signature::new()
            .input(ids())
            .input(offsets("texts+1"))
            .output(TensorSpec::new("input_ids", DType::I32, [Dim::dynamic("chunk tokens")]))
            .output(offsets("chunks+1"))
            .output(places("source"))
            .output(places("start"))
    }

    fn process(&self, inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
        if self.cutter.unit == Unit::Token {
            let ids = inputs.get("input_ids")?.to_vec::<i32>()?;
            return rows(&self.cutter, &ids, &inputs.get("offsets")?.to_vec::<u32>()?)?.outputs();
        }
        let text = inputs.get("text")?;
        let strings = text.as_strings()?;
        let texts = strings.texts("text").collect::<Result<Vec<_>>>()?;
        let chunks = chunks(&self.cutter, &texts)?;
        let count = [chunks.len() as u64];
        let column = |of: fn(&Chunk) -> u32| {
            Tensor::from_slice(&count, &chunks.iter().map(of).collect::<Vec<_>>())
        };
        let parts = chunks.iter().map(|chunk| &texts[chunk.source as usize][chunk.range()]);
        Ok(Outputs::from([
            ("chunks", Tensor::strings(&count, parts)?),
            ("source", column(|chunk| chunk.source)?),
            ("start", column(|chunk| chunk.start)?),
            ("end", column(|chunk| chunk.end)?),
        ]))
    }
}

aimass_sdk::export_processor!(TextChunker);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    unit: Unit,
    size: usize,
    #[serde(default)]
    overlap: usize,
}

impl Settings {
    fn cutter(&self) -> Result<Cutter> {
        if self.overlap < self.size {
            return Ok(Cutter { unit: self.unit, size: self.size, overlap: self.overlap });
        }
        let (size, overlap) = (self.size, self.overlap);
        let message = format!("overlap: expected less than the size {size}, got {overlap}");
        Err(Error::input("config", message))
    }
}

fn chunks(cutter: &Cutter, texts: &[&str]) -> Result<Vec<Chunk>> {
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    check("bytes of text", bytes, TEXT_BYTES_MAX)?;
    let mut chunks = Vec::new();
    let mut bytes = 0;
    for (text, source) in texts.iter().zip(0..) {
        cutter.cut(text, &mut |start, end| {
            bytes += end - start;
            check("bytes of chunks", bytes, TEXT_BYTES_MAX)?;
            chunks.push(Chunk { source, start: start as u32, end: end as u32 });
            check("chunks", chunks.len(), CHUNKS_MAX)
        })?;
    }
    Ok(chunks)
}

/// Chunks of rows of token ids.
#[derive(Debug, Default, PartialEq)]
struct Rows {
    ids: Vec<i32>,
    offsets: Vec<u32>,
    source: Vec<u32>,
    start: Vec<u32>,
}

impl Rows {
    fn outputs(&self) -> Result<Outputs> {
        let count = self.source.len() as u64;
        Ok(Outputs::from([
            ("input_ids", Tensor::from_slice(&[self.ids.len() as u64], &self.ids)?),
            ("offsets", Tensor::from_slice(&[count + 1], &self.offsets)?),
            ("source", Tensor::from_slice(&[count], &self.source)?),
            ("start", Tensor::from_slice(&[count], &self.start)?),
        ]))
    }
}

fn rows(cutter: &Cutter, ids: &[i32], offsets: &[u32]) -> Result<Rows> {
    let broken = || {
        let message = format!("offsets: expected to rise from 0 to {}, the ids", ids.len());
        Error::input("offsets", message)
    };
    if offsets.first() != Some(&0) || offsets.last().map(|end| *end as usize) != Some(ids.len()) {
        return Err(broken());
    }
    let mut rows = Rows { offsets: vec![0], ..Rows::default() };
    for (pair, source) in offsets.windows(2).zip(0..) {
        let row = ids.get(pair[0] as usize..pair[1] as usize).ok_or_else(broken)?;
        cutter.windows(row.len(), &mut |start, end| {
            check("tokens of chunks", rows.ids.len() + end - start, TOKENS_MAX)?;
            rows.ids.extend(&row[start..end]);
            rows.offsets.push(rows.ids.len() as u32);
            rows.source.push(source);
            rows.start.push(start as u32);
            check("chunks", rows.source.len(), CHUNKS_MAX)
        })?;
    }
    Ok(rows)
}

fn check(what: &str, got: usize, max: usize) -> Result<()> {
    if got <= max {
        return Ok(());
    }
    let message = format!("expected at most {max} {what} a call, got {got} or more");
    Err(Error::input("too-long", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cutter(settings: &str) -> Result<Cutter> {
        serde_json::from_str::<Settings>(settings).unwrap().cutter()
    }

    #[test]
    fn an_overlap_is_less_than_a_chunk() {
        assert!(cutter(r#"{"size": 2, "overlap": 1}"#).is_ok());
        assert_eq!(cutter(r#"{"size": 2, "overlap": 2}"#).unwrap_err().code, "config");
        assert_eq!(cutter(r#"{"size": 0}"#).unwrap_err().code, "config");
    }

    #[test]
    fn rows_of_tokens_become_windows() {
        let cutter = cutter(r#"{"unit": "token", "size": 3, "overlap": 1}"#).unwrap();
        let cut = rows(&cutter, &[1, 2, 3, 4, 5, 6, 7], &[0, 5, 5, 7]).unwrap();
        assert_eq!(cut.ids, [1, 2, 3, 3, 4, 5, 6, 7]);
        assert_eq!(
            (cut.offsets, cut.source, cut.start),
            (vec![0, 3, 6, 8], vec![0, 0, 2], vec![0, 2, 0])
        );
        for offsets in [&[] as &[u32], &[0, 8], &[1, 7], &[0, 7, 5, 7]] {
            let error = rows(&cutter, &[1, 2, 3, 4, 5, 6, 7], offsets).unwrap_err();
            assert_eq!(error.code, "offsets");
        }
    }

    #[test]
    fn calls_have_bounds() {
        let one = cutter(r#"{"unit": "character", "size": 1}"#).unwrap();
        let text = "a".repeat(CHUNKS_MAX + 1);
        assert_eq!(chunks(&one, &[&text[1..]]).unwrap().len(), CHUNKS_MAX);
        assert_eq!(chunks(&one, &[&text]).unwrap_err().code, "too-long");
        let big = cutter(r#"{"unit": "character", "size": 1000000, "overlap": 999999}"#).unwrap();
        let text = "a".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(chunks(&big, &[&text]).unwrap_err().code, "too-long");
        assert!(chunks(&big, &[&text[..1_000_015]]).is_ok());
        assert_eq!(chunks(&big, &[&text[..1_000_016]]).unwrap_err().code, "too-long");
        let tokens = cutter(r#"{"unit": "token", "size": 1000000, "overlap": 999999}"#).unwrap();
        assert!(rows(&tokens, &vec![0; 1_000_003], &[0, 1_000_003]).is_ok());
        let error = rows(&tokens, &vec![0; 1_000_004], &[0, 1_000_004]).unwrap_err();
        assert_eq!(error.code, "too-long");
    }
}

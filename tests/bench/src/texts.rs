//! Texts to embed.

use crate::row::Seeded;
use anyhow::Context;
use std::path::Path;

/// Texts of 8 to 256 tokens, log-uniform, made of words that are one token each.
pub(crate) fn texts(model_dir: &Path, count: usize) -> anyhow::Result<Vec<String>> {
    let path = model_dir.join("vocab.txt");
    let vocabulary = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let is_word = |word: &&str| word.len() > 2 && word.chars().all(|c| c.is_ascii_lowercase());
    let words: Vec<&str> = vocabulary.lines().filter(is_word).collect();
    let mut seeded = Seeded(1);
    let text = |_| {
        let tokens = (8f64.ln() + seeded.unit() * (256f64 / 8.0).ln()).exp().round() as usize;
        // [CLS] and [SEP] are tokens too.
        let chosen: Vec<&str> = (0..tokens.saturating_sub(2))
            .map(|_| words[(seeded.bits() % words.len() as u64) as usize])
            .collect();
        chosen.join(" ")
    };
    Ok((0..count).map(text).collect())
}

//! `TfIdfVectorizer`: counts of n-grams, with gaps.

use super::{Table, one};
use crate::content::float_tensor;
use crate::node::{Cx, Inputs};
use crate::value::{R, T, Value, invalid};
use aimass_sdk::{DType, Error};
use std::collections::HashMap;
use std::hash::Hash;

pub(super) const TABLE: Table = &[("TfIdfVectorizer", tf_idf)];

/// Elements of the output at most.
const OUTPUTS_MAX: u64 = 4 << 20;
/// Steps that one call takes at most: items, gaps and lengths multiplied.
const STEPS_MAX: u64 = 100_000_000;

/// What the counts of a row become.
#[derive(Clone, Copy)]
enum Mode {
    Counts,
    Weights,
    WeightedCounts,
}

/// Sizes of the n-grams that count.
struct Lengths {
    min: usize,
    max: usize,
    /// Items between two neighbors of an n-gram at most.
    skips: usize,
}

fn tf_idf(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let (rows, columns, mut shape) = match x.shape()?.as_slice() {
        [] => (1, 1, Vec::new()),
        [columns] => (1, *columns, Vec::new()),
        [rows, columns] => (*rows, *columns, vec![*rows]),
        other => return Err(invalid(format!("expected a shape of [C] or [N, C], got {other:?}"))),
    };
    let mode = match cx.attr_text("mode", "")? {
        "TF" => Mode::Counts,
        "IDF" => Mode::Weights,
        "TFIDF" => Mode::WeightedCounts,
        other => return Err(invalid(format!("mode: expected TF, IDF or TFIDF, got {other}"))),
    };
    let places = cx.attr_ints_opt("ngram_indexes")?.unwrap_or_default();
    let place = |&place: &i64| usize::try_from(place).map_err(|_| invalid("a negative index"));
    let places = places.iter().map(place).collect::<R<Vec<usize>>>()?;
    let width = places.iter().max().map_or(0, |&place| place.saturating_add(1));
    let lengths = lengths(cx)?;
    bounded("output elements", rows.max(1).saturating_mul(width as u64), OUTPUTS_MAX)?;
    let work = rows.saturating_mul(columns).saturating_mul(lengths.max as u64);
    bounded("steps", work.saturating_mul((lengths.skips as u64).saturating_add(1)), STEPS_MAX)?;
    let counts = match cx.attr_texts_opt("pool_strings")? {
        Some(pool) => {
            let items = cx.strings(x)?;
            let grams = Grams::of(pool, cx.attr_ints_opt("ngram_counts")?, &lengths)?;
            grams.count(&items, columns as usize, &lengths, (&places, width))
        }
        None => {
            let pool = cx.attr_ints_opt("pool_int64s")?.unwrap_or_default();
            let items = numbers(cx, x)?;
            let grams = Grams::of(pool, cx.attr_ints_opt("ngram_counts")?, &lengths)?;
            grams.count(&items, columns as usize, &lengths, (&places, width))
        }
    };
    let counts = match counts.is_empty() {
        true => vec![0.0; rows as usize * width],
        false => counts,
    };
    let weights = cx.attr_floats_opt("weights")?;
    if weights.is_some_and(|weights| weights.len() != places.len()) {
        return Err(invalid("weights and ngram_indexes have different lengths"));
    }
    // A weight belongs to an n-gram; the n-gram of an output is the last that names it.
    let mut weight_of = vec![1.0; width];
    for (index, &place) in places.iter().enumerate() {
        weight_of[place] = weights.map_or(1.0, |weights| weights[index]);
    }
    let value = |(index, count): (usize, f32)| match mode {
        Mode::Counts => count,
        Mode::Weights if count > 0.0 => weight_of[index % width],
        Mode::Weights => 0.0,
        Mode::WeightedCounts => count * weight_of[index % width],
    };
    shape.push(width as u64);
    let values: Vec<f32> = counts.into_iter().enumerate().map(value).collect();
    one(float_tensor(&shape, &values))
}

/// The items of a tensor of whole numbers. They are data: a stage that depends on them is not kept.
fn numbers(cx: &mut Cx<'_>, x: &T) -> R<Vec<i64>> {
    if !matches!(x.dtype, DType::I32 | DType::I64) {
        return Err(invalid(format!("expected i32 or i64, got {}", x.dtype.name())));
    }
    if !x.is_known() {
        cx.reusable = false;
    }
    cx.ints(x)
}

fn lengths(cx: &Cx<'_>) -> R<Lengths> {
    let get = |name: &str| -> R<usize> {
        let value = cx.attr_int(name, 0)?;
        usize::try_from(value).map_err(|_| invalid(format!("{name}: got {value}")))
    };
    let (min, max, skips) =
        (get("min_gram_length")?, get("max_gram_length")?, get("max_skip_count")?);
    if min == 0 || min > max {
        return Err(invalid(format!("expected n-grams of 1 item or more, got {min} to {max}")));
    }
    Ok(Lengths { min, max, skips })
}

fn bounded(what: &str, got: u64, max: u64) -> R<()> {
    if got > max {
        let message = format!("expected at most {max} {what}, got {got}");
        return Err(Error::limit("onnx-ngrams", message).into());
    }
    Ok(())
}

/// N-grams as a tree: from a node and an item to the next node. Node 0 is the root.
struct Grams<K> {
    next: HashMap<(usize, K), usize>,
    /// By node, the n-gram that ends there.
    ends: Vec<Option<usize>>,
}

impl<K: Clone + Eq + Hash> Grams<K> {
    fn of(pool: &[K], starts: Option<&[i64]>, lengths: &Lengths) -> R<Grams<K>> {
        let mut grams = Grams { next: HashMap::new(), ends: vec![None] };
        let starts = starts.unwrap_or_default();
        let mut gram = 0;
        for (index, &start) in starts.iter().enumerate() {
            let size = index + 1;
            let end = starts.get(size).map_or(pool.len() as i64, |&end| end);
            let part = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let part = part.and_then(|(start, end)| pool.get(start..end));
            let part = part.ok_or_else(|| invalid("ngram_counts do not fit the pool"))?;
            for items in part.chunks_exact(size) {
                if (lengths.min..=lengths.max).contains(&size) {
                    grams.add(items, gram);
                }
                gram += 1;
            }
        }
        Ok(grams)
    }

    fn add(&mut self, items: &[K], gram: usize) {
        let mut node = 0;
        for item in items {
            let fresh = self.ends.len();
            node = *self.next.entry((node, item.clone())).or_insert(fresh);
            if node == fresh {
                self.ends.push(None);
            }
        }
        self.ends[node] = Some(gram);
    }

    /// How often the n-grams stand in each row of items.
    fn count(
        &self,
        items: &[K],
        columns: usize,
        lengths: &Lengths,
        (places, width): (&[usize], usize),
    ) -> Vec<f32> {
        let mut counts = Vec::new();
        for row in items.chunks(columns.max(1)) {
            let start = counts.len();
            counts.resize(start + width, 0.0);
            let mut min = lengths.min;
            for distance in 1..=lengths.skips.saturating_add(1) {
                self.count_row(row, distance, (min, lengths.max), |gram| {
                    if let Some(&place) = places.get(gram) {
                        counts[start + place] += 1.0;
                    }
                });
                // Single items have no gaps: they count once.
                min = min.max(2);
                if min > lengths.max {
                    break;
                }
            }
        }
        counts
    }

    fn count_row(
        &self,
        row: &[K],
        distance: usize,
        (min, max): (usize, usize),
        mut found: impl FnMut(usize),
    ) {
        for start in 0..row.len() {
            let mut node = 0;
            let items = row[start..].iter().step_by(distance).take(max);
            for (index, item) in items.enumerate() {
                let Some(&next) = self.next.get(&(node, item.clone())) else { break };
                node = next;
                if let Some(gram) = self.ends[node].filter(|_| index + 1 >= min) {
                    found(gram);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(items: &[i64], columns: usize, lengths: Lengths) -> Vec<f32> {
        let pool = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7];
        let grams = Grams::of(&pool, Some(&[0, 4]), &lengths).unwrap();
        grams.count(items, columns, &lengths, (&[0, 1, 2, 3, 4, 5, 6], 7))
    }

    #[test]
    fn n_grams_count_at_every_distance_and_single_items_once() {
        let items = [1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8];
        let only_pairs = Lengths { min: 2, max: 2, skips: 0 };
        assert_eq!(counts(&items, 12, only_pairs), [0., 0., 0., 0., 1., 1., 1.]);
        let with_skips = Lengths { min: 2, max: 2, skips: 5 };
        assert_eq!(counts(&items, 12, with_skips), [0., 0., 0., 0., 1., 3., 1.]);
        let both = Lengths { min: 1, max: 2, skips: 5 };
        assert_eq!(counts(&items, 12, both), [0., 3., 1., 0., 1., 3., 1.]);
        let rows = Lengths { min: 2, max: 2, skips: 0 };
        assert_eq!(counts(&items, 6, rows).len(), 14);
    }

    #[test]
    fn starts_outside_of_the_pool_are_refused() {
        let lengths = Lengths { min: 1, max: 1, skips: 0 };
        for starts in [&[-1][..], &[9], &[2, 1], &[0, 9]] {
            assert!(Grams::of(&[1i64, 2], Some(starts), &lengths).is_err(), "{starts:?}");
        }
    }
}

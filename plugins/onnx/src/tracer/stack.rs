//! What iterations add to a stacked output.

use crate::emit::Emitter;
use crate::ops::{join, stack};
use crate::value::{Form, R, T, invalid};

/// Pieces of one level that are joined, once the host holds them: a graph takes few inputs.
const PIECES: usize = 16;

/// Tensors along a new axis 0. Level 0 are the last ones, level `n` joins of [`PIECES`] to the `n`-th.
#[derive(Default, Clone)]
pub(super) struct Stack {
    levels: Vec<Vec<T>>,
}

impl Stack {
    /// Adds the tensor of one iteration.
    pub(super) fn push(&mut self, tensor: T) {
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        self.levels[0].push(tensor);
    }

    /// Joins what earlier stages have left, if it is much.
    ///
    /// # Errors
    /// As those of a concat; then nothing has changed.
    pub(super) fn settle(&mut self, emitter: &mut Emitter) -> R<()> {
        let mut level = 0;
        while let Some(pieces) = self.levels.get(level) {
            let named = |piece: &T| matches!(&*piece.form.borrow(), Form::Named(_));
            if pieces.len() < PIECES || !pieces.first().is_some_and(named) {
                break;
            }
            let joined = joined(emitter, pieces, level)?;
            self.levels[level].clear();
            match self.levels.get_mut(level + 1) {
                Some(above) => above.push(joined),
                None => self.levels.push(vec![joined]),
            }
            level += 1;
        }
        Ok(())
    }

    /// All of it, in the order of the iterations, along `axis`.
    ///
    /// # Errors
    /// If there is nothing, or extents differ.
    pub(super) fn finish(&self, emitter: &mut Emitter, axis: usize, reverse: bool) -> R<T> {
        if let [only] = self.levels.as_slice() {
            let mut pieces = only.clone();
            if reverse {
                pieces.reverse();
            }
            return stack(emitter, &pieces, axis);
        }
        let mut rows = Vec::new();
        for (level, pieces) in self.levels.iter().enumerate().rev() {
            if !pieces.is_empty() {
                rows.push(joined(emitter, pieces, level)?);
            }
        }
        let mut whole = join(emitter, &rows.iter().collect::<Vec<_>>(), 0)?;
        if reverse {
            whole = emitter.reverse(&whole, 0)?;
        }
        if axis == 0 {
            return Ok(whole);
        }
        let mut permutation: Vec<usize> = (1..whole.rank()).collect();
        permutation.insert(axis.min(permutation.len()), 0);
        emitter.transpose(&whole, &permutation)
    }

    /// Rank of the whole.
    pub(super) fn rank(&self) -> R<usize> {
        let item = self.levels.first().and_then(|items| items.first());
        let rank = item.map(|item| item.rank() + 1);
        let joined = || self.levels.iter().flatten().next().map(|piece| piece.rank());
        rank.or_else(joined).ok_or_else(|| invalid("no iteration gave an output"))
    }
}

fn joined(emitter: &mut Emitter, pieces: &[T], level: usize) -> R<T> {
    match level {
        0 => stack(emitter, pieces, 0),
        _ => join(emitter, &pieces.iter().collect::<Vec<_>>(), 0),
    }
}

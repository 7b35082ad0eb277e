//! Moves of elements that cancel out: what a value was reshaped or transposed from is remembered, so
//! that a chain of moves becomes one, or none.

use super::Emitter;
use crate::value::{Extent, Form, T};

/// How a value of the graph under construction came from another one.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Reshaped(T),
    /// Output axis `i` is input axis `permutation[i]`.
    Transposed(T, Vec<usize>),
}

impl Emitter {
    /// What a value was made from.
    pub(super) fn origin(&self, x: &T) -> Option<&Origin> {
        let (stage, value) = x.placed.get()?;
        let computed = matches!(&*x.form.borrow(), Form::Node);
        (computed && stage == self.stage).then(|| self.origins.get(&value))?
    }

    /// Remembers what a value was made from.
    pub(super) fn remember(&mut self, y: &T, origin: Origin) {
        if let Some((stage, value)) = y.placed.get()
            && stage == self.stage
        {
            self.origins.insert(value, origin);
        }
    }

    /// What a value was transposed from, and how.
    pub(crate) fn transposed_from(&self, x: &T) -> Option<(T, Vec<usize>)> {
        match self.origin(x)? {
            Origin::Transposed(source, permutation) => Some((source.clone(), permutation.clone())),
            Origin::Reshaped(_) => None,
        }
    }

    /// What to reshape instead of `x`.
    pub(super) fn unshaped(&self, x: &T) -> T {
        match self.origin(x) {
            Some(Origin::Reshaped(source)) => source.clone(),
            _ => x.clone(),
        }
    }

    /// A transpose between two reshapes that join and split the leading axes: one transpose of what
    /// was there before, as its source and permutation.
    pub(super) fn joined_transpose(&self, x: &T, dims: &[Extent]) -> Option<(T, Vec<usize>)> {
        let Some(Origin::Transposed(flat, permutation)) = self.origin(x) else { return None };
        let Some(Origin::Reshaped(source)) = self.origin(flat) else { return None };
        let joined = joined_axes(&source.dims, &flat.dims)?;
        let (lead, rest) = source.dims.split_at(joined);
        let kept = permutation.first() == Some(&0)
            && dims.get(..joined) == Some(lead)
            && dims.get(joined..) == x.dims.get(1..);
        if !kept || rest.len() + 1 != permutation.len() {
            return None;
        }
        let moved = permutation[1..].iter().map(|axis| axis + joined - 1);
        Some((source.clone(), (0..joined).chain(moved).collect()))
    }
}

/// How many leading axes of `from` are axis 0 of `to`, if all others are the same.
fn joined_axes(from: &[Extent], to: &[Extent]) -> Option<usize> {
    let joined = (from.len() + 1).checked_sub(to.len()).filter(|joined| *joined >= 1)?;
    let product = from[..joined].iter().try_fold(1u64, |product, extent| match extent {
        Extent::Fixed(extent) => product.checked_mul(*extent),
        Extent::Batch => None,
    })?;
    (to.first() == Some(&Extent::Fixed(product)) && from[joined..] == to[1..]).then_some(joined)
}

/// Two transposes as one.
pub(super) fn composed(first: &[usize], then: &[usize]) -> Vec<usize> {
    then.iter().map(|&axis| first[axis]).collect()
}

/// Whether a transpose moves axes of extent 1 only, so that the elements keep their order.
pub(super) fn keeps_order(dims: &[Extent], permutation: &[usize]) -> bool {
    let long = permutation.iter().filter(|&&axis| dims[axis] != Extent::Fixed(1));
    long.is_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(extents: &[u64]) -> Vec<Extent> {
        extents.iter().map(|&extent| Extent::Fixed(extent)).collect()
    }

    #[test]
    fn a_transpose_and_its_inverse_are_none() {
        assert_eq!(composed(&[0, 2, 1, 3], &[0, 2, 1, 3]), [0, 1, 2, 3]);
        assert_eq!(composed(&[1, 2, 0], &[2, 0, 1]), [0, 1, 2]);
    }

    #[test]
    fn axes_of_one_element_move_for_free() {
        assert!(keeps_order(&fixed(&[2, 1, 3]), &[1, 0, 2]));
        assert!(!keeps_order(&fixed(&[2, 1, 3]), &[2, 1, 0]));
        assert!(!keeps_order(&[Extent::Batch, Extent::Fixed(4)], &[1, 0]));
    }

    #[test]
    fn joined_axes_are_found_where_all_others_stay() {
        assert_eq!(joined_axes(&fixed(&[2, 3, 4, 5]), &fixed(&[6, 4, 5])), Some(2));
        assert_eq!(joined_axes(&fixed(&[2, 3, 4, 5]), &fixed(&[6, 5, 4])), None);
        assert_eq!(joined_axes(&fixed(&[2, 3]), &fixed(&[2, 3])), Some(1));
        assert_eq!(joined_axes(&fixed(&[2, 3]), &fixed(&[1, 2, 3])), None);
    }
}

//! `Einsum`: contractions over named axes.

use super::{Table, one};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid};

pub(super) const TABLE: Table = &[("Einsum", einsum)];

/// A name of an axis: a letter, or a place in the ellipsis counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(usize),
    Letter(u8),
}

/// A term as it is written, perhaps with an ellipsis before the letter at this place.
#[derive(Debug, PartialEq)]
struct Term {
    letters: Vec<u8>,
    ellipsis: Option<usize>,
}

/// A tensor and the names of its axes.
struct Named {
    tensor: T,
    labels: Vec<Label>,
}

fn term(text: &str) -> R<Term> {
    let mut found = Term { letters: Vec::new(), ellipsis: None };
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, rest.strip_prefix(b"...")) {
            (b' ', _) => after,
            (_, Some(after)) if found.ellipsis.is_none() => {
                found.ellipsis = Some(found.letters.len());
                after
            }
            (letter, _) if letter.is_ascii_alphabetic() => {
                found.letters.push(*letter);
                after
            }
            _ => return Err(invalid(format!("equation: expected letters, got `{text}`"))),
        };
    }
    Ok(found)
}

impl Term {
    /// Labels of axes, with `dots` of them in the ellipsis.
    fn labels(&self, dots: usize) -> Vec<Label> {
        let mut labels: Vec<Label> =
            self.letters.iter().map(|&letter| Label::Letter(letter)).collect();
        if let Some(at) = self.ellipsis {
            labels.splice(at..at, (0..dots).rev().map(Label::Ellipsis));
        }
        labels
    }

    /// Labels for a tensor of this rank.
    fn labels_of(&self, rank: usize) -> R<Vec<Label>> {
        let dots = rank.checked_sub(self.letters.len());
        match (dots, self.ellipsis) {
            (Some(dots), Some(_)) => Ok(self.labels(dots)),
            (Some(0), None) => Ok(self.labels(0)),
            _ => {
                let expected = self.letters.len();
                Err(invalid(format!("equation: expected a tensor of {expected} axes, got {rank}")))
            }
        }
    }
}

/// Terms of the inputs, and the output's if it is spelled out.
fn parse(equation: &str) -> R<(Vec<Term>, Option<Term>)> {
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(term(right)?)),
        None => (equation, None),
    };
    Ok((left.split(',').map(term).collect::<R<Vec<Term>>>()?, right))
}

/// The labels of the output: those of its term, or all that appear once.
fn output_labels(inputs: &[Named], output: Option<&Term>) -> R<Vec<Label>> {
    let all: Vec<Label> = inputs.iter().flat_map(|input| input.labels.iter().copied()).collect();
    let dots = all.iter().filter_map(|label| match label {
        Label::Ellipsis(place) => Some(place + 1),
        Label::Letter(_) => None,
    });
    let dots = dots.max().unwrap_or(0);
    let labels = match output {
        Some(term) => term.labels(dots),
        None => {
            let once = |label: &Label| all.iter().filter(|other| *other == label).count() == 1;
            let mut letters: Vec<Label> = all
                .iter()
                .filter(|label| matches!(label, Label::Letter(_)) && once(label))
                .copied()
                .collect();
            letters.sort_unstable();
            (0..dots).rev().map(Label::Ellipsis).chain(letters).collect()
        }
    };
    for (index, label) in labels.iter().enumerate() {
        if !all.contains(label) || labels[..index].contains(label) {
            return Err(invalid(
                "equation: expected each letter of the output once in it, and in an input",
            ));
        }
    }
    Ok(labels)
}

fn einsum(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let equation = cx.attr_text("equation", "")?;
    let (terms, output) = parse(equation)?;
    let tensors = inputs.tensors()?;
    if terms.len() != tensors.len() {
        let (expected, got) = (terms.len(), tensors.len());
        return Err(invalid(format!("equation: expected {expected} inputs, got {got}")));
    }
    let mut named = Vec::new();
    for (term, tensor) in terms.iter().zip(tensors) {
        let labels = term.labels_of(tensor.rank())?;
        named.push(Named { tensor: tensor.clone(), labels });
    }
    let output = output_labels(&named, output.as_ref())?;
    for input in &mut named {
        diagonals(cx, input)?;
    }
    broadcast_ones(cx, &mut named)?;
    let mut total: Option<Named> = None;
    while !named.is_empty() {
        let next = named.remove(0);
        let wanted = |label: &Label| {
            output.contains(label) || named.iter().any(|other| other.labels.contains(label))
        };
        total = Some(match total {
            None => next,
            Some(total) => pair(cx, total, next, wanted)?,
        });
        if let Some(total) = &mut total {
            sum_out(cx, total, wanted)?;
        }
    }
    let total = total.ok_or_else(|| invalid("expected an input"))?;
    one(ordered(cx, &total, &output)?)
}

/// Keeps the diagonal of axes with the same name.
fn diagonals(cx: &mut Emitter, x: &mut Named) -> R<()> {
    let repeated = |labels: &[Label]| {
        (1..labels.len()).find_map(|later| {
            let first = labels[..later].iter().position(|label| *label == labels[later])?;
            Some((first, later))
        })
    };
    while let Some((first, later)) = repeated(&x.labels) {
        let (n, other) = (x.tensor.extent(first)?, x.tensor.extent(later)?);
        if n != other {
            return Err(invalid(format!(
                "equation: axes of one name have extents {n} and {other}"
            )));
        }
        let rank = x.tensor.rank();
        let rest = (0..rank).filter(|&axis| axis != first && axis != later);
        let order: Vec<usize> = rest.chain([first, later]).collect();
        let moved = cx.transpose(&x.tensor, &order)?;
        let mut dims = moved.dims[..rank - 2].to_vec();
        dims.push(Extent::Fixed(n.saturating_mul(n)));
        let flat = cx.reshape(&moved, &dims)?;
        x.tensor = cx.slice(&flat, rank - 2, (0, n.saturating_mul(n)), n + 1)?;
        x.labels = order[..rank - 1].iter().map(|&axis| x.labels[axis]).collect();
    }
    Ok(())
}

/// Drops axes of extent 1 where another input has more: products repeat them anyway.
fn broadcast_ones(cx: &mut Emitter, inputs: &mut [Named]) -> R<()> {
    let long: Vec<Label> = inputs
        .iter()
        .flat_map(|x| x.labels.iter().zip(&x.tensor.dims))
        .filter(|(_, dim)| **dim != Extent::Fixed(1))
        .map(|(label, _)| *label)
        .collect();
    for x in inputs {
        for axis in (0..x.labels.len()).rev() {
            if x.tensor.dims[axis] == Extent::Fixed(1) && long.contains(&x.labels[axis]) {
                x.tensor = cx.squeeze(&x.tensor, axis)?;
                x.labels.remove(axis);
            }
        }
    }
    Ok(())
}

/// Sums over axes that nothing needs any more.
fn sum_out(cx: &mut Emitter, x: &mut Named, wanted: impl Fn(&Label) -> bool) -> R<()> {
    let gone: Vec<usize> = (0..x.labels.len()).filter(|&axis| !wanted(&x.labels[axis])).collect();
    if gone.is_empty() {
        return Ok(());
    }
    x.tensor = match gone.iter().any(|&axis| x.tensor.dims[axis] == Extent::Fixed(0)) {
        true => {
            let dims: Vec<Extent> = (0..x.labels.len())
                .filter(|axis| !gone.contains(axis))
                .map(|axis| x.tensor.dims[axis])
                .collect();
            let zero = super::layout::zero(x.tensor.dtype)?;
            cx.broadcast(&zero, &dims)?
        }
        false => cx.reduce_sum(&x.tensor, &gone, false)?,
    };
    x.labels.retain(|label| wanted(label));
    Ok(())
}

/// The product of two, summed over the axes that they share and nothing else needs.
fn pair(cx: &mut Emitter, x: Named, y: Named, wanted: impl Fn(&Label) -> bool) -> R<Named> {
    // Rows stay on axis 0, so the side that has them comes first.
    let rows = |x: &Named| x.tensor.dims.first() == Some(&Extent::Batch);
    let (mut x, mut y) = if rows(&y) && !rows(&x) { (y, x) } else { (x, y) };
    // What only one side has and nothing needs is summed before it is multiplied.
    let (of_x, of_y) = (x.labels.clone(), y.labels.clone());
    sum_out(cx, &mut x, |label| wanted(label) || of_y.contains(label))?;
    sum_out(cx, &mut y, |label| wanted(label) || of_x.contains(label))?;
    let place = |labels: &[Label], label: &Label| labels.iter().position(|other| other == label);
    let (mut batch, mut contract) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    let mut labels = Vec::new();
    for (axis, label) in x.labels.iter().enumerate() {
        let Some(other) = place(&y.labels, label) else { continue };
        if x.tensor.dims[axis] != y.tensor.dims[other] {
            let (x, y) = (x.tensor.dims[axis], y.tensor.dims[other]);
            return Err(invalid(format!(
                "equation: axes of one name have extents {x:?} and {y:?}"
            )));
        }
        let pairs = if wanted(label) {
            labels.push(*label);
            &mut batch
        } else {
            &mut contract
        };
        pairs.0.push(axis);
        pairs.1.push(other);
    }
    let free = |own: &Named, other: &Named| -> Vec<Label> {
        own.labels.iter().filter(|label| !other.labels.contains(label)).copied().collect()
    };
    labels.extend(free(&x, &y));
    labels.extend(free(&y, &x));
    let tensor =
        cx.dot_general(&x.tensor, &y.tensor, (&batch.0, &batch.1), (&contract.0, &contract.1))?;
    Ok(Named { tensor, labels })
}

/// The tensor with its axes in this order; one that was dropped everywhere comes back with extent 1.
fn ordered(cx: &mut Emitter, x: &Named, labels: &[Label]) -> R<T> {
    let mut order = Vec::new();
    for label in labels {
        let axis = x.labels.iter().position(|own| own == label);
        order.push(axis.ok_or_else(|| invalid("equation: an axis of the output is not there"))?);
    }
    cx.transpose(&x.tensor, &order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(text: &str) -> Vec<Label> {
        text.bytes().map(Label::Letter).collect()
    }

    #[test]
    fn terms_name_axes_around_an_ellipsis() {
        let found = term(" a ...b").unwrap();
        assert_eq!(found, Term { letters: b"ab".to_vec(), ellipsis: Some(1) });
        let labels = found.labels_of(4).unwrap();
        assert_eq!(labels[1..3], [Label::Ellipsis(1), Label::Ellipsis(0)]);
        assert!(found.labels_of(1).is_err());
        assert!(term("i1").is_err());
        assert!(term("......").is_err());
        assert!(term("ij").unwrap().labels_of(3).is_err());
    }

    #[test]
    fn without_an_arrow_the_output_has_what_appears_once() {
        let (terms, output) = parse("ij, jk").unwrap();
        assert!(output.is_none());
        let tensor = crate::content::int_vector(&[]);
        let named: Vec<Named> = terms
            .iter()
            .map(|term| Named { tensor: tensor.clone(), labels: term.labels(0) })
            .collect();
        assert_eq!(output_labels(&named, None).unwrap(), letters("ik"));
        assert!(output_labels(&named, Some(&term("iz").unwrap())).is_err());
        assert!(output_labels(&named, Some(&term("ii").unwrap())).is_err());
    }
}

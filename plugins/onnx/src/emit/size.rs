//! How large the output of an op can be, from what it is told.

use crate::value::{Extent, T};
use aimass_sdk::Parameter;

fn numbers<'a>(attributes: &'a [(&str, Parameter)], name: &str) -> &'a [i64] {
    attributes
        .iter()
        .find_map(|(own, value)| match value {
            Parameter::Integers(values) if *own == name => Some(values.as_slice()),
            _ => None,
        })
        .unwrap_or_default()
}

fn number(attributes: &[(&str, Parameter)], name: &str) -> u64 {
    let found = attributes.iter().find_map(|(own, value)| match value {
        Parameter::Integer(value) if *own == name => Some(*value),
        _ => None,
    });
    found.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

fn product(extents: impl Iterator<Item = u64>) -> u64 {
    extents.fold(1, u64::saturating_mul)
}

fn elements(x: &T) -> u64 {
    x.elements().unwrap_or(u64::MAX)
}

/// Elements that an output of the op has at most; each of `inputs` has known extents.
pub(super) fn output_elements(name: &str, inputs: &[&T], attributes: &[(&str, Parameter)]) -> u64 {
    let positive = |values: &[i64]| product(values.iter().map(|&value| value.max(0) as u64));
    let all = || inputs.iter().map(|x| elements(x)).fold(0, u64::saturating_add);
    match (name, inputs) {
        ("broadcast" | "reshape", _) => positive(numbers(attributes, "dims")),
        ("tile", [x]) => elements(x).saturating_mul(positive(numbers(attributes, "repeats"))),
        ("pad", [x]) => {
            let (before, after) = (numbers(attributes, "before"), numbers(attributes, "after"));
            let more = |axis: usize| {
                let pads = [before, after].map(|pads| pads.get(axis).copied().unwrap_or(0).max(0));
                pads[0] as u64 + pads[1] as u64
            };
            let extents = x.dims.iter().enumerate().map(|(axis, dim)| match dim {
                Extent::Fixed(extent) => extent.saturating_add(more(axis)),
                Extent::Batch => u64::MAX,
            });
            product(extents)
        }
        ("one-hot", [x]) => elements(x).saturating_mul(number(attributes, "depth")),
        ("gather", [x, indices]) => {
            let axis = number(attributes, "axis") as usize;
            let rest = x.dims.iter().enumerate().filter(|(other, _)| *other != axis);
            let rest = rest.map(|(_, dim)| match dim {
                Extent::Fixed(extent) => *extent,
                Extent::Batch => u64::MAX,
            });
            product(rest).saturating_mul(elements(indices))
        }
        ("gather-nd", [x, indices]) => elements(x).saturating_mul(elements(indices)),
        ("concat", _) => all(),
        _ => broadcast(inputs).max(all()),
    }
}

/// Elements of all inputs broadcast to one shape.
fn broadcast(inputs: &[&T]) -> u64 {
    let rank = inputs.iter().map(|x| x.rank()).max().unwrap_or(0);
    let extent = |from_end: usize| {
        let own = inputs.iter().filter_map(|x| {
            let axis = x.rank().checked_sub(1 + from_end)?;
            match x.dims[axis] {
                Extent::Fixed(extent) => Some(extent),
                Extent::Batch => Some(u64::MAX),
            }
        });
        own.max().unwrap_or(1)
    };
    product((0..rank).map(extent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{full, int_vector};
    use aimass_sdk::DType;

    #[test]
    fn ops_that_grow_are_known_to() {
        let zeros = |shape: &[u64]| full(DType::F32, shape, 0.0).unwrap();
        let (row, column) = (zeros(&[1, 4000]), zeros(&[4000, 1]));
        assert_eq!(output_elements("add", &[&row, &column], &[]), 16_000_000);
        assert_eq!(output_elements("neg", &[&row], &[]), 4000);
        let dims = [("dims", Parameter::Integers(vec![1 << 20, 1 << 40, 1 << 20]))];
        assert_eq!(output_elements("broadcast", &[&row], &dims), u64::MAX);
        let repeats = [("repeats", Parameter::Integers(vec![3, 2]))];
        assert_eq!(output_elements("tile", &[&row], &repeats), 24_000);
        let depth = [("depth", Parameter::Integer(10))];
        assert_eq!(output_elements("one-hot", &[&int_vector(&[1, 2])], &depth), 20);
        let axis = [("axis", Parameter::Integer(0))];
        let (x, indices) = (zeros(&[5, 7]), int_vector(&[0; 3]));
        assert_eq!(output_elements("gather", &[&x, &indices], &axis), 21);
        assert_eq!(output_elements("concat", &[&x, &x], &axis), 70);
        let pads = [
            ("before", Parameter::Integers(vec![0, 1])),
            ("after", Parameter::Integers(vec![2, i64::MAX])),
        ];
        assert_eq!(output_elements("pad", &[&x], &pads), u64::MAX);
    }
}

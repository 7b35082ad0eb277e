//! How outputs differ from what a fixture expects: where first, what was expected, what came, how
//! many elements differ and by how much at most.

use crate::Fixture;
use aimass_tensor::{Element, Shape, Tensor};
use std::fmt::Display;

/// Characters of one string that a difference shows.
const SHOWN_CHARS_MAX: usize = 120;

/// Compares what came with what a fixture expects.
///
/// # Errors
/// The first output that differs, in words: the first element, expected and got, how many elements
/// differ, and for numbers the largest difference.
pub fn compare(fixture: &Fixture, outputs: &[(String, Tensor)]) -> Result<(), String> {
    for (name, expected) in &fixture.outputs {
        let Some((_, got)) = outputs.iter().find(|(other, _)| other == name) else {
            let came: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
            return Err(format!(
                "output {name}: expected, but it did not come; there are {came:?}"
            ));
        };
        if (expected.dtype(), expected.shape()) != (got.dtype(), got.shape()) {
            return Err(format!(
                "output {name}: expected {} {}, got {} {}",
                expected.dtype(),
                expected.shape(),
                got.dtype(),
                got.shape()
            ));
        }
        if let Some(difference) = elements(expected, got, fixture.tolerance) {
            return Err(format!("output {name}{difference}"));
        }
    }
    Ok(())
}

/// The difference of two tensors of one dtype and shape, if there is one.
fn elements(expected: &Tensor, got: &Tensor, tolerance: f64) -> Option<String> {
    if let (Some(a), Some(b)) = (expected.strings(), got.strings()) {
        let at = a.iter().zip(b.iter()).position(|(a, b)| a != b)?;
        let unequal = a.iter().zip(b.iter()).filter(|(a, b)| a != b).count();
        let (a, b) = (shown(a.get(at)), shown(b.get(at)));
        let place = place(at, expected.shape());
        return Some(format!("{place}: expected {a}, got {b}{}", others(unequal, expected)));
    }
    let floats = numbers::<f32>(expected, got, tolerance, f64::from)
        .or_else(|| numbers::<f64>(expected, got, tolerance, |value| value));
    let exact = || {
        numbers::<i32>(expected, got, 0.0, f64::from)
            .or_else(|| numbers::<i64>(expected, got, 0.0, |value| value as f64))
            .or_else(|| numbers::<u32>(expected, got, 0.0, f64::from))
            .or_else(|| numbers::<u64>(expected, got, 0.0, |value| value as f64))
            .or_else(|| numbers::<u8>(expected, got, 0.0, f64::from))
            .or_else(|| numbers::<i8>(expected, got, 0.0, f64::from))
            .or_else(|| numbers::<i16>(expected, got, 0.0, f64::from))
            .or_else(|| numbers::<u16>(expected, got, 0.0, f64::from))
    };
    floats.or_else(exact).unwrap_or_else(|| bytes(expected, got))
}

/// The difference of two tensors of `T`; the outer `None` if they hold something else.
fn numbers<T: Element + Display + PartialEq>(
    expected: &Tensor,
    got: &Tensor,
    tolerance: f64,
    wide: impl Fn(T) -> f64,
) -> Option<Option<String>> {
    let (a, b) = (expected.as_slice::<T>().ok()?, got.as_slice::<T>().ok()?);
    let mut first = None;
    let (mut unequal, mut most, mut most_at) = (0, 0.0f64, 0);
    for (at, (&a, &b)) in a.iter().zip(b).enumerate() {
        let apart = (wide(a) - wide(b)).abs();
        let near = apart <= tolerance && (tolerance > 0.0 || a == b);
        if near || a == b || (wide(a).is_nan() && wide(b).is_nan()) {
            continue;
        }
        first.get_or_insert(at);
        unequal += 1;
        // A NaN beside a number is as far apart as can be.
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        if apart > most {
            (most, most_at) = (apart, at);
        }
    }
    Some(first.map(|at| {
        let allowed = if tolerance > 0.0 { format!(" ± {tolerance}") } else { String::new() };
        let most = match unequal {
            1 => String::new(),
            _ => format!(", most by {most:e} at {:?}", index(most_at, expected.shape())),
        };
        format!(
            "{}: expected {}{allowed}, got {}{}{most}",
            place(at, expected.shape()),
            a[at],
            b[at],
            others(unequal, expected)
        )
    }))
}

/// The difference of two tensors whose elements have no Rust type here (bool, half floats, blocks).
fn bytes(expected: &Tensor, got: &Tensor) -> Option<String> {
    let at = expected.bytes().iter().zip(got.bytes()).position(|(a, b)| a != b)?;
    let size = expected.dtype().size().unwrap_or(1).max(1);
    let start = at / size * size;
    let of = |tensor: &Tensor| {
        let bytes = &tensor.bytes()[start..tensor.byte_len().min(start + size)];
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let place = place(at / size, expected.shape());
    Some(format!("{place}: expected bytes {}, got {}", of(expected), of(got)))
}

/// `[5] (at [1, 2])`, or `[5]` alone in a vector.
fn place(at: usize, shape: &Shape) -> String {
    match shape.dims().len() {
        0 | 1 => format!("[{at}]"),
        _ => format!("[{at}] (at {:?})", index(at, shape)),
    }
}

/// The index of a flat place, row-major.
fn index(at: usize, shape: &Shape) -> Vec<usize> {
    let mut left = at;
    let mut index: Vec<usize> = shape
        .dims()
        .iter()
        .rev()
        .map(|&extent| {
            let here = left % extent.max(1);
            left /= extent.max(1);
            here
        })
        .collect();
    index.reverse();
    index
}

fn others(unequal: usize, tensor: &Tensor) -> String {
    match unequal {
        1 => String::new(),
        _ => format!("; {unequal} of {} elements differ", tensor.shape().elements()),
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let short: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    match short.len() < text.len() {
        true => format!("{short:?}.. ({} bytes)", bytes.len()),
        false => format!("{short:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn difference(expected: Tensor, got: Tensor, tolerance: f64) -> String {
        let fixture = Fixture {
            name: "n".to_owned(),
            config: None,
            inputs: Vec::new(),
            parameters: BTreeMap::new(),
            outputs: vec![("y".to_owned(), expected)],
            tolerance,
            error: None,
        };
        compare(&fixture, &[("y".to_owned(), got)]).err().unwrap_or_default()
    }

    #[test]
    fn the_first_element_the_count_and_the_largest_difference_are_told() {
        let expected = Tensor::from_slice(&[2, 2], &[1f32, 2., 3., 4.]).unwrap();
        let got = Tensor::from_slice(&[2, 2], &[1f32, 2.25, 3., 4.5]).unwrap();
        assert_eq!(
            difference(expected.clone(), got.clone(), 0.1),
            "output y[1] (at [0, 1]): expected 2 ± 0.1, got 2.25; 2 of 4 elements differ, most by \
             5e-1 at [1, 1]"
        );
        assert_eq!(
            difference(expected.clone(), got.clone(), 0.25),
            "output y[3] (at [1, 1]): expected 4 ± 0.25, got 4.5"
        );
        assert_eq!(difference(expected, got, 0.5), "");
    }

    #[test]
    fn not_a_number_equals_itself_and_nothing_else() {
        let nan = || Tensor::from_slice(&[1], &[f32::NAN]).unwrap();
        assert_eq!(difference(nan(), nan(), 0.0), "");
        let one = Tensor::from_slice(&[1], &[1f32]).unwrap();
        assert_eq!(difference(one, nan(), 9.0), "output y[0]: expected 1 ± 9, got NaN");
    }

    #[test]
    fn integers_and_strings_are_equal_or_not() {
        let big = |value: i64| Tensor::from_slice(&[1], &[value]).unwrap();
        // Both are the same f64; they differ all the same.
        let text = difference(big(i64::MAX), big(i64::MAX - 1), 0.0);
        assert!(text.contains("expected 9223372036854775807, got 9223372036854775806"), "{text}");
        let strings = |list: &[&str]| {
            let strings = aimass_tensor::Strings::from_slices(list).unwrap();
            Tensor::from_strings(Shape::new(&[list.len()]).unwrap(), strings).unwrap()
        };
        let text = difference(strings(&["a", "b"]), strings(&["a", "c"]), 0.0);
        assert_eq!(text, "output y[1]: expected \"b\", got \"c\"");
        let long = "x".repeat(500);
        let text = difference(strings(&["a"]), strings(&[&long]), 0.0);
        assert!(text.len() < 250 && text.ends_with("(500 bytes)"), "{text}");
    }

    #[test]
    fn another_shape_or_a_missing_output_is_said_before_elements() {
        let one = Tensor::from_slice(&[1], &[1f32]).unwrap();
        let two = Tensor::from_slice(&[2], &[1f32, 1.]).unwrap();
        let text = difference(one, two, 0.0);
        assert!(text.contains("expected f32 [1], got f32 [2]"), "{text}");
    }
}

//! Functions of two or three tensors with numpy broadcasting.

mod broadcast;
mod number;
mod typed;

pub use broadcast::Broadcast;
pub use number::{Integer, Number};
pub use typed::{Operands, binary_typed, bitwise_typed, compare_typed};

use crate::level::leveled;
use crate::pool::Team;

/// Arithmetic of two numbers of one type.
///
/// Integer overflow wraps; an integer divided by 0 gives 0, as does its remainder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a b`.
    Mul,
    /// `a / b`; integers round towards 0.
    Div,
    /// Remainder with the sign of `a` (C `fmod`).
    Rem,
    /// `a` to the power `b`; an integer to a negative power rounds towards 0.
    Pow,
    /// The larger; NaN if either is.
    Max,
    /// The smaller; NaN if either is.
    Min,
}

/// Comparison of two numbers; false if one is NaN, but for `NotEqual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the relation's usual name")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Operation on bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BitOp {
    /// `a & b`.
    And,
    /// `a | b`.
    Or,
    /// `a ^ b`.
    Xor,
    /// `a << b`; 0 from the width of the type on.
    ShiftLeft,
    /// `a >> b`, keeping the sign; 0 or -1 from the width of the type on.
    ShiftRight,
}

leveled! {
    /// `out = op(a, b)`, broadcast as `plan` says.
    ///
    /// # Panics
    /// If a slice does not have the elements of its shape in `plan`.
    pub fn binary<T: Number>(
        op: Binary, plan: &Broadcast<2>, a: &[T], b: &[T], out: &mut [T],
    ) = binary_body(op, plan, a, b, out);
}

/// As [`binary`] for these shapes, on several threads where that pays.
///
/// # Panics
/// If the shapes do not broadcast, or a slice does not have the elements of its shape.
pub fn binary_split<T: Number>(
    team: Team<'_>,
    op: Binary,
    shapes: [&[usize]; 2],
    a: &[T],
    b: &[T],
    out: &mut [T],
) {
    let rank = shapes[0].len().max(shapes[1].len());
    let extent = |shape: &[usize], axis: usize| match axis + shape.len() >= rank {
        true => shape[axis + shape.len() - rank],
        false => 1,
    };
    let all = |axis: usize| extent(shapes[0], axis).max(extent(shapes[1], axis));
    // Cut along the first axis that is one: all before it have one element.
    let axis = (0..rank).find(|&axis| all(axis) > 1);
    let whole = |out: &mut [T]| match Broadcast::new(shapes) {
        Some(plan) => binary(op, &plan, a, b, out),
        None => panic!("shapes {shapes:?} do not broadcast"),
    };
    let Some(axis) = axis.filter(|_| team.threads() > 1 && out.len() >= SPLIT_LEN_MIN) else {
        return whole(out);
    };
    let count = all(axis);
    let line = out.len() / count;
    let lines = count.div_ceil(out.len().div_ceil(SPLIT_LEN_MIN / 4).max(team.threads()));
    team.chunks([out], [lines * line], &|task, [out]| {
        let own = task * lines..task * lines + out.len() / line;
        let [x, y] = [(shapes[0], a), (shapes[1], b)].map(|(shape, data)| {
            let cut = extent(shape, axis) > 1;
            let step = if cut { data.len() / count } else { 0 };
            let len = if cut { own.len() * step } else { data.len() };
            let mut shape = shape.to_vec();
            if cut {
                let at = axis + shape.len() - rank;
                shape[at] = own.len();
            }
            (shape, &data[own.start * step..][..len])
        });
        match Broadcast::new([&x.0, &y.0]) {
            Some(plan) => binary(op, &plan, x.1, y.1, out),
            None => panic!("parts of shapes that broadcast do not"),
        }
    });
}

/// Elements of a result from which several threads make it.
const SPLIT_LEN_MIN: usize = 128 << 10;

#[inline(always)]
fn binary_body<T: Number>(op: Binary, plan: &Broadcast<2>, a: &[T], b: &[T], out: &mut [T]) {
    match op {
        Binary::Add => plan.zip(a, b, out, T::add),
        Binary::Sub => plan.zip(a, b, out, T::sub),
        Binary::Mul => plan.zip(a, b, out, T::mul),
        Binary::Div => plan.zip(a, b, out, T::div),
        Binary::Rem => plan.zip(a, b, out, T::rem),
        Binary::Pow => plan.zip(a, b, out, T::pow),
        Binary::Max => plan.zip(a, b, out, T::max),
        Binary::Min => plan.zip(a, b, out, T::min),
    }
}

leveled! {
    /// `out = a op b` as bools (0 or 1), broadcast as `plan` says.
    ///
    /// # Panics
    /// If a slice does not have the elements of its shape in `plan`.
    pub fn compare<T: Number>(
        op: Comparison, plan: &Broadcast<2>, a: &[T], b: &[T], out: &mut [u8],
    ) = compare_body(op, plan, a, b, out);
}

#[inline(always)]
fn compare_body<T: Number>(op: Comparison, plan: &Broadcast<2>, a: &[T], b: &[T], out: &mut [u8]) {
    match op {
        Comparison::Equal => plan.zip(a, b, out, |a, b| u8::from(a == b)),
        Comparison::NotEqual => plan.zip(a, b, out, |a, b| u8::from(a != b)),
        Comparison::Less => plan.zip(a, b, out, |a, b| u8::from(a < b)),
        Comparison::LessEqual => plan.zip(a, b, out, |a, b| u8::from(a <= b)),
        Comparison::Greater => plan.zip(a, b, out, |a, b| u8::from(a > b)),
        Comparison::GreaterEqual => plan.zip(a, b, out, |a, b| u8::from(a >= b)),
    }
}

/// `out = a op b` on the bits of integers, broadcast as `plan` says.
///
/// # Panics
/// If a slice does not have the elements of its shape in `plan`.
pub fn bitwise<T: Integer>(op: BitOp, plan: &Broadcast<2>, a: &[T], b: &[T], out: &mut [T]) {
    match op {
        BitOp::And => plan.zip(a, b, out, T::and),
        BitOp::Or => plan.zip(a, b, out, T::or),
        BitOp::Xor => plan.zip(a, b, out, T::xor),
        BitOp::ShiftLeft => plan.zip(a, b, out, T::shift_left),
        BitOp::ShiftRight => plan.zip(a, b, out, T::shift_right),
    }
}

/// Connective of two bools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Logical {
    /// Both.
    And,
    /// At least one.
    Or,
    /// Exactly one.
    Xor,
}

/// `out = a op b` on bools (0 is false, anything else true), broadcast as `plan` says.
///
/// # Panics
/// If a slice does not have the elements of its shape in `plan`.
pub fn logical(op: Logical, plan: &Broadcast<2>, a: &[u8], b: &[u8], out: &mut [u8]) {
    match op {
        Logical::And => plan.zip(a, b, out, |a, b| u8::from(a != 0 && b != 0)),
        Logical::Or => plan.zip(a, b, out, |a, b| u8::from(a | b != 0)),
        Logical::Xor => plan.zip(a, b, out, |a, b| u8::from((a != 0) != (b != 0))),
    }
}

/// `out = condition ? yes : no`, broadcast as `plan` says; any element type.
///
/// # Panics
/// If a slice does not have the elements of its shape in `plan`.
pub fn select<T: Copy>(plan: &Broadcast<3>, condition: &[u8], yes: &[T], no: &[T], out: &mut [T]) {
    plan.check([condition.len(), yes.len(), no.len()], out.len());
    plan.for_each_run(|start, [c, y, n], steps, len| {
        for (i, out) in out[start..start + len].iter_mut().enumerate() {
            let chosen = condition[c + i * steps[0]] != 0;
            *out = if chosen { yes[y + i * steps[1]] } else { no[n + i * steps[2]] };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(a: &[usize], b: &[usize]) -> Broadcast<2> {
        Broadcast::new([a, b]).unwrap()
    }

    #[test]
    fn arithmetic_of_floats_and_integers() {
        let cases: [(Binary, f32, f32, f32); 10] = [
            (Binary::Add, 2.0, 3.0, 5.0),
            (Binary::Sub, 2.0, 3.0, -1.0),
            (Binary::Mul, 2.0, 3.0, 6.0),
            (Binary::Div, 1.0, 0.0, f32::INFINITY),
            (Binary::Rem, -7.0, 3.0, -1.0),
            (Binary::Pow, 2.0, -1.0, 0.5),
            (Binary::Max, 2.0, 3.0, 3.0),
            (Binary::Min, 2.0, 3.0, 2.0),
            (Binary::Max, f32::NAN, 3.0, f32::NAN),
            (Binary::Min, 3.0, f32::NAN, f32::NAN),
        ];
        for (op, a, b, want) in cases {
            let mut out = [0f32];
            binary(op, &plan(&[], &[1]), &[a], &[b], &mut out);
            assert!(out[0] == want || (out[0].is_nan() && want.is_nan()), "{op:?} {out:?}");
        }
        let cases: [(Binary, i32, i32, i32); 11] = [
            (Binary::Add, i32::MAX, 1, i32::MIN),
            (Binary::Div, 7, 0, 0),
            (Binary::Div, -7, 2, -3),
            (Binary::Div, i32::MIN, -1, i32::MIN),
            (Binary::Rem, 7, 0, 0),
            (Binary::Rem, -7, 3, -1),
            (Binary::Pow, 3, 4, 81),
            (Binary::Pow, 2, -1, 0),
            (Binary::Pow, -1, -3, -1),
            (Binary::Max, -2, 1, 1),
            (Binary::Min, -2, 1, -2),
        ];
        for (op, a, b, want) in cases {
            let mut out = [0i32];
            binary(op, &plan(&[1], &[1]), &[a], &[b], &mut out);
            assert_eq!(out[0], want, "{op:?} {a} {b}");
        }
    }

    #[test]
    fn comparisons_and_connectives() {
        let (a, b) = ([1f32, 2.0, f32::NAN], [2f32, 2.0, 1.0]);
        for (op, want) in [
            (Comparison::Equal, [0, 1, 0]),
            (Comparison::NotEqual, [1, 0, 1]),
            (Comparison::Less, [1, 0, 0]),
            (Comparison::LessEqual, [1, 1, 0]),
            (Comparison::Greater, [0, 0, 0]),
            (Comparison::GreaterEqual, [0, 1, 0]),
        ] {
            let mut out = [9u8; 3];
            compare(op, &plan(&[3], &[3]), &a, &b, &mut out);
            assert_eq!(out, want, "{op:?}");
        }
        let mut out = [9u8; 4];
        for (op, want) in [
            (Logical::And, [0, 0, 0, 1]),
            (Logical::Or, [0, 1, 1, 1]),
            (Logical::Xor, [0, 1, 1, 0]),
        ] {
            logical(op, &plan(&[4], &[4]), &[0, 0, 4, 1], &[0, 2, 0, 3], &mut out);
            assert_eq!(out, want, "{op:?}");
        }
        let mut out = [0i32; 3];
        bitwise(BitOp::ShiftRight, &plan(&[3], &[3]), &[-8, -8, 8], &[1, 99, -1], &mut out);
        assert_eq!(out, [-4, -1, 0]);
        bitwise(BitOp::ShiftLeft, &plan(&[3], &[3]), &[3, 3, 3], &[1, 31, 32], &mut out);
        assert_eq!(out, [6, i32::MIN, 0]);
    }

    #[test]
    fn select_broadcasts_three_ways() {
        let plan = Broadcast::new([&[2, 1], &[3], &[]]).unwrap();
        assert_eq!(plan.shape(), [2, 3]);
        let mut out = [0i64; 6];
        select(&plan, &[1, 0], &[1, 2, 3], &[9], &mut out);
        assert_eq!(out, [1, 2, 3, 9, 9, 9]);
    }
}

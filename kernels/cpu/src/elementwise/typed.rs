//! Arithmetic, comparisons and bit operations on bytes of a dtype.
//!
//! They are compiled here, once each: whatever has the same bits for signed and unsigned integers
//! runs as unsigned, and what no processor does in vectors has one form for all instruction sets.

use super::{Binary, BitOp, Broadcast, Comparison, Integer, Number, binary, bitwise, compare};
use crate::level::leveled;
use crate::view::{numbers, numbers_mut};
use aimass_tensor::{DType, Element};

/// Runs an expression with `$T` the Rust type of an integer dtype.
macro_rules! with_integer {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::I8 => with_integer!(@ i8, $T => $body),
            DType::I16 => with_integer!(@ i16, $T => $body),
            DType::I32 => with_integer!(@ i32, $T => $body),
            DType::I64 => with_integer!(@ i64, $T => $body),
            DType::U8 => with_integer!(@ u8, $T => $body),
            DType::U16 => with_integer!(@ u16, $T => $body),
            DType::U32 => with_integer!(@ u32, $T => $body),
            DType::U64 => with_integer!(@ u64, $T => $body),
            _ => return false,
        }
    };
    (@ $t:ty, $T:ident => $body:expr) => {{
        type $T = $t;
        $body
    }};
}

/// As `with_integer!`, with the unsigned type of the same width.
macro_rules! with_width {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::I8 | DType::U8 => with_integer!(@ u8, $T => $body),
            DType::I16 | DType::U16 => with_integer!(@ u16, $T => $body),
            DType::I32 | DType::U32 => with_integer!(@ u32, $T => $body),
            DType::I64 | DType::U64 => with_integer!(@ u64, $T => $body),
            _ => return false,
        }
    };
}

/// Two inputs of one dtype.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    /// Type of their elements.
    pub dtype: DType,
    /// Bytes of the left one.
    pub a: &'a [u8],
    /// Bytes of the right one.
    pub b: &'a [u8],
}

impl<'a> Operands<'a> {
    fn numbers<T: Element>(&self) -> [&'a [T]; 2] {
        // No bytes may lie anywhere, aligned or not.
        [self.a, self.b].map(|bytes| if bytes.is_empty() { &[] } else { numbers(bytes) })
    }
}

/// [`binary`] on integers of 8 to 64 bits, f32 and f64; false (and nothing done) for other dtypes.
///
/// # Panics
/// If bytes are misaligned or do not have the elements of their shape in `plan`.
pub fn binary_typed(op: Binary, plan: &Broadcast<2>, x: &Operands<'_>, out: &mut [u8]) -> bool {
    let dtype = x.dtype;
    match op {
        _ if dtype == DType::F32 => of::<f32>(x, out, |a, b, out| binary(op, plan, a, b, out)),
        _ if dtype == DType::F64 => of::<f64>(x, out, |a, b, out| binary(op, plan, a, b, out)),
        Binary::Add => return ring(Ring::Add, plan, x, out),
        Binary::Sub => return ring(Ring::Sub, plan, x, out),
        Binary::Mul => return ring(Ring::Mul, plan, x, out),
        Binary::Max | Binary::Min => with_integer!(dtype, T => {
            of::<T>(x, out, |a, b, out| extremes(op == Binary::Max, plan, a, b, out));
        }),
        Binary::Div => with_integer!(dtype, T => {
            of::<T>(x, out, |a, b, out| plan.zip(a, b, out, Number::div));
        }),
        Binary::Rem => with_integer!(dtype, T => {
            of::<T>(x, out, |a, b, out| plan.zip(a, b, out, Number::rem));
        }),
        Binary::Pow => with_integer!(dtype, T => {
            of::<T>(x, out, |a, b, out| plan.zip(a, b, out, Number::pow));
        }),
    }
    true
}

/// Arithmetic that has the same bits for signed and unsigned integers.
#[derive(Clone, Copy)]
enum Ring {
    Add,
    Sub,
    Mul,
}

fn ring(op: Ring, plan: &Broadcast<2>, x: &Operands<'_>, out: &mut [u8]) -> bool {
    with_width!(x.dtype, T => of::<T>(x, out, |a, b, out| ring_numbers(op, plan, a, b, out)));
    true
}

/// [`compare`] on integers of 8 to 64 bits, bool, f32 and f64; false for other dtypes.
///
/// # Panics
/// As [`binary_typed`].
pub fn compare_typed(
    op: Comparison,
    plan: &Broadcast<2>,
    x: &Operands<'_>,
    out: &mut [u8],
) -> bool {
    let dtype = if x.dtype == DType::Bool { DType::U8 } else { x.dtype };
    let by_bits = matches!(op, Comparison::Equal | Comparison::NotEqual);
    match dtype {
        DType::F32 => test::<f32>(op, plan, x, out),
        DType::F64 => test::<f64>(op, plan, x, out),
        dtype if by_bits => with_width!(dtype, T => test::<T>(op, plan, x, out)),
        dtype => with_integer!(dtype, T => test::<T>(op, plan, x, out)),
    }
    true
}

/// [`bitwise`] on integers of 8 to 64 bits; false for other dtypes.
///
/// # Panics
/// As [`binary_typed`].
pub fn bitwise_typed(op: BitOp, plan: &Broadcast<2>, x: &Operands<'_>, out: &mut [u8]) -> bool {
    match op {
        BitOp::ShiftRight => with_integer!(x.dtype, T => {
            of::<T>(x, out, |a, b, out| plan.zip(a, b, out, Integer::shift_right));
        }),
        BitOp::And | BitOp::Or | BitOp::Xor | BitOp::ShiftLeft => with_width!(x.dtype, T => {
            of::<T>(x, out, |a, b, out| bitwise(op, plan, a, b, out));
        }),
    }
    true
}

fn of<T: Element>(x: &Operands<'_>, out: &mut [u8], f: impl FnOnce(&[T], &[T], &mut [T])) {
    let [a, b] = x.numbers();
    f(a, b, numbers_mut(out));
}

fn test<T: Number>(op: Comparison, plan: &Broadcast<2>, x: &Operands<'_>, out: &mut [u8]) {
    let [a, b] = x.numbers::<T>();
    compare(op, plan, a, b, out);
}

leveled! {
    fn ring_numbers<T: Integer>(op: Ring, plan: &Broadcast<2>, a: &[T], b: &[T], out: &mut [T])
        = ring_body(op, plan, a, b, out);
}

#[inline(always)]
fn ring_body<T: Integer>(op: Ring, plan: &Broadcast<2>, a: &[T], b: &[T], out: &mut [T]) {
    match op {
        Ring::Add => plan.zip(a, b, out, T::add),
        Ring::Sub => plan.zip(a, b, out, T::sub),
        Ring::Mul => plan.zip(a, b, out, T::mul),
    }
}

leveled! {
    fn extremes<T: Integer>(max: bool, plan: &Broadcast<2>, a: &[T], b: &[T], out: &mut [T])
        = extremes_body(max, plan, a, b, out);
}

#[inline(always)]
fn extremes_body<T: Integer>(max: bool, plan: &Broadcast<2>, a: &[T], b: &[T], out: &mut [T]) {
    match max {
        true => plan.zip(a, b, out, Number::max),
        false => plan.zip(a, b, out, Number::min),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;
    use crate::view::bytes_of;

    /// Bytes of every kind, among them equal elements and shift counts within the width.
    fn bytes(seed: usize) -> Vec<u64> {
        (0..48u64).map(|i| if i % 3 == 0 { i } else { (i * seed as u64).rotate_left(29) }).collect()
    }

    fn check<T: Integer>() {
        let (a, b) = (bytes(0x9e37_79b9), bytes(0x85eb_ca6b));
        let (a, b): (&[T], &[T]) = (numbers(bytes_of(&a)), numbers(bytes_of(&b)));
        let plan = Broadcast::new([&[a.len()], &[b.len()]]).unwrap();
        let x = Operands { dtype: T::DTYPE, a: bytes_of(a), b: bytes_of(b) };
        let mut got = vec![0u64; 48];
        let got: &mut [u8] = crate::view::bytes_of_mut(&mut got);
        let mut want = vec![T::default(); a.len()];
        for_each_level(|level| {
            for op in [
                Binary::Add,
                Binary::Sub,
                Binary::Mul,
                Binary::Div,
                Binary::Rem,
                Binary::Pow,
                Binary::Max,
                Binary::Min,
            ] {
                assert!(binary_typed(op, &plan, &x, got));
                binary(op, &plan, a, b, &mut want);
                assert_eq!(got, bytes_of(&want), "{op:?} {} {level:?}", T::DTYPE);
            }
        });
        for op in [BitOp::And, BitOp::Or, BitOp::Xor, BitOp::ShiftLeft, BitOp::ShiftRight] {
            assert!(bitwise_typed(op, &plan, &x, got));
            bitwise(op, &plan, a, b, &mut want);
            assert_eq!(got, bytes_of(&want), "{op:?} {}", T::DTYPE);
        }
        let (mut got, mut want) = (vec![9u8; a.len()], vec![7u8; a.len()]);
        for op in [Comparison::Equal, Comparison::NotEqual, Comparison::Less, Comparison::Greater] {
            assert!(compare_typed(op, &plan, &x, &mut got));
            compare(op, &plan, a, b, &mut want);
            assert_eq!(got, want, "{op:?} {}", T::DTYPE);
        }
    }

    #[test]
    fn bytes_of_integers_give_what_the_integers_give() {
        check::<i8>();
        check::<i16>();
        check::<i32>();
        check::<i64>();
        check::<u8>();
        check::<u16>();
        check::<u32>();
        check::<u64>();
    }

    #[test]
    fn other_dtypes_are_not_touched() {
        let plan = Broadcast::new([&[1], &[1]]).unwrap();
        let x = Operands { dtype: DType::F16, a: &[0, 0], b: &[0, 0] };
        let mut out = [9u8; 2];
        assert!(!binary_typed(Binary::Add, &plan, &x, &mut out));
        assert!(!binary_typed(Binary::Max, &plan, &x, &mut out));
        assert!(!compare_typed(Comparison::Less, &plan, &x, &mut out));
        assert!(!bitwise_typed(BitOp::Or, &plan, &x, &mut out));
        assert_eq!(out, [9; 2]);
    }
}

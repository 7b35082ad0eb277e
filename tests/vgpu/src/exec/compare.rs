//! Comparisons.

use super::float::numbers;
use super::registers::{BITS, LANES, Lane, Registers};
use super::warp::Warp;
use crate::ptx::instruction::{
    Compare, Float, Inst, Int, Logic, NO_PRED, Operands, Relation, SetValue,
};

/// Lanes where the relation holds, for the lower numbers and for the upper ones of pairs.
fn relation(r: &Registers, i: &Inst, compare: &Compare) -> [u32; 2] {
    let test = |bits| [bits, bits];
    match compare.operands {
        Operands::Int(Int::U16) => test(ordered::<u16>(r, i, compare.relation)),
        Operands::Int(Int::S16) => test(ordered::<i16>(r, i, compare.relation)),
        Operands::Int(Int::U32) => test(ordered::<u32>(r, i, compare.relation)),
        Operands::Int(Int::S32) => test(ordered::<i32>(r, i, compare.relation)),
        Operands::Int(Int::U64) => test(ordered::<u64>(r, i, compare.relation)),
        Operands::Int(Int::S64) => test(ordered::<i64>(r, i, compare.relation)),
        Operands::Float(Float::F32) if !compare.ftz => {
            test(partial::<f32>(&f32::load(r, i.a), &f32::load(r, i.b), compare.relation))
        }
        Operands::Float(ty) => {
            let (a, b) = (numbers(r, i.a, ty), numbers(r, i.b, ty));
            let flush = |row: [f64; LANES]| {
                if !compare.ftz {
                    return row;
                }
                row.map(
                    |value| if value.abs() < f64::from(f32::MIN_POSITIVE) { 0.0 } else { value },
                )
            };
            let lower = partial(&flush(a.0), &flush(b.0), compare.relation);
            [lower, partial(&flush(a.1), &flush(b.1), compare.relation)]
        }
    }
}

fn ordered<T: Lane + Ord>(r: &Registers, i: &Inst, relation: Relation) -> u32 {
    partial(&T::load(r, i.a), &T::load(r, i.b), relation)
}

#[inline(always)]
fn partial<T: Copy + PartialOrd>(a: &[T; LANES], b: &[T; LANES], relation: Relation) -> u32 {
    #[inline(always)]
    fn bits<T: Copy>(a: &[T; LANES], b: &[T; LANES], f: impl Fn(T, T) -> bool) -> u32 {
        (0..LANES).fold(0, |bits, lane| bits | if f(a[lane], b[lane]) { BITS[lane] } else { 0 })
    }
    let number = |a: T, b: T| a.partial_cmp(&b).is_some();
    match relation {
        Relation::Eq => bits(a, b, |a, b| a == b),
        Relation::Ne => bits(a, b, |a, b| number(a, b) && a != b),
        Relation::Lt => bits(a, b, |a, b| a < b),
        Relation::Le => bits(a, b, |a, b| a <= b),
        Relation::Gt => bits(a, b, |a, b| a > b),
        Relation::Ge => bits(a, b, |a, b| a >= b),
        Relation::Equ => bits(a, b, |a, b| !number(a, b) || a == b),
        Relation::Neu => bits(a, b, |a, b| a != b),
        Relation::Ltu => !bits(a, b, |a, b| a >= b),
        Relation::Leu => !bits(a, b, |a, b| a > b),
        Relation::Gtu => !bits(a, b, |a, b| a <= b),
        Relation::Geu => !bits(a, b, |a, b| a < b),
        Relation::Num => bits(a, b, number),
        Relation::Nan => !bits(a, b, number),
    }
}

fn combined(warp: &Warp, compare: &Compare, bits: u32) -> u32 {
    match compare.combine {
        None => bits,
        Some((logic, pred, negate)) => logic_of(logic, bits, warp.holds(pred, negate)),
    }
}

/// Bitwise logic.
pub(super) fn logic_of(logic: Logic, a: u32, b: u32) -> u32 {
    match logic {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}

/// `setp`. Of pairs, the second predicate is the comparison of the upper numbers.
pub(super) fn compare(warp: &mut Warp, i: &Inst, mask: u32, compare: &Compare) {
    let [lower, upper] = relation(&warp.registers, i, compare);
    let pairs = matches!(compare.operands, Operands::Float(Float::F16x2 | Float::Bf16x2));
    let second = combined(warp, compare, if pairs { upper } else { !lower });
    let first = combined(warp, compare, lower);
    warp.put_pred(i.d, first, mask);
    if compare.complement != NO_PRED {
        warp.put_pred(u32::from(compare.complement), second, mask);
    }
}

/// `set`.
pub(super) fn set(warp: &mut Warp, i: &Inst, mask: u32, compare: &Compare, value: SetValue) {
    let [lower, upper] = relation(&warp.registers, i, compare);
    let (lower, upper) = (combined(warp, compare, lower), combined(warp, compare, upper));
    let pairs = matches!(compare.operands, Operands::Float(Float::F16x2 | Float::Bf16x2));
    let values = std::array::from_fn(|lane| {
        let (low, high) = (lower & BITS[lane] != 0, upper & BITS[lane] != 0);
        match value {
            SetValue::Ones if pairs => u32::from(low) * 0xffff + u32::from(high) * 0xffff_0000,
            SetValue::Ones => {
                if low {
                    u32::MAX
                } else {
                    0
                }
            }
            SetValue::OneF32 => {
                if low {
                    1.0f32.to_bits()
                } else {
                    0
                }
            }
            SetValue::OneF16 { one } => {
                if low {
                    u32::from(one)
                } else {
                    0
                }
            }
            SetValue::OneF16x2 { one } => {
                u32::from(one) * (u32::from(low) + (u32::from(high) << 16))
            }
        }
    });
    warp.registers.put_words(i.d, &values, mask);
}

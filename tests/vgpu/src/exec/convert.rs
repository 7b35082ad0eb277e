//! `cvt`.

use super::registers::{LANES, Registers};
use crate::float::{
    Format, Rounding, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16, flush, to_f32,
};
use crate::ptx::Type;
use crate::ptx::instruction::{Convert, Inst};

/// A number between its two types.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

/// `cvt` of one value.
pub(super) fn convert(r: &mut Registers, i: &Inst, mask: u32, c: &Convert) {
    if short(r, i, mask, c) {
        return;
    }
    let wide_source = c.from.bytes() == 8;
    let source: [u64; LANES] = if wide_source { *r.wide(i.a) } else { r.word(i.a).map(u64::from) };
    let values = source.map(|bits| one(c, bits));
    if c.register_bytes == 8 {
        r.put_wides(i.d, &values, mask);
    } else {
        let keep = if c.register_bytes == 2 { 0xffff } else { u32::MAX };
        r.put_words(i.d, &values.map(|bits| bits as u32 & keep), mask);
    }
}

/// The conversions that most programs are made of, as vector code.
fn short(r: &mut Registers, i: &Inst, mask: u32, c: &Convert) -> bool {
    if c.sat || c.ftz || c.relu || c.finite || c.rounding == Rounding::NearestAway {
        return false;
    }
    let nearest = c.rounding == Rounding::Nearest;
    match (c.from, c.to, c.register_bytes) {
        (Type::U32, Type::U64 | Type::S64, 8) => r.map1(i, mask, |a: u32| u64::from(a)),
        (Type::S32, Type::S64 | Type::U64, 8) => r.map1(i, mask, |a: i32| i64::from(a)),
        (Type::U64 | Type::S64, Type::U32 | Type::S32, 4) => r.map1(i, mask, |a: u64| a as u32),
        (Type::U16, Type::U32 | Type::S32, 4) => r.map1(i, mask, |a: u16| u32::from(a)),
        (Type::S16, Type::S32 | Type::U32, 4) => r.map1(i, mask, |a: i16| i32::from(a)),
        (Type::U32 | Type::S32, Type::U16 | Type::S16, 2) => r.map1(i, mask, |a: u32| a as u16),
        (Type::S32, Type::F32, _) if nearest => r.map1(i, mask, |a: i32| a as f32),
        (Type::U32, Type::F32, _) if nearest => r.map1(i, mask, |a: u32| a as f32),
        (Type::F16, Type::F32, _) => r.map1(i, mask, f16_to_f32),
        (Type::Bf16, Type::F32, _) => r.map1(i, mask, bf16_to_f32),
        (Type::F32, Type::F16, _) if nearest => r.map1(i, mask, f32_to_f16),
        (Type::F32, Type::Bf16, _) if nearest => r.map1(i, mask, f32_to_bf16),
        (Type::F32, Type::F64, _) => r.map1(i, mask, |a: f32| f64::from(a)),
        (Type::F64, Type::F32, _) if nearest => r.map1(i, mask, |a: f64| a as f32),
        _ => return false,
    }
    true
}

fn one(c: &Convert, bits: u64) -> u64 {
    let number = match read(c.from, bits) {
        Number::Float(value) if c.ftz && c.from == Type::F32 => {
            Number::Float(f64::from(flush(value as f32)))
        }
        number => number,
    };
    match number {
        Number::Int(value) if c.to.is_float() => float(c, value as f64),
        Number::Int(value) => integer(c, value),
        Number::Float(value) if c.to.is_float() && c.to_integer => {
            float(c, whole(value, c.rounding))
        }
        Number::Float(value) if c.to.is_float() => float(c, value),
        Number::Float(value) if value.is_nan() => {
            let wide = c.from == Type::F64 || c.to.bytes() == 8;
            extend(if wide { 1 << (8 * c.to.bytes() - 1) } else { 0 }, c.register_bytes)
        }
        Number::Float(value) => clamped(c.to, whole(value, c.rounding), c.register_bytes),
    }
}

fn read(ty: Type, bits: u64) -> Number {
    match ty {
        Type::U8 | Type::B8 => Number::Int(i128::from(bits as u8)),
        Type::S8 => Number::Int(i128::from(bits as i8)),
        Type::U16 | Type::B16 => Number::Int(i128::from(bits as u16)),
        Type::S16 => Number::Int(i128::from(bits as i16)),
        Type::U32 | Type::B32 => Number::Int(i128::from(bits as u32)),
        Type::S32 => Number::Int(i128::from(bits as i32)),
        Type::U64 | Type::B64 => Number::Int(i128::from(bits)),
        Type::S64 => Number::Int(i128::from(bits as i64)),
        Type::F16 => Number::Float(f64::from(f16_to_f32(bits as u16))),
        Type::Bf16 => Number::Float(f64::from(bf16_to_f32(bits as u16))),
        Type::F32 | Type::Tf32 => Number::Float(f64::from(f32::from_bits(bits as u32))),
        Type::F64 => Number::Float(f64::from_bits(bits)),
        Type::Pred | Type::B128 | Type::F16x2 | Type::Bf16x2 | Type::E4m3x2 | Type::E5m2x2 => {
            unreachable!("the decoder converts no {ty:?} here")
        }
    }
}

fn whole(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::NearestAway => value.round(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

/// A whole number as an integer, clamped to its range.
fn clamped(to: Type, value: f64, register_bytes: u8) -> u64 {
    let (low, high) = range(to, 8 * to.bytes());
    extend((value as i128).clamp(low, high), register_bytes)
}

fn range(to: Type, bits: u32) -> (i128, i128) {
    if to.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn extend(value: i128, register_bytes: u8) -> u64 {
    match register_bytes {
        2 => value as u64 & 0xffff,
        4 => value as u64 & 0xffff_ffff,
        _ => value as u64,
    }
}

/// Integer to integer: clamped or cut to the target's bits, then extended to the register.
fn integer(c: &Convert, value: i128) -> u64 {
    let bits = 8 * c.to.bytes();
    let (low, high) = range(c.to, bits);
    if c.sat {
        return extend(value.clamp(low, high), c.register_bytes);
    }
    let unused = 128 - bits;
    let cut = if c.to.is_signed() {
        (value << unused) >> unused
    } else {
        ((value as u128) << unused >> unused) as i128
    };
    extend(cut, c.register_bytes)
}

fn float(c: &Convert, value: f64) -> u64 {
    let mut value = value;
    if c.sat {
        value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
    }
    if c.relu && value <= 0.0 {
        value = 0.0;
    }
    match c.to {
        Type::F64 => value.to_bits(),
        Type::F32 => {
            let single = to_f32(value, c.rounding);
            u64::from(if c.ftz { flush(single) } else { single }.to_bits())
        }
        other => u64::from(rounded(c, other, value)),
    }
}

fn rounded(c: &Convert, ty: Type, value: f64) -> u32 {
    match ty {
        Type::F16 | Type::F16x2 => Format::F16.round(value, c.rounding, c.finite),
        Type::Bf16 | Type::Bf16x2 => Format::BF16.round(value, c.rounding, c.finite),
        Type::Tf32 => Format::TF32.round(value, c.rounding, c.finite) << 13,
        Type::E4m3x2 => Format::E4M3.round(value, c.rounding, c.finite),
        Type::E5m2x2 => Format::E5M2.round(value, c.rounding, c.finite),
        other => unreachable!("the decoder rounds to no {other:?}"),
    }
}

/// `cvt` of two singles to a pair; the first source is the upper number.
pub(super) fn convert_pair(r: &mut Registers, i: &Inst, mask: u32, c: &Convert) {
    let bits = match c.to {
        Type::E4m3x2 | Type::E5m2x2 => 8,
        _ => 16,
    };
    r.map2(i, mask, |upper: f32, lower: f32| {
        let half = |value: f32| {
            let value = if c.relu && value <= 0.0 { 0.0 } else { value };
            rounded(c, c.to, f64::from(value))
        };
        half(upper) << bits | half(lower)
    });
}

/// `cvt.rn.f16x2.e4m3x2` and its kin: two small numbers to two halves.
pub(super) fn widen_pair(r: &mut Registers, i: &Inst, mask: u32, c: &Convert) {
    let format = if c.from == Type::E4m3x2 { Format::E4M3 } else { Format::E5M2 };
    r.map1(i, mask, |pair: u32| {
        let half = |bits: u32| {
            let value = format.value(bits & 0xff);
            let value = if c.relu && value <= 0.0 { 0.0 } else { value };
            Format::F16.round(value, Rounding::Nearest, false)
        };
        half(pair >> 8) << 16 | half(pair)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(to: Type, from: Type) -> Convert {
        Convert {
            to,
            from,
            rounding: Rounding::Nearest,
            to_integer: false,
            ftz: false,
            sat: false,
            finite: false,
            relu: false,
            register_bytes: to.bytes().max(2) as u8,
        }
    }

    #[test]
    fn numbers_are_clamped_or_cut() {
        let to_u8 = Convert { rounding: Rounding::Zero, ..plain(Type::U8, Type::F32) };
        assert_eq!(one(&to_u8, u64::from(300.7f32.to_bits())), 255);
        assert_eq!(one(&to_u8, u64::from((-3.0f32).to_bits())), 0);
        assert_eq!(one(&plain(Type::U8, Type::S32), 0x1ff), 0xff);
        assert_eq!(one(&Convert { sat: true, ..plain(Type::S8, Type::S32) }, 200), 127);
        assert_eq!(one(&plain(Type::S16, Type::S8), 0x80), 0xff80);
        assert_eq!(one(&plain(Type::S64, Type::S8), 0x80), (-128i64) as u64);
    }

    #[test]
    fn rounding_modifiers_pick_the_integer() {
        let round = |rounding, value: f32| {
            let c = Convert { rounding, ..plain(Type::S32, Type::F32) };
            one(&c, u64::from(value.to_bits())) as u32 as i32
        };
        assert_eq!(round(Rounding::Nearest, 2.5), 2);
        assert_eq!(round(Rounding::Zero, -2.5), -2);
        assert_eq!(round(Rounding::Down, -2.5), -3);
        assert_eq!(round(Rounding::Up, 2.1), 3);
        assert_eq!(round(Rounding::Zero, 1e20), i32::MAX);
        let c =
            Convert { to_integer: true, rounding: Rounding::Down, ..plain(Type::F32, Type::F32) };
        assert_eq!(one(&c, u64::from(2.75f32.to_bits())), u64::from(2.0f32.to_bits()));
    }

    #[test]
    fn small_formats() {
        let c = Convert { rounding: Rounding::NearestAway, ..plain(Type::Tf32, Type::F32) };
        assert_eq!(one(&c, 0x3f80_1000), 0x3f80_2000);
        let c = Convert { rounding: Rounding::Zero, ..plain(Type::F16, Type::F32) };
        assert_eq!(one(&c, u64::from(65535.0f32.to_bits())), 0x7bff);
    }
}

//! Integer instructions.

use super::registers::{LANES, Lane, Registers};
use crate::ptx::Type;
use crate::ptx::instruction::{Bits3, CarryOp, Inst, Int, Int1, Int2, Int3, PrmtMode};

/// Integers of arithmetic, of both signs and three widths.
trait Integer: Lane {
    const BITS: u32;
    fn wide(self) -> i128;
    fn narrow(value: i128) -> Self;
    fn clamp(value: i128) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn rem(self, other: Self) -> Self;
    fn least(self, other: Self) -> Self;
    fn most(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn shl(self, by: u32) -> Self;
    fn shr(self, by: u32) -> Self;
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

macro_rules! integer {
    ($ty:ident, $unsigned:ident) => {
        impl Integer for $ty {
            const BITS: u32 = $ty::BITS;
            #[inline(always)]
            fn wide(self) -> i128 {
                i128::from(self)
            }
            #[inline(always)]
            fn narrow(value: i128) -> Self {
                value as $ty
            }
            fn clamp(value: i128) -> Self {
                value.clamp(i128::from($ty::MIN), i128::from($ty::MAX)) as $ty
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            // Division by zero gives all ones on the hardware.
            fn div(self, other: Self) -> Self {
                if other == 0 { !0 } else { self.wrapping_div(other) }
            }
            fn rem(self, other: Self) -> Self {
                if other == 0 { self } else { self.wrapping_rem(other) }
            }
            #[inline(always)]
            fn least(self, other: Self) -> Self {
                Ord::min(self, other)
            }
            #[inline(always)]
            fn most(self, other: Self) -> Self {
                Ord::max(self, other)
            }
            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline(always)]
            fn shl(self, by: u32) -> Self {
                if by >= $ty::BITS { 0 } else { self << by }
            }
            #[inline(always)]
            fn shr(self, by: u32) -> Self {
                if by >= $ty::BITS { (self >> ($ty::BITS - 1)) >> 1 } else { self >> by }
            }
            #[inline(always)]
            fn bits(self) -> u64 {
                u64::from(self as $unsigned)
            }
            #[inline(always)]
            fn from_bits(bits: u64) -> Self {
                bits as $ty
            }
        }
    };
}

integer!(u16, u16);
integer!(i16, u16);
integer!(u32, u32);
integer!(i32, u32);
integer!(u64, u64);
integer!(i64, u64);

macro_rules! for_type {
    ($ty:expr, $function:ident($($argument:expr),*)) => {
        match $ty {
            Int::U16 => $function::<u16>($($argument),*),
            Int::S16 => $function::<i16>($($argument),*),
            Int::U32 => $function::<u32>($($argument),*),
            Int::S32 => $function::<i32>($($argument),*),
            Int::U64 => $function::<u64>($($argument),*),
            Int::S64 => $function::<i64>($($argument),*),
        }
    };
}

/// One source.
pub(crate) fn int1(r: &mut Registers, i: &Inst, mask: u32, op: Int1, ty: Int) {
    for_type!(ty, one(r, i, mask, op));
}

/// Two sources.
pub(crate) fn int2(r: &mut Registers, i: &Inst, mask: u32, op: Int2, ty: Int) {
    for_type!(ty, two(r, i, mask, op));
}

/// Three sources.
pub(crate) fn int3(r: &mut Registers, i: &Inst, mask: u32, op: Int3, ty: Int) {
    for_type!(ty, three(r, i, mask, op));
}

fn one<T: Integer>(r: &mut Registers, i: &Inst, mask: u32, op: Int1) {
    let unused = 64 - T::BITS;
    match op {
        Int1::Not => r.map1(i, mask, |a: T| T::from_bits(!a.bits())),
        Int1::CNot => r.map1(i, mask, |a: T| T::from_bits(u64::from(a.bits() == 0))),
        Int1::Neg => r.map1(i, mask, |a: T| T::from_bits(0).sub(a)),
        Int1::Abs => r.map1(i, mask, |a: T| T::narrow(a.wide().abs())),
        Int1::Popc => r.map1(i, mask, |a: T| a.bits().count_ones()),
        Int1::Clz => r.map1(i, mask, |a: T| a.bits().leading_zeros() - unused),
        Int1::Brev => r.map1(i, mask, |a: T| T::from_bits(a.bits().reverse_bits() >> unused)),
        Int1::Bfind => r.map1(i, mask, |a: T| leading::<T>(a).map_or(u32::MAX, |bit| bit)),
        Int1::BfindShift => {
            r.map1(i, mask, |a: T| leading::<T>(a).map_or(u32::MAX, |bit| T::BITS - 1 - bit));
        }
    }
}

/// Place of the highest bit that is not the sign.
fn leading<T: Integer>(value: T) -> Option<u32> {
    let bits = if value.wide() < 0 {
        !value.bits() << (64 - T::BITS) >> (64 - T::BITS)
    } else {
        value.bits()
    };
    bits.checked_ilog2()
}

fn two<T: Integer>(r: &mut Registers, i: &Inst, mask: u32, op: Int2) {
    match op {
        Int2::Add => r.map2(i, mask, T::add),
        Int2::Sub => r.map2(i, mask, T::sub),
        Int2::AddSat => r.map2(i, mask, |a: T, b: T| T::clamp(a.wide() + b.wide())),
        Int2::SubSat => r.map2(i, mask, |a: T, b: T| T::clamp(a.wide() - b.wide())),
        Int2::MulLo => r.map2(i, mask, T::mul),
        Int2::MulHi => r.map2(i, mask, high::<T>),
        Int2::Mul24 => {
            r.map2(i, mask, |a: T, b: T| T::narrow(low24(a.wide()) * low24(b.wide())));
        }
        Int2::Div => r.map2(i, mask, T::div),
        Int2::Rem => r.map2(i, mask, T::rem),
        Int2::Min => r.map2(i, mask, T::least),
        Int2::Max => r.map2(i, mask, T::most),
        Int2::And => r.map2(i, mask, T::and),
        Int2::Or => r.map2(i, mask, T::or),
        Int2::Xor => r.map2(i, mask, T::xor),
        Int2::Shl => r.map2(i, mask, |a: T, by: u32| a.shl(by)),
        Int2::Shr => r.map2(i, mask, |a: T, by: u32| a.shr(by)),
    }
}

/// The upper half of a product. Unsigned 64-bit products pass 127 bits and wrap to the same bits.
fn high<T: Integer>(a: T, b: T) -> T {
    let product = a.wide().wrapping_mul(b.wide());
    T::narrow(product >> T::BITS)
}

fn low24(value: i128) -> i128 {
    if value < 0 { (value << 104) >> 104 } else { value & 0xff_ffff }
}

fn three<T: Integer>(r: &mut Registers, i: &Inst, mask: u32, op: Int3) {
    match op {
        Int3::MadLo => r.map3(i, mask, |a: T, b: T, c: T| a.mul(b).add(c)),
        Int3::MadHi => r.map3(i, mask, |a: T, b: T, c: T| high(a, b).add(c)),
        Int3::Mad24 => {
            r.map3(i, mask, |a: T, b: T, c: T| T::narrow(low24(a.wide()) * low24(b.wide())).add(c))
        }
        Int3::Sad => {
            r.map3(i, mask, |a: T, b: T, c: T| T::narrow((a.wide() - b.wide()).abs()).add(c))
        }
        Int3::Bfe => r.map3(i, mask, extract::<T>),
    }
}

/// `bfe`: the field at `start` of so many bits, with its sign or zeros above.
fn extract<T: Integer>(value: T, start: u32, length: u32) -> T {
    let (start, length) = (start & 0xff, length & 0xff);
    let signed = T::from_bits(u64::MAX).wide() < 0;
    if length == 0 {
        return T::from_bits(0);
    }
    let filled = if signed { value.wide() } else { i128::from(value.bits()) };
    let field = filled >> start.min(T::BITS);
    if length >= T::BITS {
        return T::narrow(field);
    }
    let unused = 128 - length;
    if !signed {
        return T::from_bits((field & ((1 << length) - 1)) as u64);
    }
    T::narrow((field << unused) >> unused)
}

/// `bfi`: the low bits of `a` put into `b`.
pub(crate) fn insert(r: &mut Registers, i: &Inst, mask: u32, length: &[u32; LANES], wide: bool) {
    let start = *r.word(i.c);
    let put = |bits: u32, a: u64, b: u64, lane: usize| {
        let (start, length) = (start[lane] & 0xff, length[lane] & 0xff);
        if start >= bits || length == 0 {
            return b;
        }
        let field = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
        (a & field) << start | b & !(field << start)
    };
    if wide {
        let (a, b) = (*r.wide(i.a), *r.wide(i.b));
        let values = std::array::from_fn(|lane| put(64, a[lane], b[lane], lane));
        r.put_wides(i.d, &values, mask);
    } else {
        let (a, b) = (*r.word(i.a), *r.word(i.b));
        let values =
            std::array::from_fn(|lane| put(32, a[lane].into(), b[lane].into(), lane) as u32);
        r.put_words(i.d, &values, mask);
    }
}

/// Arithmetic with the carry flag of each lane; gives the lanes that carry.
pub(crate) fn carry(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    (op, ty): (CarryOp, Int),
    flags: u32,
) -> u32 {
    let wide = matches!(ty, Int::U64 | Int::S64);
    let bits = if wide { 64 } else { 32 };
    let signed = matches!(ty, Int::S32 | Int::S64);
    let read = |slot| if wide { *r.wide(slot) } else { r.word(slot).map(u64::from) };
    let (a, b) = (read(i.a), read(i.b));
    let c = if matches!(op, CarryOp::MadLo | CarryOp::MadHi) { read(i.c) } else { [0; LANES] };
    let mut carries = 0;
    let values = std::array::from_fn(|lane| {
        let flag = u128::from(flags >> lane & 1);
        let product = || {
            if signed {
                let extend =
                    |x: u64| if wide { i128::from(x as i64) } else { i128::from(x as i32) };
                (extend(a[lane]) * extend(b[lane])) as u128
            } else {
                u128::from(a[lane]) * u128::from(b[lane])
            }
        };
        let keep = (1_u128 << bits) - 1;
        let sum = match op {
            CarryOp::Add => u128::from(a[lane]) + u128::from(b[lane]) + flag,
            CarryOp::Sub => u128::from(a[lane]).wrapping_sub(u128::from(b[lane]) + flag),
            CarryOp::MadLo => (product() & keep) + u128::from(c[lane]) + flag,
            CarryOp::MadHi => (product() >> bits & keep) + u128::from(c[lane]) + flag,
        };
        carries |= if sum > keep { 1 << lane } else { 0 };
        (sum & keep) as u64
    });
    if wide {
        r.put_wides(i.d, &values, mask);
    } else {
        r.put_words(i.d, &values.map(|value| value as u32), mask);
    }
    carries
}

/// `mul.wide`.
pub(crate) fn mul_wide(r: &mut Registers, i: &Inst, mask: u32, ty: Int) {
    match ty {
        Int::U16 => r.map2(i, mask, |a: u16, b: u16| u32::from(a) * u32::from(b)),
        Int::S16 => r.map2(i, mask, |a: i16, b: i16| i32::from(a) * i32::from(b)),
        Int::U32 => r.map2(i, mask, |a: u32, b: u32| u64::from(a) * u64::from(b)),
        Int::S32 => r.map2(i, mask, |a: i32, b: i32| i64::from(a) * i64::from(b)),
        Int::U64 | Int::S64 => unreachable!("the decoder finds no type of twice 64 bits"),
    }
}

/// `mad.wide`.
pub(crate) fn mad_wide(r: &mut Registers, i: &Inst, mask: u32, ty: Int) {
    match ty {
        Int::U16 => {
            r.map3(i, mask, |a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c))
        }
        Int::S16 => {
            r.map3(i, mask, |a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c))
        }
        Int::U32 => {
            r.map3(i, mask, |a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c))
        }
        Int::S32 => {
            r.map3(i, mask, |a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c))
        }
        Int::U64 | Int::S64 => unreachable!("the decoder finds no type of twice 64 bits"),
    }
}

/// Three sources taken as bits.
pub(crate) fn bits3(r: &mut Registers, i: &Inst, mask: u32, op: Bits3) {
    match op {
        Bits3::Lop3(table) => r.map3(i, mask, |a, b, c| lop3(table, a, b, c)),
        Bits3::Prmt(mode) => r.map3(i, mask, |a, b, c| permute(mode, a, b, c)),
        Bits3::ShfLeft { wrap } => r.map3(i, mask, |a: u32, b: u32, c: u32| {
            let by = if wrap { c & 31 } else { c.min(32) };
            ((u64::from(b) << 32 | u64::from(a)) << by >> 32) as u32
        }),
        Bits3::ShfRight { wrap } => r.map3(i, mask, |a: u32, b: u32, c: u32| {
            let by = if wrap { c & 31 } else { c.min(32) };
            ((u64::from(b) << 32 | u64::from(a)) >> by) as u32
        }),
        Bits3::Dp4a { a_signed, b_signed } => r.map3(i, mask, |a: u32, b: u32, c: u32| {
            (0..4).fold(c, |sum, byte| {
                let product =
                    part(a >> (8 * byte), 8, a_signed) * part(b >> (8 * byte), 8, b_signed);
                sum.wrapping_add(product as u32)
            })
        }),
        Bits3::Dp2a { a_signed, b_signed, high } => r.map3(i, mask, |a: u32, b: u32, c: u32| {
            let b = if high { b >> 16 } else { b };
            (0..2).fold(c, |sum, at| {
                let product = part(a >> (16 * at), 16, a_signed) * part(b >> (8 * at), 8, b_signed);
                sum.wrapping_add(product as u32)
            })
        }),
    }
}

fn part(value: u32, bits: u32, signed: bool) -> i32 {
    let up = value << (32 - bits);
    if signed { up as i32 >> (32 - bits) } else { (up >> (32 - bits)) as i32 }
}

#[inline(always)]
fn lop3(table: u8, a: u32, b: u32, c: u32) -> u32 {
    let mut result = 0;
    for row in 0..8 {
        if table >> row & 1 == 1 {
            let a = if row & 4 != 0 { a } else { !a };
            let b = if row & 2 != 0 { b } else { !b };
            let c = if row & 1 != 0 { c } else { !c };
            result |= a & b & c;
        }
    }
    result
}

fn permute(mode: PrmtMode, a: u32, b: u32, c: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let byte = |place: u32| (bytes >> (8 * (place & 7)) & 0xff) as u32;
    let picked = |places: [u32; 4]| {
        places.iter().enumerate().fold(0, |word, (at, place)| word | byte(*place) << (8 * at))
    };
    let by = c & 3;
    match mode {
        PrmtMode::Index => (0..4).fold(0, |word, at| {
            let selector = c >> (4 * at) & 0xf;
            let value = byte(selector);
            let sign = if value & 0x80 != 0 { 0xff } else { 0 };
            word | (if selector & 8 != 0 { sign } else { value }) << (8 * at)
        }),
        PrmtMode::F4e => picked([by, by + 1, by + 2, by + 3]),
        PrmtMode::B4e => picked([by, by + 7, by + 6, by + 5]),
        PrmtMode::Rc8 => picked([by; 4]),
        PrmtMode::Ecl => picked([by, by.max(1), by.max(2), 3]),
        PrmtMode::Ecr => picked([0, by.min(1), by.min(2), by]),
        PrmtMode::Rc16 => picked([(by & 1) * 2, (by & 1) * 2 + 1, (by & 1) * 2, (by & 1) * 2 + 1]),
    }
}

/// `cvt.pack.sat`: `a` and `b` clamped and put above the lower part of `c`.
pub(crate) fn convert_pack(r: &mut Registers, i: &Inst, mask: u32, to: Type) {
    let bits = 8 * to.bytes();
    let (low, high) = if to.is_signed() {
        (-(1_i64 << (bits - 1)), (1_i64 << (bits - 1)) - 1)
    } else {
        (0, (1_i64 << bits) - 1)
    };
    let clamp = |value: i32| (i64::from(value).clamp(low, high) as u32) & ((1 << bits) - 1);
    r.map3(i, mask, |a: i32, b: i32, c: u32| {
        let pair = clamp(a) << bits | clamp(b);
        if bits == 16 { pair } else { c << 16 | pair }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::instruction::{NO_PRED, Op};

    fn inst() -> Inst {
        Inst { op: Op::Nop, guard: NO_PRED, negate: false, flops: 0, d: 0, a: 2, b: 4, c: 6 }
    }

    fn check(op: Int2, ty: Int, a: u64, b: u64, expected: u64) {
        let mut r = Registers::new(8);
        r.wide_mut(2).fill(a);
        r.wide_mut(4).fill(b);
        if matches!(op, Int2::Shl | Int2::Shr) {
            r.word_mut(4).fill(b as u32);
        }
        int2(&mut r, &inst(), 1 << 5, op, ty);
        let (word, wide) = (u64::from(r.word(0)[5]), r.wide(0)[5]);
        let got = if matches!(ty, Int::U64 | Int::S64) { wide } else { word };
        assert_eq!(got, expected, "{op:?} {ty:?} {a:#x} {b:#x}");
        assert_eq!(r.word(0)[6], 0, "a lane outside of the mask was written");
    }

    #[test]
    fn products_and_shifts_at_their_edges() {
        check(Int2::MulHi, Int::U64, u64::MAX, u64::MAX, u64::MAX - 1);
        check(Int2::MulHi, Int::S64, u64::MAX, 2, u64::MAX);
        check(Int2::Shl, Int::U64, 1, 63, 1 << 63);
        check(Int2::Shr, Int::S64, 1 << 63, 200, u64::MAX);
        check(Int2::Shr, Int::U64, 1 << 63, 64, 0);
        check(Int2::AddSat, Int::S64, i64::MAX as u64, 1, i64::MAX as u64);
        check(Int2::Div, Int::U64, 7, 0, u64::MAX);
    }

    #[test]
    fn fields_keep_their_sign() {
        assert_eq!(extract(0xf0_u32, 4, 4), 0xf);
        assert_eq!(extract(0xf0_i32, 4, 4), -1);
        assert_eq!(extract(-1_i32, 40, 8), -1);
        assert_eq!(extract(5_u32, 0, 0), 0);
        assert_eq!(extract(0x8000_0000_u32, 31, 9), 1);
        assert_eq!(leading(-1_i32), None);
        assert_eq!(leading(0x0001_0000_u32), Some(16));
        assert_eq!(leading(-0x1_0000_i32), Some(15));
    }

    #[test]
    fn bytes_are_permuted_as_documented() {
        assert_eq!(permute(PrmtMode::Index, 0x0302_0100, 0x0706_0504, 0x3715), 0x0307_0105);
        assert_eq!(permute(PrmtMode::Index, 0x80, 0, 0x8888), 0xffff_ffff);
        assert_eq!(permute(PrmtMode::F4e, 0x0302_0100, 0x0706_0504, 1), 0x0403_0201);
        assert_eq!(permute(PrmtMode::B4e, 0x0302_0100, 0x0706_0504, 0), 0x0506_0700);
        assert_eq!(permute(PrmtMode::Rc16, 0x0302_0100, 0, 1), 0x0302_0302);
        assert_eq!(permute(PrmtMode::Ecr, 0x0302_0100, 0, 2), 0x0202_0100);
    }

    #[test]
    fn any_function_of_three_bits() {
        assert_eq!(lop3(0xc0, 0b1100, 0b1010, 0), 0b1000);
        assert_eq!(lop3(0x96, 0b1100, 0b1010, 0b1111) & 15, 0b1001);
        assert_eq!(lop3(0xea, 0b1100, 0b1010, 0b0001), 0b1001);
    }
}

//! Atomics and reductions on memory, lane after lane.

use super::Trouble;
use super::access::{lanes, number};
use super::machine::Machine;
use super::shadow::Touch;
use super::warp::Warp;
use crate::float::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16, flush};
use crate::ptx::Type;
use crate::ptx::instruction::{Atomic, AtomicOp, Inst};

impl Machine<'_> {
    /// `atom` and `red`.
    pub(super) fn atomic(
        &mut self,
        warp: &mut Warp,
        i: &Inst,
        mask: u32,
        atomic: &Atomic,
    ) -> Result<(), Trouble> {
        let addresses = warp.addresses(i.a, atomic.wide_address, atomic.offset);
        let bytes = atomic.ty.bytes();
        if self.launch.count {
            self.count_sectors(atomic.space, &addresses, mask, bytes);
        }
        let wide = bytes == 8;
        for lane in lanes(mask) {
            let source = |slot| {
                if wide {
                    warp.registers.wide(slot)[lane]
                } else {
                    u64::from(warp.registers.word(slot)[lane])
                }
            };
            let b = source(i.b);
            let c = if atomic.op == AtomicOp::Cas { source(i.c) } else { 0 };
            let at = self.at(warp, lane, atomic.space, addresses[lane], bytes);
            let place = self.place(at, Touch::ATOMIC)?;
            let old = number(place);
            let new = combine(atomic.op, atomic.ty, old, b, c);
            place.copy_from_slice(&new.to_le_bytes()[..bytes as usize]);
            if atomic.returns && wide {
                warp.registers.wide_mut(i.d)[lane] = old;
            } else if atomic.returns {
                warp.registers.word_mut(i.d)[lane] = old as u32;
            }
        }
        Ok(())
    }
}

/// The new value in memory.
fn combine(op: AtomicOp, ty: Type, old: u64, b: u64, c: u64) -> u64 {
    let keep = if ty.bytes() == 8 { u64::MAX } else { (1 << (8 * ty.bytes())) - 1 };
    let signed = |bits: u64| match ty {
        Type::S64 => bits as i64,
        _ => i64::from(bits as i32),
    };
    match op {
        AtomicOp::Add if ty.is_float() => add(ty, old, b),
        AtomicOp::Add => old.wrapping_add(b) & keep,
        AtomicOp::Min | AtomicOp::Max if ty.is_signed() => {
            let (x, y) = (signed(old), signed(b));
            (if op == AtomicOp::Min { x.min(y) } else { x.max(y) }) as u64 & keep
        }
        AtomicOp::Min => old.min(b & keep),
        AtomicOp::Max => old.max(b & keep),
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b & keep,
        AtomicOp::Xor => old ^ b & keep,
        AtomicOp::Exch => b & keep,
        AtomicOp::Cas => {
            if old == b & keep {
                c & keep
            } else {
                old
            }
        }
        AtomicOp::Inc => {
            if old >= b & keep {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b & keep {
                b & keep
            } else {
                old - 1
            }
        }
    }
}

fn add(ty: Type, old: u64, b: u64) -> u64 {
    let f16 = |x: u64, y: u64| f32_to_f16(f16_to_f32(x as u16) + f16_to_f32(y as u16));
    let bf16 = |x: u64, y: u64| f32_to_bf16(bf16_to_f32(x as u16) + bf16_to_f32(y as u16));
    match ty {
        Type::F64 => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        Type::F16 => u64::from(f16(old, b)),
        Type::F16x2 => u64::from(f16(old, b)) | u64::from(f16(old >> 16, b >> 16)) << 16,
        Type::Bf16 => u64::from(bf16(old, b)),
        Type::Bf16x2 => u64::from(bf16(old, b)) | u64::from(bf16(old >> 16, b >> 16)) << 16,
        // Single-precision atomics on global memory flush subnormals (PTX ISA, `atom`).
        _ => {
            let sum = flush(f32::from_bits(old as u32)) + flush(f32::from_bits(b as u32));
            u64::from(flush(sum).to_bits())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_on_its_types() {
        let check = |op, ty, old, b, expected| assert_eq!(combine(op, ty, old, b, 9), expected);
        check(AtomicOp::Add, Type::U32, 0xffff_ffff, 2, 1);
        check(AtomicOp::Min, Type::S32, 5, 0xffff_ffff, 0xffff_ffff);
        check(AtomicOp::Min, Type::U32, 5, 0xffff_ffff, 5);
        check(AtomicOp::Max, Type::S64, u64::MAX, 3, 3);
        check(AtomicOp::Inc, Type::U32, 7, 7, 0);
        check(AtomicOp::Dec, Type::U32, 0, 7, 7);
        check(AtomicOp::Cas, Type::U32, 4, 4, 9);
        check(AtomicOp::Cas, Type::B16, 4, 0x1_0004, 9);
        check(AtomicOp::Cas, Type::U32, 4, 5, 4);
        let one = u64::from(1.5f32.to_bits());
        check(AtomicOp::Add, Type::F32, one, one, u64::from(3.0f32.to_bits()));
        check(AtomicOp::Add, Type::F16x2, 0x3c00_3c00, 0x4000_3c00, 0x4200_4000);
    }
}

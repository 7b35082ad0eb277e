//! Loads, stores, and copies that run beside the program.

use super::Trouble;
use super::machine::{At, Machine};
use super::registers::LANES;
use super::shadow::Touch;
use super::warp::{Copy, Warp};
use crate::code::Code;
use crate::ptx::Type;
use crate::ptx::instruction::{Access, CopyAsync, Inst, Slot, Space};

/// The lanes of a mask, lowest first.
pub(super) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            lane
        })
    })
}

/// Up to 8 bytes, lowest first, as a number.
#[inline(always)]
pub(super) fn number(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

/// A loaded number as the register holds it: sign or zeros above.
#[inline(always)]
fn extended(ty: Type, bits: u64) -> u64 {
    match ty {
        Type::S8 => bits as i8 as u64,
        Type::S16 => bits as i16 as u64,
        Type::S32 => bits as i32 as u64,
        _ => bits,
    }
}

fn touch(access: &Access, write: bool) -> Touch {
    Touch { reads: !write, writes: write, strong: access.strong }
}

impl Machine<'_> {
    /// `ld`.
    pub(super) fn load(
        &mut self,
        warp: &mut Warp,
        i: &Inst,
        mask: u32,
        access: &Access,
    ) -> Result<(), Trouble> {
        let addresses = warp.addresses(i.a, access.wide_address, access.offset);
        let element = access.ty.bytes();
        let bytes = element * access.registers.len() as u32;
        if self.launch.count {
            self.count_sectors(access.space, &addresses, mask, bytes);
        }
        let touch = touch(access, false);
        for lane in lanes(mask) {
            let at = self.at(warp, lane, access.space, addresses[lane], bytes);
            let from = self.place(at, touch)?;
            for (part, slot) in from.chunks_exact(element as usize).zip(&access.registers) {
                let value = extended(access.ty, number(part));
                put(warp, *slot, lane, value, access.register_bytes);
            }
        }
        Ok(())
    }

    /// `st`.
    pub(super) fn store(
        &mut self,
        warp: &mut Warp,
        i: &Inst,
        mask: u32,
        access: &Access,
    ) -> Result<(), Trouble> {
        let addresses = warp.addresses(i.a, access.wide_address, access.offset);
        let element = access.ty.bytes();
        let bytes = element * access.registers.len() as u32;
        if self.launch.count {
            self.count_sectors(access.space, &addresses, mask, bytes);
        }
        let touch = touch(access, true);
        for lane in lanes(mask) {
            let at = self.at(warp, lane, access.space, addresses[lane], bytes);
            let to = self.place(at, touch)?;
            for (part, slot) in to.chunks_exact_mut(element as usize).zip(&access.registers) {
                let value = get(warp, *slot, lane, access.register_bytes);
                part.copy_from_slice(&value.to_le_bytes()[..element as usize]);
            }
        }
        Ok(())
    }

    /// `ld.param`.
    pub(super) fn load_param(
        &mut self,
        warp: &mut Warp,
        i: &Inst,
        mask: u32,
        access: &Access,
    ) -> Result<(), Trouble> {
        let addresses = warp.addresses(i.a, access.wide_address, access.offset);
        let element = access.ty.bytes() as usize;
        let params = self.launch.params;
        for lane in lanes(mask) {
            let start = addresses[lane] as usize;
            let end = start.saturating_add(element * access.registers.len());
            let Some(from) = params.get(start..end) else {
                let text = format!("read of parameter bytes {start}..{end} of {}", params.len());
                return Err(Trouble::new(Code::ILLEGAL_ADDRESS, lane as u32, text));
            };
            for (part, slot) in from.chunks_exact(element).zip(&access.registers) {
                put(warp, *slot, lane, extended(access.ty, number(part)), access.register_bytes);
            }
        }
        Ok(())
    }

    /// `cp.async`: noted now, done when it is waited for.
    pub(super) fn copy_async(
        &mut self,
        warp: &mut Warp,
        i: &Inst,
        mask: u32,
        copy: &CopyAsync,
    ) -> Result<(), Trouble> {
        let to = warp.addresses(i.a, copy.to_wide, copy.to_offset);
        let from = warp.addresses(i.b, true, copy.from_offset);
        if self.launch.count {
            self.count_sectors(Space::Global, &from, mask, copy.bytes);
        }
        for lane in lanes(mask) {
            let bytes = copy.bytes;
            let source_bytes = match copy.source_bytes {
                Some(slot) => warp.registers.word(slot)[lane],
                None => bytes,
            };
            if source_bytes > bytes {
                let text = format!("cp.async reads {source_bytes} bytes and writes {bytes}");
                return Err(Trouble::new(Code::LAUNCH_FAILED, lane as u32, text));
            }
            let one =
                Copy { lane: lane as u32, to: to[lane], from: from[lane], bytes, source_bytes };
            if let Some(open) = warp.copies.last_mut() {
                open.push(one);
            }
        }
        Ok(())
    }

    /// `cp.async.wait_group`: the copies before the last `pending` groups arrive.
    pub(super) fn copy_wait(&mut self, warp: &mut Warp, pending: u32) -> Result<(), Trouble> {
        for copy in warp.landed(pending as usize) {
            let lane = copy.lane as usize;
            let mut content = [0; 16];
            if copy.source_bytes > 0 {
                if copy.from & u64::from(copy.bytes - 1) != 0 {
                    let text = format!("cp.async from {:#x}, misaligned", copy.from);
                    return Err(Trouble::new(Code::MISALIGNED_ADDRESS, copy.lane, text));
                }
                for (byte, to) in content.iter_mut().enumerate().take(copy.source_bytes as usize) {
                    let at = self.at(warp, lane, Space::Global, copy.from + byte as u64, 1);
                    *to = self.place(at, Touch::LOAD)?[0];
                }
            }
            let at = self.at(warp, lane, Space::Shared, copy.to, copy.bytes);
            self.place(at, Touch::STORE)?.copy_from_slice(&content[..copy.bytes as usize]);
        }
        Ok(())
    }

    /// An access of one lane of `warp`.
    #[inline(always)]
    pub(super) fn at(
        &self,
        warp: &Warp,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u32,
    ) -> At {
        At { warp: warp.index, lane: lane as u32, space, address, bytes }
    }

    /// Counts the sectors of global memory, or the extra passes over shared memory.
    pub(super) fn count_sectors(
        &mut self,
        space: Space,
        addresses: &[u64; LANES],
        mask: u32,
        bytes: u32,
    ) {
        let Some(first) = lanes(mask).next() else { return };
        let shared = match space {
            Space::Shared => true,
            Space::Generic => Self::space_of(addresses[first]) == Space::Shared,
            Space::Global | Space::Const => false,
            Space::Local | Space::Param => return,
        };
        let unit = if shared { 4 } else { 32 };
        let mut touched: Vec<u64> = lanes(mask)
            .flat_map(|lane| {
                let start = addresses[lane];
                start / unit..=(start + u64::from(bytes) - 1) / unit
            })
            .collect();
        touched.sort_unstable();
        touched.dedup();
        if !shared {
            self.counters.sectors += touched.len() as u64;
            return;
        }
        // Words of 4 bytes in 32 banks; a wide access takes as many passes as it has words.
        let mut banks = [0_u64; 32];
        touched.iter().for_each(|word| banks[(word % 32) as usize] += 1);
        let fewest = touched.len().div_ceil(32) as u64;
        let passes = banks.into_iter().max().unwrap_or(fewest);
        self.counters.bank_conflicts += passes - fewest;
    }
}

#[inline(always)]
fn put(warp: &mut Warp, slot: Slot, lane: usize, value: u64, register_bytes: u8) {
    if slot == Slot::MAX {
        return;
    }
    match register_bytes {
        8 => warp.registers.wide_mut(slot)[lane] = value,
        2 => warp.registers.word_mut(slot)[lane] = value as u32 & 0xffff,
        _ => warp.registers.word_mut(slot)[lane] = value as u32,
    }
}

#[inline(always)]
fn get(warp: &Warp, slot: Slot, lane: usize, register_bytes: u8) -> u64 {
    if register_bytes == 8 {
        warp.registers.wide(slot)[lane]
    } else {
        u64::from(warp.registers.word(slot)[lane])
    }
}

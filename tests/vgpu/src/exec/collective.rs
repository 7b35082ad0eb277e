//! What lanes of a warp do together: shuffles, votes, matches, reductions.

use super::Trouble;
use super::access::lanes;
use super::registers::{BITS, LANES};
use super::warp::Warp;
use crate::code::Code;
use crate::ptx::instruction::{Inst, NO_PRED, Pred, Redux, ShuffleMode, Slot, Vote};

/// Lanes that a `.sync` instruction needs: those that the masks of the active lanes name and that
/// have not exited.
///
/// # Errors
/// A lane executes the instruction that its own mask does not name.
pub(super) fn needed(warp: &Warp, mask: Slot, active: u32) -> Result<u32, Trouble> {
    let masks = warp.registers.word(mask);
    let mut all = 0;
    for lane in lanes(active) {
        if masks[lane] & BITS[lane] == 0 {
            let text = format!("lane {lane} is not in its own member mask {:#010x}", masks[lane]);
            return Err(Trouble::new(Code::LAUNCH_FAILED, lane as u32, text));
        }
        all |= masks[lane];
    }
    Ok(all & warp.live)
}

/// Lanes that act together with `lane`: active and with the same mask.
fn members(warp: &Warp, mask: Slot, active: u32, lane: usize) -> u32 {
    let masks = warp.registers.word(mask);
    let own = masks[lane];
    lanes(active & own).filter(|other| masks[*other] == own).fold(0, |all, at| all | BITS[at])
}

/// `shfl.sync`.
///
/// # Errors
/// A lane reads one that does not execute the shuffle.
pub(super) fn shuffle(
    warp: &mut Warp,
    i: &Inst,
    active: u32,
    (mode, valid, mask): (ShuffleMode, Pred, Slot),
) -> Result<(), Trouble> {
    let a = *warp.registers.word(i.a);
    let (b, c) = (*warp.registers.word(i.b), *warp.registers.word(i.c));
    let mut values = [0; LANES];
    let mut in_range = 0;
    for lane in lanes(active) {
        let segment = c[lane] >> 8 & 0x1f;
        let (own, by, clamp) = (lane as u32, b[lane] & 0x1f, c[lane] & 0x1f);
        let last = own & segment | clamp & !segment;
        let first = own & segment;
        let (source, fits) = match mode {
            ShuffleMode::Up => (own.wrapping_sub(by), own as i32 - by as i32 >= last as i32),
            ShuffleMode::Down => (own + by, own + by <= last),
            ShuffleMode::Bfly => (own ^ by, own ^ by <= last),
            ShuffleMode::Index => (first | by & !segment, first | by & !segment <= last),
        };
        let source = if fits { source } else { own };
        if active & BITS[source as usize] == 0
            || members(warp, mask, active, lane) & BITS[source as usize] == 0
        {
            let text = format!("shuffle reads lane {source}, which does not take part");
            return Err(Trouble::new(Code::LAUNCH_FAILED, own, text));
        }
        values[lane] = a[source as usize];
        in_range |= if fits { BITS[lane] } else { 0 };
    }
    warp.registers.put_words(i.d, &values, active);
    if valid != NO_PRED {
        warp.put_pred(u32::from(valid), in_range, active);
    }
    Ok(())
}

/// `vote.sync`.
pub(super) fn vote(
    warp: &mut Warp,
    i: &Inst,
    active: u32,
    (vote, negate, mask): (Vote, bool, Slot),
) {
    let holds = warp.holds(i.a as Pred, negate);
    let mut values = [0; LANES];
    let mut bits = 0;
    for lane in lanes(active) {
        let members = members(warp, mask, active, lane);
        let found = holds & members;
        values[lane] = found;
        let result = match vote {
            Vote::All => found == members,
            Vote::Any | Vote::Ballot => found != 0,
            Vote::Uni => found == members || found == 0,
        };
        bits |= if result { BITS[lane] } else { 0 };
    }
    match vote {
        Vote::Ballot => warp.registers.put_words(i.d, &values, active),
        Vote::All | Vote::Any | Vote::Uni => warp.put_pred(i.d, bits, active),
    }
}

/// `match.sync`.
pub(super) fn match_lanes(
    warp: &mut Warp,
    i: &Inst,
    active: u32,
    (all, wide, valid, mask): (bool, bool, Pred, Slot),
) {
    let keys: [u64; LANES] =
        if wide { *warp.registers.wide(i.a) } else { warp.registers.word(i.a).map(u64::from) };
    let mut values = [0; LANES];
    let mut agreed = 0;
    for lane in lanes(active) {
        let members = members(warp, mask, active, lane);
        let same = lanes(members).filter(|at| keys[*at] == keys[lane]);
        let same = same.fold(0, |found, at| found | BITS[at]);
        values[lane] = if all && same != members { 0 } else { same };
        agreed |= if same == members { BITS[lane] } else { 0 };
    }
    warp.registers.put_words(i.d, &values, active);
    if valid != NO_PRED {
        warp.put_pred(u32::from(valid), agreed, active);
    }
}

/// `redux.sync`.
pub(super) fn redux(warp: &mut Warp, i: &Inst, active: u32, redux: Redux, mask: Slot) {
    let a = *warp.registers.word(i.a);
    let mut values = [0; LANES];
    for lane in lanes(active) {
        let members = lanes(members(warp, mask, active, lane)).map(|at| a[at]);
        let value = members.reduce(|x, y| match redux {
            Redux::Add => x.wrapping_add(y),
            Redux::MinS => (x as i32).min(y as i32) as u32,
            Redux::MaxS => (x as i32).max(y as i32) as u32,
            Redux::MinU => x.min(y),
            Redux::MaxU => x.max(y),
            Redux::And => x & y,
            Redux::Or => x | y,
            Redux::Xor => x ^ y,
        });
        values[lane] = value.unwrap_or(0);
    }
    warp.registers.put_words(i.d, &values, active);
}

/// `elect.sync`: the lowest member leads.
pub(super) fn elect(warp: &mut Warp, i: &Inst, active: u32, mask: Slot) {
    let mut leaders = 0;
    let mut values = [0; LANES];
    for lane in lanes(active) {
        let leader = members(warp, mask, active, lane).trailing_zeros();
        values[lane] = leader;
        leaders |= BITS[leader as usize];
    }
    if i.d != Slot::MAX {
        warp.registers.put_words(i.d, &values, active);
    }
    warp.put_pred(i.a, leaders, active);
}

//! The loop that executes a warp until it must stop.

use super::collective::{elect, match_lanes, needed, redux, shuffle, vote};
use super::compare::{compare, logic_of, set};
use super::machine::Machine;
use super::registers::{BITS, LANES};
use super::tensor::{move_matrix, product};
use super::warp::{Group, Wait, Warp};
use super::{Trouble, access, convert, float, integer};
use crate::code::Code;
use crate::ptx::Type;
use crate::ptx::instruction::{Barrier, Inst, Kernel, Op, Pred, Slot};

/// Why a warp stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Every lane has exited.
    Finished,
    /// It waits at a barrier.
    Waits,
    /// It has executed as many instructions as it was given.
    Quantum,
}

/// What follows an instruction.
enum Flow {
    /// The next one.
    Next,
    /// One elsewhere, for the whole group.
    Jump(u32),
    /// The groups have changed.
    Regroup,
    /// The warp waits at a barrier.
    Wait,
}

impl Machine<'_> {
    /// Executes up to `quantum` instructions of `warp`.
    ///
    /// # Errors
    /// What the instruction at the returned index did.
    pub(super) fn advance(
        &mut self,
        warp: &mut Warp,
        quantum: u64,
    ) -> Result<Pause, (u32, Trouble)> {
        let kernel = self.launch.kernel;
        let mut left = quantum;
        loop {
            let picked = warp
                .pick()
                .map_err(|trouble| (warp.groups.first().map_or(0, |group| group.pc), trouble))?;
            let Some(at) = picked else { return Ok(Pause::Finished) };
            match self.advance_group(warp, kernel, at, &mut left)? {
                Some(pause) => return Ok(pause),
                None if left == 0 => return Ok(Pause::Quantum),
                None => {}
            }
        }
    }

    /// Runs the group at `at` until the groups change.
    fn advance_group(
        &mut self,
        warp: &mut Warp,
        kernel: &Kernel,
        at: usize,
        left: &mut u64,
    ) -> Result<Option<Pause>, (u32, Trouble)> {
        let Group { mut pc, mask, .. } = warp.groups[at];
        let alone = warp.groups.len() == 1;
        let others = warp.groups.iter().map(|group| group.pc).filter(|other| *other > pc);
        let meets = others.min().unwrap_or(u32::MAX);
        loop {
            if *left == 0 || pc >= meets {
                warp.groups[at].pc = pc;
                return Ok(None);
            }
            let inst = &kernel.code[pc as usize];
            let active = mask & warp.holds(inst.guard, inst.negate);
            *left -= 1;
            warp.executed += 1;
            let lanes = u64::from(active.count_ones());
            self.counters.warp_instructions += 1;
            self.counters.instructions += lanes;
            self.counters.flops += lanes * u64::from(inst.flops);
            warp.groups[at].pc = pc;
            let flow = if active == 0 {
                Flow::Next
            } else {
                self.execute(warp, inst, (at, active)).map_err(|trouble| (pc, trouble))?
            };
            match flow {
                Flow::Next => pc += 1,
                Flow::Jump(target) => {
                    pc = target;
                    if !alone {
                        warp.groups[at].pc = pc;
                        return Ok(None);
                    }
                }
                Flow::Regroup => return Ok(None),
                Flow::Wait => return Ok(Some(Pause::Waits)),
            }
        }
    }

    fn execute(
        &mut self,
        warp: &mut Warp,
        i: &Inst,
        (at, active): (usize, u32),
    ) -> Result<Flow, Trouble> {
        match &i.op {
            Op::Branch { target } => Ok(branch(warp, at, active, *target)),
            Op::BranchIndex { targets } => branch_index(warp, i, (at, active), targets),
            Op::Exit => Ok(exit(warp, at, active)),
            Op::Trap => {
                let text = "the kernel executed `trap`".to_owned();
                Err(Trouble::new(Code::LAUNCH_FAILED, active.trailing_zeros(), text))
            }
            Op::Barrier { barrier, pred, negate } => {
                let holds = active & warp.holds(*pred, *negate);
                barrier_wait(warp, i, (at, active), (*barrier, holds))
            }
            Op::Shuffle { mask, .. }
            | Op::Vote { mask, .. }
            | Op::Match { mask, .. }
            | Op::Redux { mask, .. }
            | Op::Elect { mask }
            | Op::BarrierWarp { mask } => {
                let needed = needed(warp, *mask, active)?;
                if needed & !active != 0 {
                    return Ok(park(warp, at, active));
                }
                self.together(warp, i, active)?;
                Ok(Flow::Next)
            }
            Op::FragmentLoad(_)
            | Op::FragmentStore(_)
            | Op::Product(_)
            | Op::LoadMatrix(_)
            | Op::MoveMatrix
                if warp.live & !active != 0 =>
            {
                Ok(park(warp, at, active))
            }
            _ => {
                self.plain(warp, i, active)?;
                Ok(Flow::Next)
            }
        }
    }

    /// What lanes do together, once all are there.
    fn together(&mut self, warp: &mut Warp, i: &Inst, active: u32) -> Result<(), Trouble> {
        match &i.op {
            Op::Shuffle { mode, valid, mask } => {
                shuffle(warp, i, active, (*mode, *valid, *mask))?;
            }
            Op::Vote { vote: kind, negate, mask } => vote(warp, i, active, (*kind, *negate, *mask)),
            Op::Match { all, wide, valid, mask } => {
                match_lanes(warp, i, active, (*all, *wide, *valid, *mask));
            }
            Op::Redux { redux: kind, mask } => redux(warp, i, active, *kind, *mask),
            Op::Elect { mask } => elect(warp, i, active, *mask),
            _ => {
                if active == warp.live {
                    self.clocks.advance(warp.index as usize);
                }
            }
        }
        Ok(())
    }

    /// Instructions that each lane executes by itself.
    fn plain(&mut self, warp: &mut Warp, i: &Inst, active: u32) -> Result<(), Trouble> {
        match &i.op {
            Op::Load(access) => return self.load(warp, i, active, access),
            Op::Store(access) => return self.store(warp, i, active, access),
            Op::LoadParam(access) => return self.load_param(warp, i, active, access),
            Op::Atomic(atomic) => return self.atomic(warp, i, active, atomic),
            Op::CopyAsync(copy) => return self.copy_async(warp, i, active, copy),
            Op::CopyCommit => warp.copies.push(Vec::new()),
            Op::CopyWait { pending } => return self.copy_wait(warp, *pending),
            Op::FragmentLoad(fragment) => {
                return self.fragment(warp, i, active, (fragment, false));
            }
            Op::FragmentStore(fragment) => {
                return self.fragment(warp, i, active, (fragment, true));
            }
            Op::Product(one) => return product(warp, active, one),
            Op::LoadMatrix(load) => return self.load_matrix(warp, i, active, load),
            Op::MoveMatrix => return move_matrix(warp, i, active),
            Op::Clock { wide } => {
                let now = self.counters.warp_instructions;
                if *wide {
                    warp.registers.put_wides(i.d, &[now; LANES], active);
                } else {
                    warp.registers.put_words(i.d, &[now as u32; LANES], active);
                }
            }
            Op::ToGeneric(space) => {
                let space = *space;
                warp.registers.map1(i, active, |a: u64| Self::to_generic(space, a));
            }
            Op::FromGeneric(space) => {
                let space = *space;
                warp.registers.map1(i, active, |a: u64| Self::from_generic(space, a));
            }
            Op::IsSpace(space) => {
                let row = warp.registers.wide(i.a);
                let is = access::lanes(active).filter(|at| Self::space_of(row[*at]) == *space);
                let bits = is.fold(0, |bits, at| bits | BITS[at]);
                warp.put_pred(i.d, bits, active);
            }
            _ => arithmetic(warp, i, active),
        }
        Ok(())
    }
}

/// Instructions on registers and predicates alone.
fn arithmetic(warp: &mut Warp, i: &Inst, active: u32) {
    let r = &mut warp.registers;
    match &i.op {
        Op::Int1(op, ty) => integer::int1(r, i, active, *op, *ty),
        Op::Int2(op, ty) => integer::int2(r, i, active, *op, *ty),
        Op::Int3(op, ty) => integer::int3(r, i, active, *op, *ty),
        Op::Bits3(op) => integer::bits3(r, i, active, *op),
        Op::Bfi { length, wide } => {
            let length = *r.word(*length);
            integer::insert(r, i, active, &length, *wide);
        }
        Op::Carry { op, ty, reads, writes } => {
            let flags = if *reads { warp.carries } else { 0 };
            let carries = integer::carry(r, i, active, (*op, *ty), flags);
            if *writes {
                warp.carries = warp.carries & !active | carries & active;
            }
        }
        Op::MulWide(ty) => integer::mul_wide(r, i, active, *ty),
        Op::MadWide(ty) => integer::mad_wide(r, i, active, *ty),
        Op::Float1(op, ty, mods) => float::float1(r, i, active, *op, (*ty, *mods)),
        Op::Float2(op, ty, mods) => float::float2(r, i, active, *op, (*ty, *mods)),
        Op::Fma(ty, mods) => float::fma(r, i, active, *ty, *mods),
        Op::Convert(one) if matches!(one.from, Type::E4m3x2 | Type::E5m2x2) => {
            convert::widen_pair(r, i, active, one);
        }
        Op::Convert(one) => convert::convert(r, i, active, one),
        Op::ConvertPair(pair) => convert::convert_pair(r, i, active, pair),
        Op::ConvertPack { to } => integer::convert_pack(r, i, active, *to),
        Op::Mov { wide: false } => {
            let row = *r.word(i.a);
            r.put_words(i.d, &row, active);
        }
        Op::Mov { wide: true } => {
            let row = *r.wide(i.a);
            r.put_wides(i.d, &row, active);
        }
        Op::Pack { parts, part_bytes } => pack(warp, i, active, parts, *part_bytes),
        Op::Unpack { parts, part_bytes } => unpack(warp, i, active, parts, *part_bytes),
        Op::Select { pred, negate, wide } => select(warp, i, active, (*pred, *negate, *wide)),
        Op::SelectSign { float, wide } => {
            let row = *warp.registers.word(i.c);
            let takes = |bits: u32| {
                if *float { f32::from_bits(bits) >= 0.0 } else { bits as i32 >= 0 }
            };
            let bits = (0..LANES).fold(0, |b, at| b | if takes(row[at]) { BITS[at] } else { 0 });
            blend(warp, i, active, (bits, *wide));
        }
        Op::Compare(one) => compare(warp, i, active, one),
        Op::Set(one, value) => set(warp, i, active, one, *value),
        Op::PredLogic(logic) => {
            let (a, b) = (warp.preds[i.a as usize], warp.preds[i.b as usize]);
            warp.put_pred(i.d, logic_of(*logic, a, b), active);
        }
        Op::PredNot => warp.put_pred(i.d, !warp.preds[i.a as usize], active),
        Op::PredMov => warp.put_pred(i.d, warp.preds[i.a as usize], active),
        Op::PredConst(value) => warp.put_pred(i.d, if *value { u32::MAX } else { 0 }, active),
        Op::ActiveMask => warp.registers.put_words(i.d, &[active; LANES], active),
        _ => {}
    }
}

fn select(warp: &mut Warp, i: &Inst, active: u32, (pred, negate, wide): (Pred, bool, bool)) {
    let bits = warp.holds(pred, negate);
    blend(warp, i, active, (bits, wide));
}

/// `a` in the lanes of `bits`, else `b`.
fn blend(warp: &mut Warp, i: &Inst, active: u32, (bits, wide): (u32, bool)) {
    let r = &mut warp.registers;
    if wide {
        let (a, b) = (*r.wide(i.a), *r.wide(i.b));
        let row = std::array::from_fn(|at| if bits & BITS[at] != 0 { a[at] } else { b[at] });
        r.put_wides(i.d, &row, active);
    } else {
        let (a, b) = (*r.word(i.a), *r.word(i.b));
        let row = std::array::from_fn(|at| if bits & BITS[at] != 0 { a[at] } else { b[at] });
        r.put_words(i.d, &row, active);
    }
}

fn pack(warp: &mut Warp, i: &Inst, active: u32, parts: &[Slot], part_bytes: u8) {
    let shift = 8 * u32::from(part_bytes);
    let mut row = [0_u64; LANES];
    for (at, slot) in parts.iter().enumerate() {
        let part = warp.registers.word(*slot);
        let keep = if part_bytes == 4 { u32::MAX } else { (1 << shift) - 1 };
        for lane in 0..LANES {
            row[lane] |= u64::from(part[lane] & keep) << (shift * at as u32);
        }
    }
    if parts.len() * usize::from(part_bytes) == 8 {
        warp.registers.put_wides(i.d, &row, active);
    } else {
        warp.registers.put_words(i.d, &row.map(|bits| bits as u32), active);
    }
}

fn unpack(warp: &mut Warp, i: &Inst, active: u32, parts: &[Slot], part_bytes: u8) {
    let shift = 8 * u32::from(part_bytes);
    let row: [u64; LANES] = if parts.len() * usize::from(part_bytes) == 8 {
        *warp.registers.wide(i.a)
    } else {
        warp.registers.word(i.a).map(u64::from)
    };
    let keep = if part_bytes == 4 { u32::MAX } else { (1 << shift) - 1 };
    for (at, slot) in parts.iter().enumerate().filter(|(_, slot)| **slot != Slot::MAX) {
        let part = row.map(|bits| (bits >> (shift * at as u32)) as u32 & keep);
        warp.registers.put_words(*slot, &part, active);
    }
}

/// Moves the lanes of `active` to `target`; the others of the group go on.
fn branch(warp: &mut Warp, at: usize, active: u32, target: u32) -> Flow {
    let group = warp.groups[at];
    if active == group.mask {
        return Flow::Jump(target);
    }
    split(warp, at, active);
    warp.groups.push(Group { pc: target, mask: active, parked: false });
    Flow::Regroup
}

/// Takes the lanes of `active` out of the group, which goes on behind its instruction.
fn split(warp: &mut Warp, at: usize, active: u32) {
    let group = &mut warp.groups[at];
    group.mask &= !active;
    group.pc += 1;
    if group.mask == 0 {
        warp.groups.remove(at);
    }
}

fn branch_index(
    warp: &mut Warp,
    i: &Inst,
    (at, active): (usize, u32),
    targets: &[u32],
) -> Result<Flow, Trouble> {
    let row = *warp.registers.word(i.a);
    for lane in access::lanes(active) {
        let Some(target) = targets.get(row[lane] as usize) else {
            let text = format!("branch {} of {} targets", row[lane], targets.len());
            return Err(Trouble::new(Code::LAUNCH_FAILED, lane as u32, text));
        };
        warp.groups.push(Group { pc: *target, mask: BITS[lane], parked: false });
    }
    split(warp, at, active);
    Ok(Flow::Regroup)
}

fn exit(warp: &mut Warp, at: usize, active: u32) -> Flow {
    split(warp, at, active);
    warp.exit(active);
    Flow::Regroup
}

/// The lanes of `active` wait here until others come; the rest of the group goes on.
fn park(warp: &mut Warp, at: usize, active: u32) -> Flow {
    let pc = warp.groups[at].pc;
    split(warp, at, active);
    warp.groups.push(Group { pc, mask: active, parked: true });
    Flow::Regroup
}

fn barrier_wait(
    warp: &mut Warp,
    i: &Inst,
    (at, active): (usize, u32),
    (barrier, holds): (Barrier, u32),
) -> Result<Flow, Trouble> {
    if active != warp.live {
        return Ok(park(warp, at, active));
    }
    let lane = active.trailing_zeros();
    let number = warp.registers.word(i.a)[lane as usize];
    let threads = match i.b {
        Slot::MAX => None,
        slot => Some(warp.registers.word(slot)[lane as usize]),
    };
    if number > 15 || threads.is_some_and(|count| count == 0 || !count.is_multiple_of(32)) {
        let text = format!("barrier {number} of {threads:?} threads: expected 0..=15 and warps");
        return Err(Trouble::new(Code::LAUNCH_FAILED, lane, text));
    }
    let pc = warp.groups[at].pc;
    warp.groups[at].pc = pc + 1;
    warp.waits = Some(Wait { number, threads, barrier, d: i.d, holds, pc });
    Ok(Flow::Wait)
}

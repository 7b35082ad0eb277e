//! A warp: registers, groups of lanes at one place, copies under way.

use super::registers::{BITS, LANES, Registers};
use super::{Launch, Trouble};
use crate::code::Code;
use crate::ptx::instruction::{Barrier, NO_PRED, Pred, Slot, Special};

/// Lanes that execute one instruction together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Index of their next instruction.
    pub(super) pc: u32,
    /// Which lanes.
    pub(super) mask: u32,
    /// Whether they wait for other lanes at a `.sync` instruction.
    pub(super) parked: bool,
}

/// A barrier that the warp waits at or arrived at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// Number of the barrier.
    pub(super) number: u32,
    /// Threads that it needs, or none for all of the block.
    pub(super) threads: Option<u32>,
    /// What the barrier does.
    pub(super) barrier: Barrier,
    /// Destination of a reduction.
    pub(super) d: Slot,
    /// Lanes that bring a true predicate.
    pub(super) holds: u32,
    /// Index of the barrier's instruction.
    pub(super) pc: u32,
}

/// A copy to shared memory under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) lane: u32,
    pub(super) to: u64,
    pub(super) from: u64,
    pub(super) bytes: u32,
    pub(super) source_bytes: u32,
}

/// One warp of the block that runs.
#[derive(Debug)]
pub(super) struct Warp {
    pub(super) index: u32,
    pub(super) registers: Registers,
    pub(super) preds: Vec<u32>,
    /// The carry flag of each lane.
    pub(super) carries: u32,
    /// Lanes that are threads of the block.
    pub(super) lanes: u32,
    /// Lanes that have not exited.
    pub(super) live: u32,
    pub(super) groups: Vec<Group>,
    pub(super) waits: Option<Wait>,
    /// Groups of copies, oldest first; the last one is not yet committed.
    pub(super) copies: Vec<Vec<Copy>>,
    pub(super) executed: u64,
    block_slots: Vec<(Slot, u8, bool)>,
}

impl Warp {
    /// Warp `index` of every block of `launch`: constants and what does not depend on the block.
    pub(super) fn new(launch: &Launch<'_>, index: u32) -> Self {
        let kernel = launch.kernel;
        let threads = launch.block.iter().product::<u32>();
        let own = (threads - index * 32).min(32);
        let mut warp = Self {
            index,
            registers: Registers::new(kernel.slots.max(2)),
            preds: vec![0; kernel.preds as usize],
            carries: 0,
            lanes: if own == 32 { u32::MAX } else { (1 << own) - 1 },
            live: 0,
            groups: Vec::new(),
            waits: None,
            copies: vec![Vec::new()],
            executed: 0,
            block_slots: Vec::new(),
        };
        for (slot, bits, wide) in &kernel.constants {
            warp.fill(*slot, *wide, |_| *bits);
        }
        let dynamic = kernel.shared_bytes.next_multiple_of(kernel.dynamic_align);
        for (slot, name, added, wide) in &kernel.symbols {
            let base = if name.is_empty() {
                u64::from(dynamic)
            } else {
                launch.symbols.get(name).copied().unwrap_or(0)
            };
            warp.fill(*slot, *wide, |_| base.wrapping_add(*added as u64));
        }
        for (slot, special, wide) in &kernel.specials {
            match special {
                Special::Ctaid(axis) => warp.block_slots.push((*slot, *axis, *wide)),
                other => warp.fill(*slot, *wide, |lane| value(launch, index, lane, *other)),
            }
        }
        warp
    }

    fn fill(&mut self, slot: Slot, wide: bool, f: impl Fn(u32) -> u64) {
        for lane in 0..LANES {
            let value = f(lane as u32);
            if wide {
                self.registers.wide_mut(slot)[lane] = value;
            } else {
                self.registers.word_mut(slot)[lane] = value as u32;
            }
        }
    }

    /// Starts the block at `block`.
    pub(super) fn enter(&mut self, block: [u32; 3]) {
        for at in 0..self.block_slots.len() {
            let (slot, axis, wide) = self.block_slots[at];
            self.fill(slot, wide, |_| u64::from(block[axis as usize]));
        }
        self.live = self.lanes;
        self.groups = vec![Group { pc: 0, mask: self.lanes, parked: false }];
        self.waits = None;
        self.copies = vec![Vec::new()];
        self.executed = 0;
    }

    /// Lanes in which a predicate holds; all if there is none.
    #[inline(always)]
    pub(super) fn holds(&self, pred: Pred, negate: bool) -> u32 {
        if pred == NO_PRED {
            return u32::MAX;
        }
        let bits = self.preds[pred as usize];
        if negate { !bits } else { bits }
    }

    /// Writes a predicate in the lanes of `mask`.
    #[inline(always)]
    pub(super) fn put_pred(&mut self, pred: u32, bits: u32, mask: u32) {
        if let Some(old) = self.preds.get_mut(pred as usize) {
            *old = *old & !mask | bits & mask;
        }
    }

    /// An address register, 32 or 64 bits wide, with `offset` added.
    #[inline(always)]
    pub(super) fn addresses(&self, slot: Slot, wide: bool, offset: i64) -> [u64; LANES] {
        if wide {
            let row = self.registers.wide(slot);
            std::array::from_fn(|lane| row[lane].wrapping_add(offset as u64))
        } else {
            let row = self.registers.word(slot);
            std::array::from_fn(|lane| u64::from(row[lane].wrapping_add(offset as u32)))
        }
    }

    /// Merges groups that met and picks the one that runs: not parked, furthest behind.
    ///
    /// # Errors
    /// Every group waits for lanes that wait elsewhere.
    pub(super) fn pick(&mut self) -> Result<Option<usize>, Trouble> {
        self.merge();
        let runnable = self.groups.iter().enumerate().filter(|(_, group)| !group.parked);
        let first = runnable.min_by_key(|(_, group)| group.pc).map(|(at, _)| at);
        match (first, self.groups.first()) {
            (None, Some(group)) => {
                let lane = group.mask.trailing_zeros();
                let masks: Vec<String> =
                    self.groups.iter().map(|one| format!("{:#010x}", one.mask)).collect();
                let text = format!(
                    "divergence: lanes {} of the warp wait for lanes that wait elsewhere or that \
                     never come",
                    masks.join(" and ")
                );
                Err(Trouble::new(Code::LAUNCH_FAILED, lane, text))
            }
            (first, _) => Ok(first),
        }
    }

    fn merge(&mut self) {
        let mut at = 0;
        while at < self.groups.len() {
            let group = self.groups[at];
            let same = self.groups[..at].iter().position(|one| one.pc == group.pc);
            match same {
                Some(first) => {
                    self.groups[first].mask |= group.mask;
                    self.groups[first].parked &= group.parked;
                    self.groups.remove(at);
                }
                None => at += 1,
            }
        }
    }

    /// The lanes of `mask` end.
    pub(super) fn exit(&mut self, mask: u32) {
        self.live &= !mask;
        for group in &mut self.groups {
            group.parked = false;
        }
    }

    /// Finishes the oldest groups of copies until `pending` are left, and gives them.
    pub(super) fn landed(&mut self, pending: usize) -> Vec<Copy> {
        let open = self.copies.pop().unwrap_or_default();
        let keep = self.copies.len().min(pending);
        let landed = self.copies.drain(..self.copies.len() - keep).flatten().collect();
        self.copies.push(open);
        landed
    }
}

fn value(launch: &Launch<'_>, warp: u32, lane: u32, special: Special) -> u64 {
    let thread = warp * 32 + lane;
    let [x, y, _] = launch.block;
    let bit = BITS[lane as usize];
    let kernel = launch.kernel;
    let value = match special {
        Special::Tid(0) => thread % x,
        Special::Tid(1) => thread / x % y,
        Special::Tid(_) => thread / x / y,
        Special::Ntid(axis) => launch.block[axis as usize],
        Special::Nctaid(axis) => launch.grid[axis as usize],
        Special::Ctaid(_) | Special::SmId => 0,
        Special::LaneId => lane,
        Special::WarpId => warp,
        Special::NWarpId => launch.block.iter().product::<u32>().div_ceil(32),
        Special::NSmId => 1,
        Special::GridId => launch.number as u32,
        Special::LaneMaskEq => bit,
        Special::LaneMaskLt => bit - 1,
        Special::LaneMaskLe => bit | (bit - 1),
        Special::LaneMaskGt => !(bit | (bit - 1)),
        Special::LaneMaskGe => !(bit - 1),
        Special::DynamicSmem => launch.dynamic,
        Special::TotalSmem => kernel.shared_bytes + launch.dynamic,
    };
    u64::from(value)
}

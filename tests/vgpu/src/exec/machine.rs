//! One block while it runs: its memories, and the one place that every access goes through.

use super::device_memory::DeviceMemory;
use super::shadow::{Cell, Clocks, Touch, Who};
use super::{Checks, Counters, Launch, Touched, Trouble};
use crate::code::Code;
use crate::ptx::instruction::Space;

/// Generic addresses of shared memory start here, above every address of the process.
const SHARED: u64 = 1 << 48;
/// Generic addresses of local memory start here.
const LOCAL: u64 = 1 << 49;
/// What shared and local memory hold before they are written: a NaN in every format.
const FILL: u8 = 0xff;

/// State of the block that runs.
pub(super) struct Machine<'a> {
    pub(super) launch: &'a Launch<'a>,
    pub(super) memory: &'a mut DeviceMemory,
    touched: Option<&'a mut Touched>,
    pub(super) shared: Vec<u8>,
    shared_written: Vec<bool>,
    shared_cells: Vec<Cell>,
    local: Vec<u8>,
    local_written: Vec<bool>,
    pub(super) clocks: Clocks,
    pub(super) block_index: u32,
    pub(super) block: [u32; 3],
    recent: usize,
    pub(super) counters: Counters,
}

/// One access of one lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) warp: u32,
    pub(super) lane: u32,
    pub(super) space: Space,
    pub(super) address: u64,
    pub(super) bytes: u32,
}

impl At {
    fn thread(self) -> u32 {
        self.warp * 32 + self.lane
    }
}

impl<'a> Machine<'a> {
    /// A machine for the blocks of `launch`.
    pub(super) fn new(
        launch: &'a Launch<'a>,
        memory: &'a mut DeviceMemory,
        touched: Option<&'a mut Touched>,
    ) -> Self {
        let threads = launch.block.iter().product::<u32>().next_multiple_of(32);
        let kernel = launch.kernel;
        let dynamic = kernel.shared_bytes.next_multiple_of(kernel.dynamic_align) + launch.dynamic;
        let shared = dynamic.max(kernel.shared_bytes) as usize;
        let local = (threads * kernel.local_bytes) as usize;
        let checked = launch.checks >= Checks::Memory;
        let races = launch.checks >= Checks::Races;
        Self {
            launch,
            memory,
            touched,
            shared: vec![FILL; shared],
            shared_written: vec![false; if checked { shared } else { 0 }],
            shared_cells: vec![Cell::default(); if races { shared } else { 0 }],
            local: vec![FILL; local],
            local_written: vec![false; if checked { local } else { 0 }],
            clocks: Clocks::new((threads / 32) as usize),
            block_index: 0,
            block: [0; 3],
            recent: 0,
            counters: Counters::default(),
        }
    }

    /// Forgets the block before.
    pub(super) fn enter(&mut self, index: u32) {
        let [x, y, _] = self.launch.grid;
        self.block_index = index;
        self.block = [index % x, index / x % y, index / x / y];
        self.shared.fill(FILL);
        self.shared_written.fill(false);
        self.shared_cells.fill(Cell::default());
        self.local.fill(FILL);
        self.local_written.fill(false);
        if self.launch.checks >= Checks::Races {
            let threads = self.launch.block.iter().product::<u32>();
            self.clocks = Clocks::new(threads.div_ceil(32) as usize);
        }
    }

    /// Address in `space` of a generic address.
    pub(super) fn from_generic(space: Space, address: u64) -> u64 {
        match space {
            Space::Shared => address.wrapping_sub(SHARED),
            Space::Local => address.wrapping_sub(LOCAL),
            Space::Generic | Space::Global | Space::Const | Space::Param => address,
        }
    }

    /// Generic address of an address in `space`.
    pub(super) fn to_generic(space: Space, address: u64) -> u64 {
        match space {
            Space::Shared => address.wrapping_add(SHARED),
            Space::Local => address.wrapping_add(LOCAL),
            Space::Generic | Space::Global | Space::Const | Space::Param => address,
        }
    }

    /// The space that a generic address lies in.
    pub(super) fn space_of(address: u64) -> Space {
        match address {
            LOCAL.. => Space::Local,
            SHARED.. => Space::Shared,
            _ => Space::Global,
        }
    }

    /// The bytes that an access touches, once it is found to be allowed.
    ///
    /// # Errors
    /// Out of bounds, misaligned, and what the launch's checks look for.
    #[inline(always)]
    pub(super) fn place(&mut self, mut at: At, touch: Touch) -> Result<&mut [u8], Trouble> {
        if at.space == Space::Generic {
            at.space = Self::space_of(at.address);
            at.address = Self::from_generic(at.space, at.address);
        }
        if at.address & u64::from(at.bytes - 1) != 0 {
            return Err(misaligned(at));
        }
        match at.space {
            Space::Shared => self.shared(at, touch),
            Space::Local => self.local(at, touch),
            Space::Generic | Space::Global | Space::Const | Space::Param => self.global(at, touch),
        }
    }

    #[inline(always)]
    fn global(&mut self, at: At, touch: Touch) -> Result<&mut [u8], Trouble> {
        let bytes = u64::from(at.bytes);
        let hit = self.memory.allocation(self.recent).is_some_and(|one| {
            let offset = at.address.wrapping_sub(one.base);
            offset < one.data.len() as u64 && one.data.len() as u64 - offset >= bytes
        });
        if !hit {
            self.recent = self.memory.find(at.address, bytes).map_err(|bounds| {
                let text = format!("{} of {}", verb(touch), bounds.0);
                Trouble::new(Code::ILLEGAL_ADDRESS, at.lane, text)
            })?;
        }
        let Some(one) = self.memory.allocation(self.recent) else {
            unreachable!("the index was just found")
        };
        let start = (at.address - one.base) as usize;
        let range = start..start + at.bytes as usize;
        let checks = self.launch.checks;
        if checks >= Checks::Memory {
            let base = one.base;
            check_written(&mut one.written[range.clone()], touch).map_err(|byte| {
                let text = format!(
                    "read of {bytes} bytes at {:#x}, offset {start} of the allocation at {base:#x}, \
                     whose byte {byte} was never written",
                    at.address
                );
                Trouble::new(Code::LAUNCH_FAILED, at.lane, text)
            })?;
        }
        if checks == Checks::Races {
            let who = Who { block: self.block_index, thread: at.thread() };
            for offset in range.clone() {
                let cell = one.shadow.cell(offset, self.launch.number);
                if let Some(other) = cell.touch(who, touch, &self.clocks) {
                    return Err(race(at, touch, other, "global memory"));
                }
            }
        }
        if let Some(touched) = &mut self.touched {
            touched.note(at.address, &one.data[range.clone()], touch.writes);
        }
        Ok(&mut one.data[range])
    }

    #[inline(always)]
    fn shared(&mut self, at: At, touch: Touch) -> Result<&mut [u8], Trouble> {
        let size = self.shared.len() as u64;
        if at.address >= size || size - at.address < u64::from(at.bytes) {
            return Err(outside(at, touch, "shared", size));
        }
        let start = at.address as usize;
        let range = start..start + at.bytes as usize;
        if self.launch.checks >= Checks::Memory {
            check_written(&mut self.shared_written[range.clone()], touch)
                .map_err(|byte| unwritten(at, "shared", byte))?;
        }
        if self.launch.checks == Checks::Races {
            let who = Who { block: self.block_index, thread: at.thread() };
            for cell in &mut self.shared_cells[range.clone()] {
                if let Some(other) = cell.touch(who, touch, &self.clocks) {
                    return Err(race(at, touch, other, "shared memory"));
                }
            }
        }
        Ok(&mut self.shared[range])
    }

    fn local(&mut self, at: At, touch: Touch) -> Result<&mut [u8], Trouble> {
        let size = u64::from(self.launch.kernel.local_bytes);
        if at.address >= size || size - at.address < u64::from(at.bytes) {
            return Err(outside(at, touch, "local", size));
        }
        let start = (u64::from(at.thread()) * size + at.address) as usize;
        let range = start..start + at.bytes as usize;
        if self.launch.checks >= Checks::Memory {
            check_written(&mut self.local_written[range.clone()], touch)
                .map_err(|byte| unwritten(at, "local", byte))?;
        }
        Ok(&mut self.local[range])
    }
}

/// Checks a read and notes a write; gives the first byte that was never written.
fn check_written(written: &mut [bool], touch: Touch) -> Result<(), usize> {
    if touch.reads
        && let Some(byte) = written.iter().position(|written| !written)
    {
        return Err(byte);
    }
    if touch.writes {
        written.fill(true);
    }
    Ok(())
}

fn verb(touch: Touch) -> &'static str {
    match (touch.strong, touch.reads, touch.writes) {
        (true, true, true) => "atomic",
        (_, _, true) => "write",
        _ => "read",
    }
}

#[cold]
fn misaligned(at: At) -> Trouble {
    let text = format!("{} bytes at {:#x}, which is not a multiple of them", at.bytes, at.address);
    Trouble::new(Code::MISALIGNED_ADDRESS, at.lane, text)
}

#[cold]
fn outside(at: At, touch: Touch, space: &str, size: u64) -> Trouble {
    let text = format!(
        "{} of {} bytes at {:#x} of {space} memory, which has {size} bytes",
        verb(touch),
        at.bytes,
        at.address
    );
    Trouble::new(Code::ILLEGAL_ADDRESS, at.lane, text)
}

#[cold]
fn unwritten(at: At, space: &str, byte: usize) -> Trouble {
    let text = format!(
        "read of {} bytes at {:#x} of {space} memory, whose byte {byte} was never written",
        at.bytes, at.address
    );
    Trouble::new(Code::LAUNCH_FAILED, at.lane, text)
}

#[cold]
fn race(at: At, touch: Touch, (other, wrote): (Who, bool), space: &str) -> Trouble {
    let text = format!(
        "race: {} of {} bytes at {:#x} of {space}, which thread {} of block {} {} with no barrier between",
        verb(touch),
        at.bytes,
        at.address,
        other.thread,
        other.block,
        if wrote { "wrote" } else { "read" }
    );
    Trouble::new(Code::LAUNCH_FAILED, at.lane, text)
}

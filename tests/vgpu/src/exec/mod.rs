//! Executes decoded kernels: warps of 32 lanes with an active mask, blocks, schedules.
//!
//! Lanes that diverge run in groups; the group that is furthest behind in the text runs first and
//! groups that meet become one. This keeps structured code converged and makes no promise beyond
//! CUDA's: what needs other lanes (`*.sync`, barriers) waits for them.

mod access;
mod atomic;
mod collective;
mod compare;
mod convert;
pub(crate) mod device_memory;
mod float;
mod integer;
mod machine;
mod registers;
mod schedule;
mod shadow;
mod step;
mod tensor;
mod touched;
mod warp;

use std::collections::HashMap;

use crate::code::Code;
use crate::ptx::instruction::Kernel;

pub(crate) use schedule::run;
pub(crate) use touched::Touched;

/// What shadow memory looks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checks {
    /// Bounds, alignment and barriers, which are always checked.
    #[default]
    Off,
    /// Reads of memory that was never written, too.
    Memory,
    /// Races within and between blocks, too.
    Races,
}

/// One launch of a kernel.
pub(crate) struct Launch<'a> {
    /// The decoded entry.
    pub(crate) kernel: &'a Kernel,
    /// Blocks in x, y and z.
    pub(crate) grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub(crate) block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub(crate) dynamic: u32,
    /// The parameter block.
    pub(crate) params: &'a [u8],
    /// Addresses of the module's variables.
    pub(crate) symbols: &'a HashMap<String, u64>,
    /// Number of the launch, from 1.
    pub(crate) number: u64,
    /// What to look for.
    pub(crate) checks: Checks,
    /// Whether sectors and bank conflicts are counted.
    pub(crate) count: bool,
    /// Order of blocks and warps; 0 is the plain one.
    pub(crate) seed: u64,
    /// Instructions of one warp after which the launch is given up.
    pub(crate) steps: u64,
}

/// Why a launch fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// The error that the driver reports.
    pub(crate) code: Code,
    /// What happened, naming kernel, block, thread and line once it is known.
    pub(crate) text: String,
    /// Lane of the warp that it happened in.
    pub(crate) lane: u32,
}

impl Trouble {
    /// A failure of `lane`.
    pub(crate) fn new(code: Code, lane: u32, text: String) -> Self {
        Self { code, text, lane }
    }
}

/// What launches of a kernel did, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Launches.
    pub launches: u64,
    /// Instructions executed by warps.
    pub warp_instructions: u64,
    /// Instructions executed by lanes.
    pub instructions: u64,
    /// Floating-point operations of lanes; a fused multiply-add is two.
    pub flops: u64,
    /// Sectors of 32 bytes that loads and stores of global memory touched, if they are counted.
    pub sectors: u64,
    /// Extra passes over shared memory because lanes met in a bank, if they are counted.
    pub bank_conflicts: u64,
}

impl Counters {
    /// Adds what one launch did.
    pub(crate) fn add(&mut self, other: &Self) {
        self.launches += other.launches;
        self.warp_instructions += other.warp_instructions;
        self.instructions += other.instructions;
        self.flops += other.flops;
        self.sectors += other.sectors;
        self.bank_conflicts += other.bank_conflicts;
    }
}

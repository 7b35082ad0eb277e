//! Launches written to files, with what they read and what they left: to run the same kernels elsewhere.
//!
//! A file for each entry, `NAME.launches`, of launches one behind the other; all numbers are 8 bytes, lowest
//! first. A launch is: grid and block (three numbers each), bytes of dynamic shared memory, length and bytes
//! of the parameters; number of allocations that the parameters name or the launch touched, address and length
//! of each; number of runs of touched bytes, and of each run its address, 1 if it was written, its length, its
//! bytes before and, if written, behind the launch.

use std::collections::{BTreeSet, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use super::launch::KernelCall;
use crate::exec::Touched;
use crate::exec::device_memory::DeviceMemory;

/// Launches that were written.
#[derive(Debug)]
pub(super) struct Recording {
    folder: Option<PathBuf>,
    seen: HashSet<Alike>,
}

/// What launches that do the same have alike: the kernel, sizes, and parameters without addresses.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Alike {
    kernel: String,
    sizes: [[u32; 3]; 2],
    dynamic: u32,
    params: Vec<u8>,
}

impl Recording {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, seen: HashSet::new() }
    }

    /// Whether this launch is to be recorded: one of its kind has not been before.
    pub(super) fn wants(&mut self, call: &KernelCall, memory: &DeviceMemory) -> bool {
        if self.folder.is_none() {
            return false;
        }
        let mut params = call.params.clone();
        for word in params.as_chunks_mut::<8>().0 {
            if allocation(memory, u64::from_le_bytes(*word)).is_some() {
                *word = [0xff; 8];
            }
        }
        self.seen.insert(Alike {
            kernel: call.kernel.name.clone(),
            sizes: [call.grid, call.block],
            dynamic: call.dynamic,
            params,
        })
    }

    /// Writes a launch that has run.
    pub(super) fn keep(
        &self,
        call: &KernelCall,
        touched: Touched,
        memory: &DeviceMemory,
    ) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        let path = folder.join(&call.kernel.name).with_extension("launches");
        let mut file = BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?);
        for number in call.grid.iter().chain(&call.block).chain([&call.dynamic]) {
            put(&mut file, u64::from(*number))?;
        }
        put(&mut file, call.params.len() as u64)?;
        file.write_all(&call.params)?;
        let runs = touched.into_runs();
        let words = call.params.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let addresses = words.chain(runs.iter().map(|run| run.address));
        let allocations: BTreeSet<(u64, u64)> =
            addresses.filter_map(|address| allocation(memory, address)).collect();
        put(&mut file, allocations.len() as u64)?;
        for (base, length) in allocations {
            put(&mut file, base)?;
            put(&mut file, length)?;
        }
        put(&mut file, runs.len() as u64)?;
        for run in runs {
            for number in [run.address, u64::from(run.written), run.before.len() as u64] {
                put(&mut file, number)?;
            }
            file.write_all(&run.before)?;
            if run.written {
                let mut after = run.before;
                let gone = |bounds| io::Error::other(format!("{bounds:?}"));
                memory.read(run.address, &mut after).map_err(gone)?;
                file.write_all(&after)?;
            }
        }
        file.flush()
    }
}

/// The first byte and the length of the allocation that an address lies in, or at the end of.
fn allocation(memory: &DeviceMemory, address: u64) -> Option<(u64, u64)> {
    memory.find(address, 0).ok().map(|index| memory.extent(index))
}

fn put(file: &mut BufWriter<File>, number: u64) -> io::Result<()> {
    file.write_all(&number.to_le_bytes())
}

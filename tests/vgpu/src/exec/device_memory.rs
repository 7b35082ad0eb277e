//! Memory of one device: allocations that never overlap, never touch and are never reused.
//!
//! The addresses are those of a range that the process reserves without access, so that host code
//! that follows a device pointer faults; the bytes lie elsewhere.

use super::shadow::Shadow;

/// Address space of one device.
const RESERVED: u64 = 1 << 40;
/// Alignment of allocations, as the driver's.
const ALIGN: u64 = 512;
/// Unmapped bytes behind every allocation, at least.
const REDZONE: u64 = 4096;
/// What unwritten memory holds: a NaN in every floating-point format.
const FILL: u8 = 0xff;

/// One allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    /// Its first address.
    pub(crate) base: u64,
    /// Its bytes.
    pub(crate) data: Vec<u8>,
    /// Which bytes were written; empty if nobody asks.
    pub(crate) written: Vec<bool>,
    /// Who touched which byte.
    pub(crate) shadow: Shadow,
    /// Whether it counts as the program's, not as a module's variable.
    counted: bool,
}

/// Memory of one device.
#[derive(Debug)]
pub(crate) struct DeviceMemory {
    allocations: Vec<Allocation>,
    freed: Vec<(u64, u64)>,
    region: Region,
    next: u64,
    total: u64,
    used: u64,
    checked: bool,
}

/// Reserved addresses without access.
#[derive(Debug)]
struct Region {
    base: u64,
}

impl Region {
    fn reserve() -> Option<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping without access at an address that the kernel chooses
        // touches no memory of the program.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), RESERVED as usize, libc::PROT_NONE, flags, -1, 0)
        };
        (base != libc::MAP_FAILED).then_some(Self { base: base as u64 })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, without access, and no reference points into it.
        unsafe { libc::munmap(self.base as *mut libc::c_void, RESERVED as usize) };
    }
}

/// Why an address range cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutOfBounds(pub(crate) String);

impl DeviceMemory {
    /// A device with `total` bytes. `checked` keeps which bytes were written.
    pub(crate) fn new(total: u64, checked: bool) -> Option<Self> {
        let region = Region::reserve()?;
        let next = region.base.next_multiple_of(ALIGN);
        let (allocations, freed) = (Vec::new(), Vec::new());
        Some(Self { allocations, freed, region, next, total, used: 0, checked })
    }

    /// Bytes free and bytes in all.
    pub(crate) fn info(&self) -> (u64, u64) {
        (self.total - self.used, self.total)
    }

    /// A new allocation, or none if it does not fit.
    pub(crate) fn allocate(&mut self, bytes: u64) -> Option<u64> {
        if bytes > self.total - self.used {
            return None;
        }
        let base = self.insert(bytes, true)?;
        self.used += bytes;
        Some(base)
    }

    /// A variable of a module, which the program's memory does not pay for.
    pub(crate) fn variable(&mut self, content: &[u8], align: u64) -> Option<u64> {
        let base = self.insert(content.len().max(align as usize) as u64, false)?;
        self.write(base, content).ok()?;
        Some(base)
    }

    fn insert(&mut self, bytes: u64, counted: bool) -> Option<u64> {
        let base = self.next;
        let end = base + bytes.next_multiple_of(ALIGN) + REDZONE;
        if end > self.region.base + RESERVED {
            return None;
        }
        self.next = end.next_multiple_of(ALIGN);
        let written = if self.checked { vec![false; bytes as usize] } else { Vec::new() };
        self.allocations.push(Allocation {
            base,
            data: vec![FILL; bytes as usize],
            written,
            shadow: Shadow::new(bytes as usize),
            counted,
        });
        Some(base)
    }

    /// Frees the allocation that starts at `base`; whether there is one.
    pub(crate) fn free(&mut self, base: u64) -> bool {
        let Ok(at) = self.allocations.binary_search_by_key(&base, |one| one.base) else {
            return false;
        };
        let gone = self.allocations.remove(at);
        self.freed.push((gone.base, gone.data.len() as u64));
        if gone.counted {
            self.used -= gone.data.len() as u64;
        }
        true
    }

    /// Whether an allocation starts at `base`.
    pub(crate) fn starts_at(&self, base: u64) -> bool {
        self.allocations.binary_search_by_key(&base, |one| one.base).is_ok()
    }

    /// Index of the allocation that holds `bytes` bytes at `address`.
    pub(crate) fn find(&self, address: u64, bytes: u64) -> Result<usize, OutOfBounds> {
        let behind = self.allocations.partition_point(|one| one.base <= address);
        let fits = behind.checked_sub(1).filter(|at| {
            let one = &self.allocations[*at];
            address.checked_add(bytes).is_some_and(|end| end <= one.base + one.data.len() as u64)
        });
        fits.ok_or_else(|| self.describe(address, bytes))
    }

    /// The first address and the length of the allocation at `index`.
    pub(crate) fn extent(&self, index: usize) -> (u64, u64) {
        self.allocations.get(index).map_or((0, 0), |one| (one.base, one.data.len() as u64))
    }

    /// The allocation at `index`.
    #[inline(always)]
    pub(crate) fn allocation(&mut self, index: usize) -> Option<&mut Allocation> {
        self.allocations.get_mut(index)
    }

    fn describe(&self, address: u64, bytes: u64) -> OutOfBounds {
        let freed =
            self.freed.iter().rev().find(|(base, len)| (*base..base + len).contains(&address));
        if let Some((base, len)) = freed {
            return OutOfBounds(format!(
                "{bytes} bytes at {address:#x}, in the {len} bytes at {base:#x} that were freed"
            ));
        }
        let behind = self.allocations.partition_point(|one| one.base <= address);
        let Some(one) = behind.checked_sub(1).map(|at| &self.allocations[at]) else {
            return OutOfBounds(format!("{bytes} bytes at {address:#x}, where nothing is"));
        };
        let end = address.wrapping_add(bytes).wrapping_sub(one.base + one.data.len() as u64);
        OutOfBounds(format!(
            "{bytes} bytes at {address:#x}, up to {end} bytes past the end of the {} bytes at {:#x}",
            one.data.len(),
            one.base
        ))
    }

    /// Copies out `to.len()` bytes.
    pub(crate) fn read(&self, address: u64, to: &mut [u8]) -> Result<(), OutOfBounds> {
        let one = &self.allocations[self.find(address, to.len() as u64)?];
        let start = (address - one.base) as usize;
        to.copy_from_slice(&one.data[start..start + to.len()]);
        Ok(())
    }

    /// Whether every byte of a range was written; true where nobody asks.
    pub(crate) fn is_written(&self, address: u64, bytes: usize) -> bool {
        let Ok(index) = self.find(address, bytes as u64) else { return false };
        let one = &self.allocations[index];
        let start = (address - one.base) as usize;
        one.written.get(start..start + bytes).is_none_or(|range| range.iter().all(|byte| *byte))
    }

    /// Copies in `from`.
    pub(crate) fn write(&mut self, address: u64, from: &[u8]) -> Result<(), OutOfBounds> {
        let index = self.find(address, from.len() as u64)?;
        let one = &mut self.allocations[index];
        let range = (address - one.base) as usize..(address - one.base) as usize + from.len();
        one.data[range.clone()].copy_from_slice(from);
        if let Some(written) = one.written.get_mut(range) {
            written.fill(true);
        }
        Ok(())
    }

    /// Copies on the device, with which bytes were written. Ranges may overlap.
    pub(crate) fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), OutOfBounds> {
        let mut content = vec![0; bytes as usize];
        self.read(from, &mut content)?;
        let source = &self.allocations[self.find(from, bytes)?];
        let start = (from - source.base) as usize;
        let known = source.written.get(start..start + bytes as usize).map(<[bool]>::to_vec);
        self.write(to, &content)?;
        let index = self.find(to, bytes)?;
        let target = &mut self.allocations[index];
        let start = (to - target.base) as usize;
        if let (Some(known), Some(written)) =
            (known, target.written.get_mut(start..start + bytes as usize))
        {
            written.copy_from_slice(&known);
        }
        Ok(())
    }

    /// Marks a range as never written, for arenas that give out the same bytes again.
    pub(crate) fn forget(&mut self, address: u64, bytes: u64) -> Result<(), OutOfBounds> {
        let index = self.find(address, bytes)?;
        let one = &mut self.allocations[index];
        let range = (address - one.base) as usize..(address - one.base + bytes) as usize;
        one.data[range.clone()].fill(FILL);
        if let Some(written) = one.written.get_mut(range) {
            written.fill(false);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_bounded_and_never_reused() {
        let mut memory = DeviceMemory::new(1 << 20, true).unwrap();
        let a = memory.allocate(1000).unwrap();
        let b = memory.allocate(24).unwrap();
        assert!(a.is_multiple_of(ALIGN) && b >= a + 1000 + REDZONE);
        assert_eq!(memory.info(), ((1 << 20) - 1024, 1 << 20));
        memory.write(a + 996, &[1, 2, 3, 4]).unwrap();
        let past = memory.write(a + 998, &[0; 4]).unwrap_err();
        assert!(past.0.contains("2 bytes past the end of the 1000 bytes"), "{past:?}");
        assert!(memory.free(a) && !memory.free(a) && !memory.free(b + 1));
        let freed = memory.read(a, &mut [0]).unwrap_err();
        assert!(freed.0.contains("freed"), "{freed:?}");
        assert!(memory.allocate(1000).unwrap() > b);
        assert!(memory.allocate(1 << 20).is_none());
    }

    #[test]
    fn a_copy_carries_what_was_written() {
        let mut memory = DeviceMemory::new(1 << 20, true).unwrap();
        let (a, b) = (memory.allocate(8).unwrap(), memory.allocate(8).unwrap());
        memory.write(a, &[7; 4]).unwrap();
        memory.copy(b, a, 8).unwrap();
        let index = memory.find(b, 8).unwrap();
        let one = memory.allocation(index).unwrap();
        assert_eq!(one.data, [7, 7, 7, 7, FILL, FILL, FILL, FILL]);
        assert_eq!(one.written[3..5], [true, false]);
        memory.forget(b, 2).unwrap();
        let one = memory.allocation(index).unwrap();
        assert_eq!((one.data[0], one.written[1], one.written[2]), (FILL, false, true));
    }
}

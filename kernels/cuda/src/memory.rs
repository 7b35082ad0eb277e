//! Memory of a device.

#![expect(unsafe_code, reason = "allocations of the driver")]

use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::Address;
use cudarc::driver::result;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Memory on a device, freed when it is dropped, after the work that was queued before.
pub struct Memory {
    device: Arc<Device>,
    address: u64,
    bytes: usize,
}

/// A part of a [`Memory`]. Where it is used as an operand, its length is checked against the shape.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Slice<'m> {
    address: u64,
    bytes: usize,
    memory: PhantomData<&'m Memory>,
}

impl Memory {
    /// Allocates `bytes` with any content; 256-byte aligned.
    ///
    /// # Errors
    /// [`DeviceError::MemoryLimit`], [`DeviceError::OutOfMemory`], or the driver's refusal.
    pub fn new(device: &Arc<Device>, bytes: usize) -> Result<Memory, DeviceError> {
        device.reserve(bytes)?;
        // An allocation of nothing is refused by the driver.
        // SAFETY: the context is current, and what is there is never read before it is written.
        let allocated = device.with_context(|| unsafe { result::malloc_sync(bytes.max(1)) });
        match device.checked("cuMemAlloc", allocated) {
            Ok(address) => Ok(Memory { device: device.clone(), address, bytes }),
            Err(error) => {
                device.used.fetch_sub(bytes as u64, Ordering::Relaxed);
                Err(device.as_memory_error(error, bytes))
            }
        }
    }

    /// All of it.
    pub fn slice(&self) -> Slice<'_> {
        Slice { address: self.address, bytes: self.bytes, memory: PhantomData }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.device.used.fetch_sub(self.bytes as u64, Ordering::Relaxed);
        // SAFETY: the address came from the same device and is freed once; the driver waits for what
        // is queued.
        let freed = self.device.with_context(|| unsafe { result::free_sync(self.address) });
        // There is nobody to tell; a lost device is remembered.
        let _ = self.device.checked("cuMemFree", freed);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes on {}", self.bytes, self.device.info().name)
    }
}

impl fmt::Debug for Slice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

impl<'m> Slice<'m> {
    /// Nothing, for operands that are absent.
    pub fn none() -> Slice<'m> {
        Slice { address: 0, bytes: 0, memory: PhantomData }
    }

    /// Memory that is no [`Memory`] and outlives `'m`.
    pub(crate) fn of(address: u64, bytes: usize) -> Slice<'m> {
        Slice { address, bytes, memory: PhantomData }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it begins at a multiple of `bytes`.
    pub fn is_aligned(&self, bytes: u64) -> bool {
        self.address.is_multiple_of(bytes)
    }

    /// `len` bytes from `start`.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] if they are not all there.
    pub fn part(&self, start: usize, len: usize) -> Result<Slice<'m>, DeviceError> {
        match start.checked_add(len) {
            Some(end) if end <= self.bytes => {
                Ok(Slice { address: self.address + start as u64, bytes: len, memory: PhantomData })
            }
            Some(_) | None => Err(DeviceError::Defect("a part reaches beyond its memory")),
        }
    }

    /// The address of `elements` elements of `size` bytes.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] if they do not fit or are not aligned.
    pub(crate) fn elements(&self, elements: u64, size: usize) -> Result<Address, DeviceError> {
        let fits = elements.checked_mul(size as u64).is_some_and(|all| all <= self.bytes as u64);
        match fits && self.address.is_multiple_of(size as u64) {
            true => Ok(Address(self.address)),
            false => {
                Err(DeviceError::Defect("an operand is shorter than its shape, or misaligned"))
            }
        }
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}

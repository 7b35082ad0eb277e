//! Memory that a thread keeps between kernels, so that kernels allocate nothing in the long run.

use aimass_tensor::BufferMut;
use std::cell::Cell;

/// Scratch above this many bytes is given back after the kernel that needed it.
const KEPT_BYTES_MAX: usize = 8 << 20;

thread_local! {
    static KEPT: [Cell<Option<BufferMut>>; 3] =
        const { [Cell::new(None), Cell::new(None), Cell::new(None)] };
}

/// Which of a thread's three scratch blocks a kernel takes; a kernel that calls another one uses a
/// different block.
#[derive(Clone, Copy)]
pub(crate) enum Slot {
    /// Operands that a product packs itself; projections of a recurrent layer.
    Operands = 0,
    /// Tiles and packed keys of attention.
    Attention = 1,
    /// Windows of a convolution, gathered, and what goes to a transposed one.
    Windows = 2,
}

/// Calls `body` with `len` floats of unspecified content, 64-byte aligned.
pub(crate) fn with_scratch<R>(slot: Slot, len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let bytes = len * size_of::<f32>();
    KEPT.with(|kept| {
        let cell = &kept[slot as usize];
        let mut block = match cell.take() {
            Some(block) if block.as_slice().len() >= bytes => block,
            _ => BufferMut::uninit(bytes.next_power_of_two().max(size_of::<f32>())),
        };
        let result = body(&mut crate::view::numbers_mut(block.as_mut_slice())[..len]);
        if block.as_slice().len() <= KEPT_BYTES_MAX {
            cell.set(Some(block));
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_floats_are_fine_on_a_fresh_thread() {
        let len = || with_scratch(Slot::Operands, 0, |floats| floats.len());
        assert_eq!(std::thread::spawn(len).join().unwrap(), 0);
    }

    #[test]
    fn scratch_is_kept_up_to_its_bound() {
        let first = with_scratch(Slot::Operands, 1000, |floats| floats.as_ptr() as usize);
        let again = with_scratch(Slot::Operands, 500, |floats| floats.as_ptr() as usize);
        assert_eq!(first, again);
        with_scratch(Slot::Operands, 4 << 20, |floats| assert_eq!(floats.len(), 4 << 20));
        KEPT.with(|kept| assert!(kept[Slot::Operands as usize].take().is_none()));
    }
}

//! Random bits from a key: Threefry-2x32 with 20 rounds (Salmon et al., SC11).

use crate::entries;
use crate::error::DeviceError;
use crate::lanes::elements;
use crate::launch::Form;
use crate::memory::Slice;
use crate::queue::Queue;

/// Threads of a block.
const THREADS: u32 = 256;

/// `n` words (u32): elements `2 i` and `2 i + 1` are the two words of counter `i` under the key, two
/// words on the device. The same key gives the same bits as on any other device.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
pub fn random_bits(
    queue: &mut Queue<'_>,
    key: Slice<'_>,
    y: Slice<'_>,
    n: u32,
) -> Result<(), DeviceError> {
    let all = elements(&[n])?;
    let kernel =
        entries::RandomBits { key: key.elements(2, size_of::<u32>())?, y: y.elements(all, 4)?, n };
    match n {
        0 => Ok(()),
        n => {
            let grid = queue.over(u64::from(n).div_ceil(2), THREADS);
            queue.launch(&kernel, Form::Plain, grid)
        }
    }
}

//! Rotary position embedding (arXiv:2104.09864).

use crate::entries;
use crate::error::DeviceError;
use crate::index_type::IndexType;
use crate::lanes::elements;
use crate::launch::Form;
use crate::memory::Slice;
use crate::parameters::RopeShape;
use crate::queue::Queue;

/// Operands and shape of a rotation.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'m> {
    /// `[rows, heads, size]`, floats.
    pub x: Slice<'m>,
    /// As `x`; may be `x`.
    pub y: Slice<'m>,
    /// `[positions_count]`; row `i` is at position `i` modulo the count.
    pub positions: Slice<'m>,
    /// Type of the positions.
    pub index_type: IndexType,
    /// At least 1 if there are rows.
    pub positions_count: u32,
    /// [`turns`] of the size and the base, as u64 `[size / 2]`.
    pub turns: Slice<'m>,
    /// Rows.
    pub rows: u32,
    /// Heads of a row.
    pub heads: u32,
    /// Elements of a head; even.
    pub size: u32,
    /// Whether a pair is `2 i` and `2 i + 1` instead of `i` and `i + size / 2`.
    pub interleaved: bool,
}

/// Threads of a block.
const THREADS: u32 = 256;
/// Pairs of a launch from which a thread turns several heads with one sine and cosine.
const PAIRS_MANY: u64 = 1 << 18;
/// Most heads that a thread turns.
const HEADS_EACH: u32 = 8;

/// Turns of each pair from one position to the next, `base^(-2 i / size) / 2π`, in fractions of 2^64
/// without whole turns: what a rotation has on the device for its size and base.
pub fn turns(size: u32, base: f32) -> Vec<u64> {
    let speed = |i: u32| f64::from(base).powf(-2.0 * f64::from(i) / f64::from(size));
    let turn = |i: u32| (speed(i) / std::f64::consts::TAU).rem_euclid(1.0);
    (0..size / 2).map(|i| (turn(i) * 2f64.powi(64)) as u64).collect()
}

/// Turns pair `i` of every head by its position times [`turns`]; computed in f32, rounded once.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, heads have an odd size or no position, or a
/// refused launch.
pub fn rope(queue: &mut Queue<'_>, form: Form, rope: &Rope<'_>) -> Result<(), DeviceError> {
    let Rope { rows, heads, size, positions_count, .. } = *rope;
    let (all, half) = (elements(&[rows, heads, size])?, size / 2);
    if !size.is_multiple_of(2) || positions_count == 0 && all > 0 {
        return Err(DeviceError::Defect("a rotation of an odd size, or without positions"));
    }
    let each = if all / 2 < PAIRS_MANY { 1 } else { HEADS_EACH };
    let position_bytes = rope.index_type.bytes();
    let kernel = entries::Rope {
        x: rope.x.elements(all, form.bytes())?,
        y: rope.y.elements(all, form.bytes())?,
        positions: rope.positions.elements(positions_count.into(), position_bytes)?,
        turns: rope.turns.elements(half.into(), size_of::<u64>())?,
        shape: RopeShape {
            rows,
            heads,
            size,
            each,
            positions: positions_count,
            index_type: rope.index_type as u32,
            interleaved: rope.interleaved.into(),
        },
    };
    let threads = u64::from(rows) * u64::from(heads.div_ceil(each)) * u64::from(half);
    match all {
        0 => Ok(()),
        _ => queue.launch(&kernel, form, queue.over(threads, THREADS)),
    }
}

#[cfg(test)]
mod tests {
    use super::turns;

    #[test]
    fn turns_are_fractions_without_whole_turns() {
        let as_turns = |size, base| -> Vec<f64> {
            turns(size, base).iter().map(|&turn| turn as f64 / 2f64.powi(64)).collect()
        };
        let radians = std::f64::consts::TAU.recip();
        assert_eq!(as_turns(4, 100.0), [radians, radians / 10.0]);
        assert_eq!(as_turns(4, 0.015_625)[1], (8.0 * radians).fract());
    }
}

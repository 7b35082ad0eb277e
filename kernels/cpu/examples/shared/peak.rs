//! What this processor can do at most.

use super::clock::best;
use aimass_cpu::ceiling::multiply_adds;
use aimass_cpu::pool::Team;
use aimass_cpu::view::numbers_mut;
use aimass_tensor::BufferMut;

/// Numbers in memory that is aligned as tensors are; it is never given back.
pub(crate) fn numbers(count: usize) -> &'static mut [f32] {
    let block = Box::leak(Box::new(BufferMut::uninit(count * size_of::<f32>())));
    let numbers = numbers_mut::<f32>(block.as_mut_slice());
    for (i, x) in numbers.iter_mut().enumerate() {
        *x = ((i * 7919) % 2003) as f32 / 1001.5 - 1.0;
    }
    numbers
}

/// What independent multiply-adds in registers reach on every thread, in GF/s.
pub(crate) fn multiply_add_peak(team: Team<'_>) -> f64 {
    let mut flops = 0;
    let seconds = best(team, || flops = multiply_adds(team, 100_000));
    flops as f64 / seconds / 1e9
}

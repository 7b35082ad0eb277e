//! Batched products of any number type: blocked, not tuned.
//!
//! Every element of the result is one chain of multiplications and additions in the order of `k`;
//! integers wrap, floats round after each of the two.

use super::packed::SPLIT_WORK_MIN;
use super::{MatmulDims, Operand};
use crate::elementwise::Number;
use crate::level::leveled;
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::view::{bytes_of_mut, numbers_mut};

/// Columns of a panel and rows of a tile.
const PANEL: usize = 16;
const TILE_ROWS: usize = 4;
/// Rows of one task.
const TASK_ROWS: usize = 64;

/// `c[b] = a[b] b[b]` for every `b`; `c` is dense `[batch, m, n]`.
///
/// Scratch: `16 k` numbers a thread.
///
/// # Panics
/// If an operand ends before the extents do, or `c` has another size.
pub fn matmul_numbers<T: Number>(
    team: Team<'_>,
    dims: MatmulDims,
    a: Operand<'_, T>,
    b: Operand<'_, T>,
    c: &mut [T],
) {
    let MatmulDims { batch, m, k, n } = dims;
    assert_eq!(c.len(), batch * m * n, "elements of [{batch}, {m}, {n}]");
    a.check(batch, m, k);
    b.check(batch, k, n);
    if c.is_empty() {
        return;
    }
    let chunks = m.div_ceil(TASK_ROWS);
    let team = if c.len().saturating_mul(k) < SPLIT_WORK_MIN { Team::alone() } else { team };
    if batch == 1 {
        team.chunks([c], [TASK_ROWS * n], &|chunk, [c]| {
            rows(dims, a, b, chunk * TASK_ROWS, c);
        });
        return;
    }
    team.chunks([c], [m * n], &|item, [c]| {
        for (chunk, c) in c.chunks_mut(TASK_ROWS * n).enumerate().take(chunks) {
            rows(dims, a.item(item), b.item(item), chunk * TASK_ROWS, c);
        }
    });
}

/// Rows of one product from row `first` on, as many as `c` has.
fn rows<T: Number>(
    dims: MatmulDims,
    a: Operand<'_, T>,
    b: Operand<'_, T>,
    first: usize,
    c: &mut [T],
) {
    let MatmulDims { k, n, .. } = dims;
    let floats = (k * PANEL * size_of::<T>()).div_ceil(size_of::<f32>());
    with_scratch(Slot::Operands, floats, |scratch| {
        let panel = &mut bytes_of_mut(scratch)[..k * PANEL * size_of::<T>()];
        let panel: &mut [T] = numbers_mut(panel);
        for start in (0..n).step_by(PANEL) {
            let columns = PANEL.min(n - start);
            for (p, lanes) in panel.chunks_exact_mut(PANEL).enumerate() {
                lanes.fill(T::default());
                for (j, lane) in lanes[..columns].iter_mut().enumerate() {
                    *lane = b.data[p * b.row_stride + (start + j) * b.column_stride];
                }
            }
            for (tile, c) in c.chunks_mut(TILE_ROWS * n).enumerate() {
                let mut sums = [[T::default(); PANEL]; TILE_ROWS];
                let row = first + tile * TILE_ROWS;
                let rows = c.len() / n;
                match k {
                    0 => {}
                    _ => product(a, row..row + rows, panel, &mut sums),
                }
                for (c, sums) in c.chunks_exact_mut(n).zip(&sums) {
                    c[start..start + columns].copy_from_slice(&sums[..columns]);
                }
            }
        }
    });
}

leveled! {
    fn product<T: Number>(
        a: Operand<'_, T>,
        rows: std::ops::Range<usize>,
        panel: &[T],
        sums: &mut [[T; PANEL]; TILE_ROWS],
    ) = product_body(a, rows, panel, sums);
}

#[inline(always)]
fn product_body<T: Number>(
    a: Operand<'_, T>,
    rows: std::ops::Range<usize>,
    panel: &[T],
    sums: &mut [[T; PANEL]; TILE_ROWS],
) {
    // The last tile repeats its last row; those sums stay unread.
    let start = |i: usize| (rows.start + i).min(rows.end - 1) * a.row_stride;
    let starts: [usize; TILE_ROWS] = std::array::from_fn(start);
    let mut own = *sums;
    for (p, lanes) in panel.chunks_exact(PANEL).enumerate() {
        for (sums, start) in own.iter_mut().zip(starts) {
            let x = a.data[start + p * a.column_stride];
            for (sum, &lane) in sums.iter_mut().zip(lanes) {
                *sum = sum.add(x.mul(lane));
            }
        }
    }
    *sums = own;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;
    use crate::pool::KernelPool;

    fn check<T: Number + std::fmt::Debug>(number: fn(usize) -> T, team: Team<'_>) {
        for (batch, m, k, n) in [(1, 1, 1, 1), (3, 5, 7, 17), (1, 130, 3, 33), (2, 4, 0, 3)] {
            let left: Vec<T> = (0..batch * m * k).map(number).collect();
            let right: Vec<T> = (0..batch * k * n).map(|i| number(i + 5)).collect();
            for (a_turned, b_turned) in [(false, false), (true, false), (false, true)] {
                let a = match a_turned {
                    true => Operand::dense_transposed(&left, m, k),
                    false => Operand::dense(&left, m, k),
                };
                let b = match b_turned {
                    true => Operand::dense_transposed(&right, k, n),
                    false => Operand::dense(&right, k, n),
                };
                let mut c = vec![number(1); batch * m * n];
                matmul_numbers(team, MatmulDims { batch, m, k, n }, a, b, &mut c);
                for (index, &got) in c.iter().enumerate() {
                    let (item, i, j) = (index / (m * n), index / n % m, index % n);
                    let mut want = T::default();
                    for p in 0..k {
                        let x = a.item(item).data[i * a.row_stride + p * a.column_stride];
                        let y = b.item(item).data[p * b.row_stride + j * b.column_stride];
                        want = want.add(x.mul(y));
                    }
                    assert_eq!(got, want, "[{batch}, {m}, {k}, {n}] at {index}");
                }
            }
        }
    }

    #[test]
    fn every_number_type_gives_the_plain_chain() {
        let pool = KernelPool::new(2);
        for_each_level(|_| {
            check(|i| (i * 7919 % 223) as f64 / 7.0, pool.team(2));
            check(|i| (i * 7919) as i32, pool.team(2));
            check(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15), pool.team(2));
            check(|i| (i * 31) as i8, pool.team(2));
        });
    }
}

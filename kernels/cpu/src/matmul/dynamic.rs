//! Batched products of two computed matrices, either side transposed or broadcast.

#![expect(unsafe_code, reason = "tasks write disjoint parts of the result")]

use super::packed::{Epilogue, SPLIT_WORK_MIN, product};
use super::packing::{Panels, pack_panel, pack_transposed};
use crate::microkernel::PANEL;
use crate::pool::Team;
use crate::scratch::{Slot, with_scratch};
use crate::view::{Rows, RowsMut};
use std::ops::Range;

/// Extents of `[batch, m, k] x [batch, k, n]`.
#[derive(Clone, Copy, Debug)]
pub struct MatmulDims {
    /// Number of products.
    pub batch: usize,
    /// Rows of the left side.
    pub m: usize,
    /// Columns of the left side, rows of the right.
    pub k: usize,
    /// Columns of the right side.
    pub n: usize,
}

/// One side of a product: where its elements lie. Transposing is swapping the strides.
#[derive(Clone, Copy)]
pub struct Operand<'a, T = f32> {
    /// The elements.
    pub data: &'a [T],
    /// Elements from one matrix to the next; 0 if all products share one.
    pub batch_stride: usize,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one column to the next.
    pub column_stride: usize,
}

/// Panels that one task packs and multiplies.
const TASK_PANELS: usize = 16;

/// `c[b] = a[b] b[b]` for every `b`; `c` is dense `[batch, m, n]`.
///
/// Scratch: `16 TASK_PANELS k` floats a thread, and `m k` more if the rows of `a` are strided.
///
/// # Panics
/// If an operand ends before the extents do, or `c` has another size.
pub fn matmul_dynamic(team: Team<'_>, dims: MatmulDims, a: Operand, b: Operand, c: &mut [f32]) {
    let MatmulDims { batch, m, k, n } = dims;
    assert_eq!(c.len(), batch * m * n, "elements of [{batch}, {m}, {n}]");
    a.check(batch, m, k);
    b.check(batch, k, n);
    if c.is_empty() {
        return;
    }
    let chunks = n.div_ceil(TASK_PANELS * PANEL);
    let all = RowsMut::dense(c, n).raw();
    let team = if batch * m * k * n < SPLIT_WORK_MIN { Team::alone() } else { team };
    team.run(batch * chunks, &|task| {
        let (item, chunk) = (task / chunks, task % chunks);
        let first = chunk * TASK_PANELS * PANEL;
        let columns = first..n.min(first + TASK_PANELS * PANEL);
        // SAFETY: every task has a part of its own, and the run ends before the borrow of `c`.
        let own = unsafe { all.part(item * m..item * m + m, columns.clone()) };
        one(dims, &a.item(item), &b.item(item), columns, own);
    });
}

/// One product's `columns`, packed by this thread.
fn one(dims: MatmulDims, a: &Operand, b: &Operand, columns: Range<usize>, mut c: RowsMut) {
    let MatmulDims { m, k, .. } = dims;
    let panels = columns.len().div_ceil(PANEL);
    let strided = a.column_stride != 1 && k > 1;
    let a_len = if strided { m * k } else { 0 };
    with_scratch(Slot::Operands, panels * k * PANEL + a_len, |scratch| {
        let (packed, rows) = scratch.split_at_mut(panels * k * PANEL);
        if k > 0 {
            for (index, panel) in packed.chunks_exact_mut(k * PANEL).enumerate() {
                let first = columns.start + index * PANEL;
                b.pack(first, PANEL.min(columns.end - first), panel);
            }
        }
        let left = if strided {
            a.copy_rows(k, rows);
            Rows::new(rows, m, k, k)
        } else {
            Rows::new(a.data, m, k, if m > 1 && k > 0 { a.row_stride } else { k })
        };
        let view = Panels { ptr: packed.as_ptr(), k, n: columns.len(), panel_steps: k };
        // SAFETY: `packed` has the panels, `c` the columns, and both are this thread's alone.
        unsafe { product(left, view, 0..panels, c.raw(), &Epilogue::default()) };
    });
}

impl<'a, T: Copy> Operand<'a, T> {
    /// A dense row-major operand `[batch, rows, columns]`.
    pub fn dense(data: &'a [T], rows: usize, columns: usize) -> Operand<'a, T> {
        Operand { data, batch_stride: rows * columns, row_stride: columns, column_stride: 1 }
    }

    /// A dense operand stored as `[batch, columns, rows]`, seen transposed.
    pub fn dense_transposed(data: &'a [T], rows: usize, columns: usize) -> Operand<'a, T> {
        Operand { data, batch_stride: rows * columns, row_stride: 1, column_stride: rows }
    }

    pub(super) fn check(&self, batch: usize, rows: usize, columns: usize) {
        if batch * rows * columns == 0 {
            return;
        }
        let last = (batch - 1) * self.batch_stride
            + (rows - 1) * self.row_stride
            + (columns - 1) * self.column_stride;
        assert!(last < self.data.len(), "element {last} of an operand of {}", self.data.len());
        assert!(rows <= 1 || self.column_stride != 1 || self.row_stride >= columns || columns == 1);
    }

    pub(super) fn item(&self, index: usize) -> Operand<'a, T> {
        let start = (index * self.batch_stride).min(self.data.len());
        Operand { data: &self.data[start..], ..*self }
    }
}

impl Operand<'_> {
    /// Columns `first..first + columns` as a panel padded with zeros.
    fn pack(&self, first: usize, columns: usize, panel: &mut [f32]) {
        if columns < PANEL {
            panel.fill(0.0);
        }
        let data = &self.data[first * self.column_stride..];
        if self.column_stride == 1 {
            pack_panel(data, self.row_stride, columns, panel);
        } else if self.row_stride == 1 {
            pack_transposed(data, self.column_stride, columns, panel);
        } else {
            for (row, panel) in panel.chunks_exact_mut(PANEL).enumerate() {
                for (lane, value) in panel[..columns].iter_mut().enumerate() {
                    *value = data[row * self.row_stride + lane * self.column_stride];
                }
            }
        }
    }

    fn copy_rows(&self, columns: usize, out: &mut [f32]) {
        for (row, out) in out.chunks_exact_mut(columns).enumerate() {
            for (column, value) in out.iter_mut().enumerate() {
                *value = self.data[row * self.row_stride + column * self.column_stride];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;
    use crate::pool::KernelPool;

    fn check(dims: MatmulDims, a_turned: bool, b_turned: bool, shared_b: bool, team: Team<'_>) {
        let MatmulDims { batch, m, k, n } = dims;
        let number = |i: usize| ((i * 7919) % 223) as f32 / 111.5 - 1.0;
        let left: Vec<f32> = (0..batch * m * k).map(number).collect();
        let right: Vec<f32> = (0..batch * k * n).map(|i| number(i + 5)).collect();
        let a = match a_turned {
            true => Operand::dense_transposed(&left, m, k),
            false => Operand::dense(&left, m, k),
        };
        let b = match b_turned {
            true => Operand::dense_transposed(&right, k, n),
            false => Operand::dense(&right, k, n),
        };
        let b = Operand { batch_stride: if shared_b { 0 } else { b.batch_stride }, ..b };
        let mut c = vec![f32::NAN; batch * m * n];
        matmul_dynamic(team, dims, a, b, &mut c);
        for (index, &got) in c.iter().enumerate() {
            let (item, i, j) = (index / (m * n), index / n % m, index % n);
            let mut want = 0f32;
            for p in 0..k {
                let x = a.data[item * a.batch_stride + i * a.row_stride + p * a.column_stride];
                let y = b.data[item * b.batch_stride + p * b.row_stride + j * b.column_stride];
                want = x.mul_add(y, want);
            }
            assert_eq!(got.to_bits(), want.to_bits(), "{dims:?} at {index}");
        }
    }

    #[test]
    fn every_layout_gives_the_plain_chain_of_multiply_adds() {
        let pool = KernelPool::new(3);
        for_each_level(|_| {
            for (batch, m, k, n) in [(1, 1, 1, 1), (3, 5, 7, 17), (2, 13, 33, 300), (1, 4, 0, 3)] {
                for flags in 0..8 {
                    let dims = MatmulDims { batch, m, k, n };
                    let flag = |bit: i32| flags & bit != 0;
                    check(dims, flag(1), flag(2), flag(4), pool.team(3));
                }
            }
        });
    }
}

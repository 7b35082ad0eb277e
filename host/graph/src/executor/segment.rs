//! Runs row segments: block by block on all threads, or as one block whose products are split.
//!
//! A block is sized so that its scratch stays in the second-level cache while weights stream
//! through. How rows are cut changes no bit of a result: every kernel here computes a row from
//! that row alone, in one order.

use super::Frame;
use crate::RunError;
use crate::graph::ValueId;
use crate::op::{Arg, NormalizeKind};
use crate::packing::Matrix;
use crate::profiler::Profiler;
use crate::step::{BUFFERS_MAX, OUTS_MAX, Operand, RowKind, RowSegment, RowSource, RowStep};
use aimass_cpu::activation::{unary, unary_in_place};
use aimass_cpu::elementwise::{Broadcast, binary};
use aimass_cpu::matmul::{Epilogue, matmul_int8, matmul_packed};
use aimass_cpu::norm;
use aimass_cpu::pool::Team;
use aimass_cpu::shape_ops::gather_rows;
use aimass_cpu::softmax::{softmax_rows, softmax_rows_in_place};
use aimass_cpu::view::{Rows, RowsMut, bytes_of_mut, numbers, numbers_mut};
use aimass_tensor::{BufferMut, DType};
use std::ops::Range;
use std::sync::PoisonError;

/// Bytes of scratch and outputs that one block of rows may take: most of a second-level cache.
const BLOCK_BYTES: usize = 768 << 10;
/// Fewest and most rows of a block; narrow rows may be more, up to as many bytes.
const BLOCK_ROWS: Range<usize> = 24..256;
const BLOCK_BYTES_MIN: usize = 192 << 10;
/// Rows a thread, and rows of all, below which products are split by columns instead: then every
/// weight is read by one thread only.
const SPLIT_ROWS_MIN: usize = 48;
const SPLIT_ALL_ROWS_MIN: usize = 320;
/// Multiply-adds below which waking another thread costs more than it brings.
const PARALLEL_WORK_MIN: usize = 200_000;

/// Buffers of one block: outputs, then scratch.
type Buffers<'b> = [&'b mut [f32]; BUFFERS_MAX];

/// A segment that runs, its number among the steps, and who watches.
pub(super) struct SegmentRun<'s, P> {
    pub(super) segment: &'s RowSegment,
    pub(super) index: usize,
    pub(super) profiler: &'s P,
}

impl Frame<'_> {
    pub(super) fn segment<P: Profiler>(
        &mut self,
        run: &SegmentRun<'_, P>,
        team: Team<'_>,
    ) -> Result<(), RunError> {
        const DEFECT: RunError = RunError::Internal("a row segment has no place to write");
        let segment = run.segment;
        for step in &segment.steps {
            if let RowKind::Gather { table, indices } = step.kind {
                self.check_rows(indices, self.shapes[table.index()][0])?;
            }
        }
        let first = *segment.outs.first().ok_or(DEFECT)?;
        let rows = self.shapes[first.index()].elements() / segment.columns[0].max(1);
        if rows == 0 {
            return Ok(());
        }
        let mut taken: [(usize, &mut [u8]); OUTS_MAX] = std::array::from_fn(|_| Default::default());
        for (slot, &out) in taken.iter_mut().zip(&segment.outs) {
            let region = self.region(out).ok_or(DEFECT)?;
            *slot = (region, std::mem::take(&mut self.regions[region]));
        }
        let mut outs: [&mut [f32]; OUTS_MAX] = Default::default();
        let count = segment.outs.len();
        for ((out, (_, region)), columns) in
            outs.iter_mut().zip(&mut taken).zip(&segment.columns[..count])
        {
            *out = numbers_mut(&mut region[..rows * columns * size_of::<f32>()]);
        }
        let [a, b, c, d] = outs;
        match count {
            1 => self.blocks(run, team, rows, [a]),
            2 => self.blocks(run, team, rows, [a, b]),
            3 => self.blocks(run, team, rows, [a, b, c]),
            _ => self.blocks(run, team, rows, [a, b, c, d]),
        }
        for (region, bytes) in taken.into_iter().take(count) {
            self.regions[region] = bytes;
        }
        Ok(())
    }

    fn blocks<P: Profiler, const N: usize>(
        &self,
        run: &SegmentRun<'_, P>,
        team: Team<'_>,
        rows: usize,
        outs: [&mut [f32]; N],
    ) {
        let segment = run.segment;
        let threads = team.threads().min(rows.saturating_mul(segment.row_work) / PARALLEL_WORK_MIN);
        if threads <= 1 || rows >= (threads * SPLIT_ROWS_MIN).max(SPLIT_ALL_ROWS_MIN) {
            let block = block_rows(segment, rows, threads.max(1));
            let team = if threads <= 1 { Team::alone() } else { team };
            let lengths = std::array::from_fn(|i| block * segment.columns[i]);
            team.chunks(outs, lengths, &|task, chunks| {
                let range = task * block..rows.min(task * block + block);
                self.block(run, range, chunks, Team::alone());
            });
        } else {
            self.block(run, 0..rows, outs, team);
        }
    }

    fn block<P: Profiler, const N: usize>(
        &self,
        run: &SegmentRun<'_, P>,
        range: Range<usize>,
        outs: [&mut [f32]; N],
        team: Team<'_>,
    ) {
        let &SegmentRun { segment, index, profiler } = run;
        let rows = range.len();
        let scratch = &segment.columns[N..];
        let floats: usize =
            scratch.iter().map(|columns| (columns * rows).next_multiple_of(16)).sum();
        let mut memory = self.take_scratch(floats * size_of::<f32>());
        let mut rest: &mut [f32] = match &mut memory {
            Some(memory) => numbers_mut(&mut memory.as_mut_slice()[..floats * size_of::<f32>()]),
            None => &mut [],
        };
        let mut buffers: Buffers<'_> = Default::default();
        for (buffer, out) in buffers.iter_mut().zip(outs) {
            *buffer = out;
        }
        for (buffer, columns) in buffers[N..].iter_mut().zip(scratch) {
            let (own, after) = rest.split_at_mut((columns * rows).next_multiple_of(16));
            *buffer = own;
            rest = after;
        }
        for (part, step) in segment.steps.iter().enumerate() {
            let begin = profiler.mark();
            let to = std::mem::take(&mut buffers[step.to]);
            RowRun { frame: self, range: range.clone(), buffers: &buffers, team }.step(step, to);
            buffers[step.to] = to;
            profiler.part(index, part, begin);
        }
        if let Some(memory) = memory {
            self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        }
    }

    fn take_scratch(&self, bytes: usize) -> Option<BufferMut> {
        if bytes == 0 {
            return None;
        }
        let kept = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match kept {
            Some(kept) if kept.as_slice().len() >= bytes => Some(kept),
            Some(_) | None => Some(BufferMut::uninit(bytes)),
        }
    }
}

/// Rows of one block: as many as fit the cache, evenly shared out between the threads.
fn block_rows(segment: &RowSegment, rows: usize, threads: usize) -> usize {
    let row_bytes = segment.columns.iter().sum::<usize>() * size_of::<f32>();
    let most = BLOCK_ROWS.end.max(BLOCK_BYTES_MIN / row_bytes.max(1));
    let fit = (BLOCK_BYTES / row_bytes.max(1)).clamp(BLOCK_ROWS.start, most);
    let blocks = rows.div_ceil(fit).next_multiple_of(threads);
    rows.div_ceil(blocks).max(1)
}

/// One block in progress.
struct RowRun<'a, 'b> {
    frame: &'a Frame<'a>,
    range: Range<usize>,
    buffers: &'a Buffers<'b>,
    team: Team<'a>,
}

impl RowRun<'_, '_> {
    fn rows(&self) -> usize {
        self.range.len()
    }

    fn whole(&self, value: ValueId) -> &[f32] {
        self.frame.arg(value).numbers()
    }

    /// The block's rows of a source.
    fn dense(&self, source: RowSource, columns: usize) -> &[f32] {
        match source {
            RowSource::Buffer(buffer) => &self.buffers[buffer][..self.rows() * columns],
            RowSource::Value(value) => {
                &self.whole(value)[self.range.start * columns..self.range.end * columns]
            }
        }
    }

    fn step(&self, step: &RowStep, to: &mut [f32]) {
        let columns = step.columns;
        let in_place = step.from == RowSource::Buffer(step.to);
        let from = || self.dense(step.from, columns);
        let same = self.rows() * columns;
        match &step.kind {
            RowKind::Linear { .. } => self.linear(step, to),
            RowKind::Binary { op, left, right } => {
                let (a, a_columns) = self.operand(*left, columns);
                let (b, b_columns) = self.operand(*right, columns);
                let (a_shape, b_shape) =
                    ([a.len() / a_columns, a_columns], [b.len() / b_columns, b_columns]);
                if let Some(plan) = Broadcast::new([&a_shape, &b_shape]) {
                    binary(op.kernel(), &plan, a, b, &mut to[..same]);
                }
            }
            RowKind::Unary(op) if in_place => unary_in_place(*op, &mut to[..same]),
            RowKind::Unary(op) => unary(*op, from(), &mut to[..same]),
            RowKind::LayerNorm { scale, bias, epsilon } => {
                let bias = bias.map(|bias| self.whole(bias));
                let norm = norm::LayerNorm { weight: self.whole(*scale), bias, epsilon: *epsilon };
                let to = RowsMut::dense(&mut to[..same], columns);
                match in_place {
                    true => norm::layer_norm_in_place(to, &norm),
                    false => norm::layer_norm(Rows::dense(from(), columns), &norm, to),
                }
            }
            RowKind::Normalize { kind, scale, epsilon } => {
                let scale = scale.map(|scale| self.whole(scale)).unwrap_or_default();
                let to = RowsMut::dense(&mut to[..same], columns);
                match (kind, in_place) {
                    (NormalizeKind::Rms, true) => norm::rms_norm_in_place(to, scale, *epsilon),
                    (NormalizeKind::Rms, false) => {
                        norm::rms_norm(Rows::dense(from(), columns), scale, *epsilon, to);
                    }
                    (NormalizeKind::L2, true) => norm::l2_normalize_in_place(to, *epsilon),
                    (NormalizeKind::L2, false) => {
                        norm::l2_normalize(Rows::dense(from(), columns), *epsilon, to);
                    }
                }
            }
            RowKind::Softmax => {
                let to = RowsMut::dense(&mut to[..same], columns);
                match in_place {
                    true => softmax_rows_in_place(to),
                    false => softmax_rows(Rows::dense(from(), columns), to),
                }
            }
            RowKind::Gather { table, indices } => {
                let (table, indices) = (self.frame.arg(*table), self.frame.arg(*indices));
                gather(&table, &indices, self.range.clone(), &mut to[..same]);
            }
        }
    }

    fn linear(&self, step: &RowStep, to: &mut [f32]) {
        let RowKind::Linear { matrix, bias, finish, residual } = &step.kind else { return };
        let matrix = &self.frame.plan.matrices[*matrix];
        let n = matrix.n();
        let epilogue = Epilogue {
            bias: bias.map(|bias| self.whole(bias)),
            finish: *finish,
            residual: residual.map(|source| Rows::dense(self.dense(source, n), n)),
        };
        let x = Rows::dense(self.dense(step.from, matrix.k()), matrix.k());
        let to = RowsMut::dense(&mut to[..self.rows() * n], n);
        match &**matrix {
            Matrix::F32(matrix) => matmul_packed(self.team, x, matrix, to, &epilogue),
            Matrix::Int8(matrix) => matmul_int8(self.team, x, matrix, to, &epilogue),
        }
    }

    /// An operand and its columns.
    fn operand(&self, operand: Operand, columns: usize) -> (&[f32], usize) {
        match operand {
            Operand::Rows(source) => (self.dense(source, columns), columns),
            Operand::Whole(value) => {
                let row = self.whole(value);
                (row, row.len().max(1))
            }
        }
    }
}

fn gather(table: &Arg<'_>, indices: &Arg<'_>, range: Range<usize>, to: &mut [f32]) {
    let row_bytes = table.shape.row_elements() * size_of::<f32>();
    let out = bytes_of_mut(to);
    match indices.dtype {
        DType::I32 => {
            gather_rows::<i32>(table.bytes, row_bytes, &numbers(indices.bytes)[range], out)
        }
        DType::I64 => {
            gather_rows::<i64>(table.bytes, row_bytes, &numbers(indices.bytes)[range], out)
        }
        _ => gather_rows::<u32>(table.bytes, row_bytes, &numbers(indices.bytes)[range], out),
    }
}

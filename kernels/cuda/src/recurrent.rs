//! Recurrent layers (ONNX `LSTM-14`, `GRU-14`, `RNN-14`): the projections of all tokens as one product,
//! then one launch a token, two of a GRU.
//!
//! States are f32 between tokens, whatever the type of the operands.

use crate::cast::cast;
use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Form, Grid};
use crate::matmul::{Matrix, ProductDims, ProductEnd, matmul};
use crate::memory::Slice;
use crate::parameters::StepShape;
use crate::queue::Queue;
use aimass_tensor::DType;

/// Which recurrence runs, with `x` and `h` projected by each gate's weights and biases added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// Gates i, o, f, c: `C = σ(f) C + σ(i) tanh(c)`, `h = σ(o) tanh(C)`.
    Lstm,
    /// Gates z, r, h: `h = (1 - σ(z)) tanh(..) + σ(z) h`, where the last gate projects `σ(r) h`.
    Gru,
    /// `h = tanh(..)`.
    Tanh,
    /// `h = max(.., 0)`.
    Relu,
}

/// In the order of `enum Phase` in `recurrent.cu`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Phase {
    Lstm,
    GruGates,
    GruState,
    Tanh,
    Relu,
}

impl Recurrence {
    /// Gates, which lie one after the other in weights and biases.
    pub fn gates(self) -> u32 {
        match self {
            Recurrence::Lstm => 4,
            Recurrence::Gru => 3,
            Recurrence::Tanh | Recurrence::Relu => 1,
        }
    }
}

/// Extents of a recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentShape {
    /// What is computed.
    pub kind: Recurrence,
    /// Whether the last token is taken first.
    pub reverse: bool,
    /// Number of tokens.
    pub tokens: u32,
    /// Rows of a token.
    pub batch: u32,
    /// Extent of the input.
    pub input: u32,
    /// Extent of the state.
    pub hidden: u32,
}

/// What a recurrent layer reads and writes; all of one type. Absent ones are nothing.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentOperands<'m> {
    /// `[tokens, batch, input]`.
    pub x: Slice<'m>,
    /// `[gates hidden, input]`.
    pub w: Slice<'m>,
    /// `[gates hidden, hidden]`.
    pub r: Slice<'m>,
    /// Of the input, then of the state: `[2 gates hidden]`, or nothing.
    pub bias: Slice<'m>,
    /// `[batch, hidden]` before the first token: the state, and the cell of an LSTM; nothing for zeros.
    pub first: [Slice<'m>; 2],
    /// `[tokens, batch, hidden]`: the state after each token.
    pub out: Slice<'m>,
    /// `[batch, hidden]` after the last token: the state, and the cell of an LSTM.
    pub last: [Slice<'m>; 2],
    /// [`recurrent_scratch`] bytes, 16-byte aligned.
    pub scratch: Slice<'m>,
}

/// Most tokens: each is a launch, or two.
pub const TOKENS_MAX: u32 = 1 << 14;
/// Parts of the scratch memory begin at multiples of this.
const ALIGN: u64 = 256;

/// f32 numbers of each part of the scratch memory.
struct Layout {
    /// The input, if it is not f32 already.
    x: u64,
    /// Projections of all tokens.
    projected: u64,
    /// Each of two states, the cell, `σ(z)` and `σ(r) h`.
    state: u64,
}

impl RecurrentShape {
    fn layout(&self, form: Form) -> Layout {
        let rows = u64::from(self.tokens) * u64::from(self.batch);
        let columns = u64::from(self.kind.gates()) * u64::from(self.hidden);
        Layout {
            x: if form == Form::F32 { 0 } else { rows.saturating_mul(self.input.into()) },
            projected: rows.saturating_mul(columns),
            state: u64::from(self.batch) * u64::from(self.hidden),
        }
    }

    fn phase(&self) -> Phase {
        match self.kind {
            Recurrence::Lstm => Phase::Lstm,
            Recurrence::Gru => Phase::GruGates,
            Recurrence::Tanh => Phase::Tanh,
            Recurrence::Relu => Phase::Relu,
        }
    }
}

fn padded(numbers: u64) -> u64 {
    numbers.saturating_mul(4).next_multiple_of(ALIGN)
}

/// Bytes of scratch memory that [`recurrent`] needs.
pub fn recurrent_scratch(form: Form, shape: &RecurrentShape) -> usize {
    let Layout { x, projected, state } = shape.layout(form);
    (padded(x) + padded(projected) + 5 * padded(state)) as usize
}

/// Runs a recurrent layer over all tokens. Floats.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short or has 2^31 elements or more, for more than
/// [`TOKENS_MAX`] tokens, or a refused launch.
pub fn recurrent(
    queue: &mut Queue<'_>,
    form: Form,
    shape: &RecurrentShape,
    operands: &RecurrentOperands<'_>,
) -> Result<(), DeviceError> {
    let Layout { x, projected, state } = shape.layout(form);
    let large = [x, projected, state, u64::from(shape.hidden) * u64::from(shape.kind.gates())];
    if large.iter().any(|&numbers| numbers >= 1 << 31) {
        return Err(DeviceError::Defect("a recurrent layer of 2^31 elements or more"));
    }
    if shape.tokens > TOKENS_MAX {
        return Err(DeviceError::Defect("a recurrent layer of more than 16,384 tokens"));
    }
    let mut layer = Layer::new(form, shape, operands)?;
    if state == 0 {
        return Ok(());
    }
    layer.begin(queue)?;
    if shape.tokens > 0 {
        layer.project(queue)?;
        for step in 0..shape.tokens {
            layer.step(queue, if shape.reverse { shape.tokens - 1 - step } else { step })?;
        }
    }
    layer.end(queue)
}

fn dtype(form: Form) -> Result<DType, DeviceError> {
    match form {
        Form::F32 => Ok(DType::F32),
        Form::F16 => Ok(DType::F16),
        Form::Bf16 => Ok(DType::Bf16),
        _ => Err(DeviceError::Defect("a recurrent layer of what are no floats")),
    }
}

/// A layer with its scratch memory laid out.
struct Layer<'a, 'm> {
    form: Form,
    dtype: DType,
    shape: &'a RecurrentShape,
    operands: &'a RecurrentOperands<'m>,
    /// Numbers of a state.
    state: u32,
    x: Slice<'m>,
    projected: Slice<'m>,
    /// The state before a token, and the place of that after it.
    states: [Slice<'m>; 2],
    cell: Slice<'m>,
    update: Slice<'m>,
    kept: Slice<'m>,
}

impl<'a, 'm> Layer<'a, 'm> {
    fn new(
        form: Form,
        shape: &'a RecurrentShape,
        operands: &'a RecurrentOperands<'m>,
    ) -> Result<Layer<'a, 'm>, DeviceError> {
        let Layout { x, projected, state } = shape.layout(form);
        let mut place = 0;
        let mut part = |numbers: u64| {
            let start = place;
            place += padded(numbers) as usize;
            operands.scratch.part(start, numbers as usize * 4)
        };
        let size = form.bytes();
        let first = operands.first.iter().filter(|first| first.bytes() > 0);
        for slice in first.chain(operands.last.iter().take(1)) {
            slice.elements(state, size)?;
        }
        Ok(Layer {
            form,
            dtype: dtype(form)?,
            shape,
            operands,
            state: state as u32,
            x: part(x)?,
            projected: part(projected)?,
            states: [part(state)?, part(state)?],
            cell: part(state)?,
            update: part(state)?,
            kept: part(state)?,
        })
    }

    /// Brings the first states to f32.
    fn begin(&mut self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        for (from, to) in self.operands.first.into_iter().zip([self.states[0], self.cell]) {
            match from.bytes() {
                0 => queue.fill(to, 0)?,
                _ => cast(queue, (from, self.dtype), (to, DType::F32), self.state)?,
            }
        }
        Ok(())
    }

    /// `x wᵀ` of all tokens.
    fn project(&mut self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        let RecurrentShape { tokens, batch, input, hidden, kind, .. } = *self.shape;
        let (rows, columns) = (tokens * batch, kind.gates() * hidden);
        if input == 0 {
            return queue.fill(self.projected, 0);
        }
        let x = match self.form {
            Form::F32 => self.operands.x,
            _ => {
                cast(queue, (self.operands.x, self.dtype), (self.x, DType::F32), rows * input)?;
                self.x
            }
        };
        let dims = ProductDims { batch: 1, m: rows, n: columns, k: input };
        let a = Matrix::dense(x, Form::F32, rows, input);
        let b = Matrix::transposed(self.operands.w, self.form, input, columns);
        let c = Matrix::dense(self.projected, Form::F32, rows, columns);
        matmul(queue, dims, [&a, &b], &c, &ProductEnd::default())
    }

    /// One token.
    fn step(&mut self, queue: &mut Queue<'_>, token: u32) -> Result<(), DeviceError> {
        let RecurrentShape { tokens, batch, hidden, kind, .. } = *self.shape;
        let columns = kind.gates() * hidden;
        let (state, size) = (u64::from(self.state), self.form.bytes());
        let row = columns as usize * batch as usize * 4;
        let projected = self.projected.part(token as usize * row, row)?;
        self.operands.out.elements(u64::from(tokens) * state, size)?;
        let own = self.state as usize * size;
        let out = self.operands.out.part(token as usize * own, own)?;
        let has_bias = self.operands.bias.bytes() > 0;
        let mut kernel = entries::RecurrentStep {
            projected: projected.elements(u64::from(batch) * u64::from(columns), 4)?,
            weights: self.operands.r.elements(u64::from(columns) * u64::from(hidden), size)?,
            bias: match has_bias {
                true => self.operands.bias.elements(2 * u64::from(columns), size)?,
                false => self.operands.bias.elements(0, 1)?,
            },
            before: self.states[0].elements(state, 4)?,
            after: self.states[1].elements(state, 4)?,
            cell: self.cell.elements(state, 4)?,
            update: self.update.elements(state, 4)?,
            kept: self.kept.elements(state, 4)?,
            out: out.elements(state, size)?,
            shape: StepShape {
                phase: self.shape.phase() as u32,
                batch,
                hidden,
                columns,
                has_bias: has_bias.into(),
            },
        };
        let blocks = u64::from(hidden.div_ceil(4)) * u64::from(batch.div_ceil(4));
        let grid = Grid::linear(u32::try_from(blocks).unwrap_or(u32::MAX), 128);
        queue.launch(&kernel, self.form, grid)?;
        if kind == Recurrence::Gru {
            kernel.shape.phase = Phase::GruState as u32;
            queue.launch(&kernel, self.form, grid)?;
        }
        self.states.swap(0, 1);
        Ok(())
    }

    /// Stores the last states.
    fn end(&mut self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        let [h, c] = self.operands.last;
        cast(queue, (self.states[0], DType::F32), (h, self.dtype), self.state)?;
        match self.shape.kind {
            Recurrence::Lstm => cast(queue, (self.cell, DType::F32), (c, self.dtype), self.state),
            Recurrence::Gru | Recurrence::Tanh | Recurrence::Relu => Ok(()),
        }
    }
}

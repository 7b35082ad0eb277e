//! Times chains of elementwise ops on a GPU: launched one by one, and as one kernel made at run time.
//!
//! ```text
//! cargo run --release -p aimass-cuda --example fused -- --device 0
//! ```
//!
//! NVRTC has to be where the loader looks (`LD_LIBRARY_PATH`). Each time is that of many runs and one
//! wait, by the host's clock; GB/s count each input and the result once, what a fused kernel has to move.
//! `made in` is
//! the time to write, compile and load the kernel, 0 once that was done; `same` says whether both ways
//! left the same bits.

use aimass_cuda::binary::{Arithmetic, Operands, arithmetic};
use aimass_cuda::fused::{Expression, Function, FusedKernel, Operand};
use aimass_cuda::unary::{Unary, unary};
use aimass_cuda::{Compiler, Device, DeviceOptions, Form, Memory, Queue};
use aimass_tensor::DType;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Rows of 1,024 elements.
const ROWS: [usize; 5] = [1, 32, 512, 8_192, 65_536];
const COLUMNS: usize = 1024;
/// Least time of a measurement.
const LEAST: Duration = Duration::from_millis(60);

/// One op of a chain: a function of what was made before, or arithmetic with an input.
#[derive(Clone, Copy)]
enum Op {
    Of(Unary),
    /// With rows of their own.
    With(Arithmetic),
    /// With one row for all.
    WithRow(Arithmetic),
}

/// Chains that exporters leave behind, by name.
const CHAINS: &[(&str, &[Op])] = &[
    ("bias gelu", &[Op::WithRow(Arithmetic::Add), Op::Of(Unary::Gelu)]),
    ("silu gate", &[Op::Of(Unary::Silu), Op::With(Arithmetic::Mul)]),
    (
        "scale shift relu residual",
        &[
            Op::WithRow(Arithmetic::Mul),
            Op::WithRow(Arithmetic::Add),
            Op::Of(Unary::Relu),
            Op::With(Arithmetic::Add),
        ],
    ),
    (
        "eight ops",
        &[
            Op::WithRow(Arithmetic::Sub),
            Op::WithRow(Arithmetic::Div),
            Op::Of(Unary::Tanh),
            Op::With(Arithmetic::Mul),
            Op::Of(Unary::Sigmoid),
            Op::WithRow(Arithmetic::Max),
            Op::With(Arithmetic::Add),
            Op::Of(Unary::Abs),
        ],
    ),
];

/// Values of a chain on the device.
struct Chain<'o> {
    ops: &'o [Op],
    form: Form,
    shape: [usize; 2],
    x: Memory,
    row: Memory,
    /// What the ops leave, in turns.
    made: [Memory; 2],
    out: Memory,
    kernel: Arc<FusedKernel>,
}

impl<'o> Chain<'o> {
    fn new(
        device: &Arc<Device>,
        ops: &'o [Op],
        kernel: Arc<FusedKernel>,
        dtype: DType,
        rows: usize,
    ) -> Outcome<Chain<'o>> {
        let form = if dtype == DType::F32 { Form::F32 } else { Form::F16 };
        let bytes = rows * COLUMNS * form.bytes();
        let content = |bytes: usize| -> Vec<u8> {
            let number = |i: usize| {
                ((i as u32).wrapping_mul(0x9e37_79b9) >> 9) as f32 / (1u32 << 22) as f32 - 0.9
            };
            match form {
                Form::F32 => (0..bytes / 4).flat_map(|i| number(i).to_le_bytes()).collect(),
                _ => (0..bytes / 2)
                    .flat_map(|i| half::f16::from_f32(number(i)).to_le_bytes())
                    .collect(),
            }
        };
        let memory = || Memory::new(device, bytes);
        Ok(Chain {
            ops,
            form,
            shape: [rows, COLUMNS],
            x: device.upload(&content(bytes))?,
            row: device.upload(&content(COLUMNS * form.bytes()))?,
            made: [memory()?, memory()?],
            out: memory()?,
            kernel,
        })
    }

    /// The ops one by one; what they leave is in `made`, in the place that is returned.
    fn unfused(&self, queue: &mut Queue<'_>) -> Outcome<usize> {
        let elements = (self.shape[0] * COLUMNS) as u32;
        for (i, op) in self.ops.iter().enumerate() {
            let from = if i == 0 { &self.x } else { &self.made[(i + 1) % 2] };
            let to = self.made[i % 2].slice();
            let with = |op, b: &Memory, shape: &[usize], queue: &mut Queue<'_>| {
                let dtype = if self.form == Form::F32 { DType::F32 } else { DType::F16 };
                let a = (from.slice(), &self.shape[..]);
                let operands = Operands { dtype, a, b: (b.slice(), shape), out: to };
                arithmetic(queue, op, &operands)
            };
            match *op {
                Op::Of(function) => {
                    unary(queue, function, self.form, (from.slice(), to), elements)?
                }
                Op::With(op) => with(op, &self.x, &self.shape, queue)?,
                Op::WithRow(op) => with(op, &self.row, &[COLUMNS], queue)?,
            }
        }
        Ok((self.ops.len() + 1) % 2)
    }

    fn fused(&self, queue: &mut Queue<'_>) -> Outcome<()> {
        let inputs = [(self.x.slice(), &self.shape[..]), (self.row.slice(), &[COLUMNS][..])];
        let used = if self.ops.iter().any(|op| matches!(op, Op::WithRow(_))) { 2 } else { 1 };
        Ok(self.kernel.launch(queue, &inputs[..used], (self.out.slice(), &self.shape))?)
    }

    /// Whether both ways leave the same bits.
    fn same(&self, queue: &mut Queue<'_>) -> Outcome<bool> {
        let place = self.unfused(queue)?;
        self.fused(queue)?;
        let (mut one, mut many) = (vec![0; self.out.bytes()], vec![0; self.out.bytes()]);
        queue.download(&mut [(self.out.slice(), &mut one)])?;
        queue.download(&mut [(self.made[place].slice(), &mut many)])?;
        Ok(one == many)
    }
}

fn expression(ops: &[Op], dtype: DType) -> Option<Expression> {
    let mut expression = Expression::default();
    let x = expression.input(dtype)?;
    let row = match ops.iter().any(|op| matches!(op, Op::WithRow(_))) {
        true => expression.input(dtype)?,
        false => x,
    };
    let mut last: Operand = x;
    for op in ops {
        last = match *op {
            Op::Of(function) => expression.push(Function::Unary(function), &[last])?,
            Op::With(op) => expression.push(Function::Arithmetic(op), &[last, x])?,
            Op::WithRow(op) => expression.push(Function::Arithmetic(op), &[last, row])?,
        };
    }
    Some(expression)
}

/// Microseconds of one run.
fn time(queue: &mut Queue<'_>, run: &dyn Fn(&mut Queue<'_>) -> Outcome<()>) -> Outcome<f64> {
    let mut count = 4;
    loop {
        run(queue)?;
        queue.synchronize()?;
        let start = Instant::now();
        for _ in 0..count {
            run(queue)?;
        }
        queue.synchronize()?;
        let elapsed = start.elapsed();
        if elapsed >= LEAST {
            return Ok(elapsed.as_secs_f64() * 1e6 / f64::from(count));
        }
        count *= 2;
    }
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--device").skip(1);
    let ordinal = arguments.next().map_or(Ok(0), |number| number.parse())?;
    let device = Device::open(ordinal, &DeviceOptions::default())?;
    println!(
        "{}, {}, NVRTC {}",
        device.info().name,
        device.info().image,
        Compiler::get()?.version()
    );
    println!(
        "{:<27}{:<5}{:>7}{:>13}{:>11}{:>8}{:>8}{:>12}  same",
        "chain", "type", "rows", "one by one us", "fused us", "ratio", "GB/s", "made in ms"
    );
    for (name, ops) in CHAINS {
        for dtype in [DType::F32, DType::F16] {
            for rows in ROWS {
                let start = Instant::now();
                let kernel = expression(ops, dtype).ok_or("no expression")?;
                let kernel = FusedKernel::new(&device, &kernel)?;
                let made = start.elapsed().as_secs_f64() * 1e3;
                let chain = Chain::new(&device, ops, kernel, dtype, rows)?;
                let mut queue = device.queue()?;
                let same = chain.same(&mut queue)?;
                let apart = time(&mut queue, &|queue| chain.unfused(queue).map(|_| ()))?;
                let one = time(&mut queue, &|queue| chain.fused(queue))?;
                let moved = (2 * chain.x.bytes()) as f64 / one / 1e3;
                drop(queue);
                println!(
                    "{name:<27}{:<5}{rows:>7}{apart:>13.2}{one:>11.2}{:>8.2}{moved:>8.0}{made:>12.0}  {same}",
                    dtype.to_string(),
                    apart / one,
                );
            }
        }
    }
    Ok(())
}

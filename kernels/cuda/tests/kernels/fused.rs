//! Kernels that are made at run time: the bits of the kernels that they replace.
//!
//! They need NVIDIA's compiler (`cargo xtask fetch`); without it these tests say so and pass.

use crate::moved::{Operand as Placed, bytes_left, joint, size};
use crate::reference::{Guarded, Random, device, is_real};
use aimass_cuda::binary::{self, Arithmetic, BitOp, Comparison, Logical, Operands};
use aimass_cuda::fused::{Expression, Function, FusedKernel, INPUTS_MAX, Operand, STEPS_MAX};
use aimass_cuda::select::{Choice, select};
use aimass_cuda::unary::{FloatTest, IntUnary, Unary, unary, unary_int, unary_test};
use aimass_cuda::{Compiler, CompilerError, DeviceError, Form, Queue, cast};
use aimass_tensor::DType;
use std::sync::{Arc, OnceLock};

/// Whether there is a compiler.
fn compiled() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        device();
        let fetched = aimass_vgpu::load_nvrtc();
        match Compiler::get() {
            Ok(compiler) => println!("NVRTC {}", compiler.version()),
            Err(error) => eprintln!("left out: {error}; {fetched:?}"),
        }
        Compiler::get().is_ok()
    })
}

/// Whether everything is tried: `AIMASS_ALL=1`.
fn all() -> bool {
    std::env::var("AIMASS_ALL").is_ok_and(|all| all == "1")
}

/// Dtypes of which chains are made.
const DTYPES: [DType; 13] = [
    DType::F32,
    DType::F16,
    DType::Bf16,
    DType::F32,
    DType::I32,
    DType::I64,
    DType::Bool,
    DType::U8,
    DType::I8,
    DType::U16,
    DType::I16,
    DType::U32,
    DType::U64,
];

const FUNCTIONS: [Unary; 35] = [
    Unary::Abs,
    Unary::Negate,
    Unary::Sign,
    Unary::Sqrt,
    Unary::ReciprocalSqrt,
    Unary::Reciprocal,
    Unary::Floor,
    Unary::Ceil,
    Unary::Round,
    Unary::Exp,
    Unary::Tanh,
    Unary::Sigmoid,
    Unary::Relu,
    Unary::Gelu,
    Unary::GeluTanh,
    Unary::Silu,
    Unary::HardSwish,
    Unary::LeakyRelu { alpha: 0.3 },
    Unary::HardSigmoid { alpha: 0.3, beta: 0.45 },
    Unary::Clamp { low: -0.5, high: 1.5 },
    Unary::Erf,
    Unary::Log,
    Unary::Softplus,
    Unary::Elu { alpha: 1.3 },
    Unary::Sin,
    Unary::Cos,
    Unary::Tan,
    Unary::Asin,
    Unary::Acos,
    Unary::Atan,
    Unary::Sinh,
    Unary::Cosh,
    Unary::Asinh,
    Unary::Acosh,
    Unary::Atanh,
];

fn form(dtype: DType) -> Option<Form> {
    match dtype {
        DType::F32 => Some(Form::F32),
        DType::F16 => Some(Form::F16),
        DType::Bf16 => Some(Form::Bf16),
        _ => None,
    }
}

/// Numbers of a dtype: special ones among ordinary ones.
fn content(random: &mut Random, dtype: DType, elements: usize) -> Vec<u8> {
    let special = [f32::NAN, f32::INFINITY, -f32::INFINITY, 0.0, -0.0, 1e-40, 65504.0, 3e38];
    let mut bytes = Vec::with_capacity(elements * size(dtype));
    for _ in 0..elements {
        let any = random.bits();
        let number = match any % 16 {
            0 => special[(any >> 8) as usize % special.len()],
            1..4 => random.float() as f32 * 50.0,
            _ => random.float() as f32,
        };
        match dtype {
            DType::F32 => bytes.extend(number.to_le_bytes()),
            DType::F16 => bytes.extend(half::f16::from_f32(number).to_le_bytes()),
            DType::Bf16 => bytes.extend(half::bf16::from_f32(number).to_le_bytes()),
            DType::Bool => bytes.push((any >> 9 & 1) as u8),
            _ if any.is_multiple_of(4) => bytes.extend(&random.bits().to_le_bytes()[..size(dtype)]),
            _ => bytes.extend(&((any >> 20) as i64 % 20 - 6).to_le_bytes()[..size(dtype)]),
        }
    }
    bytes
}

/// A value of a chain as the other kernels make it.
struct Value {
    dtype: DType,
    shape: Vec<usize>,
    memory: Guarded,
}

impl Value {
    fn new(dtype: DType, shape: &[usize], content: &[u8]) -> Value {
        Value { dtype, shape: shape.to_vec(), memory: Guarded::new(content) }
    }

    fn elements(&self) -> u32 {
        self.shape.iter().product::<usize>() as u32
    }
}

/// The step by a launch of its own.
fn launched(queue: &mut Queue<'_>, function: Function, of: &[&Value], to: DType) -> Value {
    let shapes: Vec<&[usize]> = of.iter().map(|value| &value.shape[..]).collect();
    let shape = joint(&shapes);
    let elements: usize = shape.iter().product();
    let out = Value::new(to, &shape, &vec![0xff; elements * size(to)]);
    let (x, y, n) = (of[0], out.memory.slice(), out.elements());
    let pair = (x.memory.slice(), y);
    let both = || Operands {
        dtype: x.dtype,
        a: (x.memory.slice(), &x.shape),
        b: (of[1].memory.slice(), &of[1].shape),
        out: y,
    };
    let done = match function {
        Function::Unary(own) => unary(queue, own, form(x.dtype).expect("a float"), pair, n),
        Function::Test(own) => unary_test(queue, own, form(x.dtype).expect("a float"), pair, n),
        Function::IntUnary(own) => unary_int(queue, own, x.dtype, pair, n),
        Function::Arithmetic(op) => binary::arithmetic(queue, op, &both()),
        Function::Compare(op) => binary::compare(queue, op, &both()),
        Function::Bits(op) => binary::bitwise(queue, op, &both()),
        Function::Logical(op) => binary::logical(queue, op, &both()),
        Function::Cast(to) => cast::cast(queue, (pair.0, x.dtype), (y, to), n),
        Function::Select => {
            let [condition, x, y] = [0, 1, 2].map(|i| (of[i].memory.slice(), &of[i].shape[..]));
            let out = out.memory.slice();
            select(queue, &Choice { size: size(to), condition, x, y, out })
        }
    };
    done.expect("a launch");
    out
}

/// A chain with its inputs, run both ways.
struct Chain {
    expression: Expression,
    /// Inputs, then the results of the steps.
    values: Vec<(Operand, Value)>,
    contents: Vec<Vec<u8>>,
    log: Vec<(Function, Vec<Operand>)>,
}

impl Chain {
    fn new() -> Chain {
        let expression = Expression::default();
        Chain { expression, values: Vec::new(), contents: Vec::new(), log: Vec::new() }
    }

    fn input(&mut self, dtype: DType, shape: &[usize], content: Vec<u8>) -> Option<Operand> {
        let operand = self.expression.input(dtype)?;
        self.values.push((operand, Value::new(dtype, shape, &content)));
        self.contents.push(content);
        Some(operand)
    }

    fn value(&self, operand: Operand) -> &Value {
        let found = self.values.iter().find(|(own, _)| *own == operand);
        &found.expect("a value").1
    }

    fn step(
        &mut self,
        queue: &mut Queue<'_>,
        function: Function,
        of: &[Operand],
    ) -> Option<Operand> {
        let to = result(function, self.value(of[0]).dtype, of.get(1).map(|&y| self.value(y).dtype));
        let operand = self.expression.push(function, of)?;
        let values: Vec<&Value> = of.iter().map(|&operand| self.value(operand)).collect();
        let made = launched(queue, function, &values, to);
        self.values.push((operand, made));
        self.log.push((function, of.to_vec()));
        Some(operand)
    }

    /// Runs the kernel with inputs and output `skip` elements behind aligned places, and compares.
    fn check(&self, what: &str, skip: usize) {
        let kernel = FusedKernel::new(device(), &self.expression).expect("a kernel");
        self.check_with(&kernel, what, skip);
    }

    fn check_with(&self, kernel: &Arc<FusedKernel>, what: &str, skip: usize) {
        let (last, out) = self.values.last().expect("a step");
        assert!(matches!(last, Operand::Step(_)));
        let expected = out.memory.content(&mut device().queue().expect("a turn"));
        let inputs: Vec<(Placed, &[usize])> = (self.contents.iter().zip(&self.values))
            .map(|(content, (_, value))| {
                (Placed::new(content, skip * size(value.dtype)), &value.shape[..])
            })
            .collect();
        let operands: Vec<_> = inputs.iter().map(|(x, shape)| (x.slice(), *shape)).collect();
        let bytes = expected.len();
        let before = std::cell::Cell::new(0);
        let found = bytes_left(bytes, skip * size(out.dtype), |queue, to| {
            kernel.launch(queue, &operands, (to, &out.shape))?;
            before.set(queue.launches());
            Ok(())
        });
        assert_eq!(before.get(), u64::from(bytes > 0), "{what}: launches");
        let wide = size(out.dtype);
        for (i, (found, expected)) in found.chunks(wide).zip(expected.chunks(wide)).enumerate() {
            if is_as_good(out.dtype, found, expected) {
                continue;
            }
            assert_eq!(found, expected, "{what}: element {i} of {:?}: {:?}", out.shape, self.log);
        }
    }
}

/// Whether floats differ in what is not promised: which NaN an instruction makes, and, where the machine has
/// another compiler than the one of the kernels in the repository, the last two places of a function.
fn is_as_good(dtype: DType, found: &[u8], expected: &[u8]) -> bool {
    // Bits, and those of infinity; a number's sign is the highest.
    let float = |bytes: &[u8]| match (dtype, bytes) {
        (DType::F32, &[a, b, c, d]) => Some((u32::from_le_bytes([a, b, c, d]), 0x7f80_0000)),
        (DType::F16, &[a, b]) => Some((u32::from(u16::from_le_bytes([a, b])), 0x7c00)),
        (DType::Bf16, &[a, b]) => Some((u32::from(u16::from_le_bytes([a, b])), 0x7f80)),
        (_, _) => None,
    };
    let sign = if dtype == DType::F32 { 1 << 31 } else { 1 << 15 };
    let (Some((found, infinity)), Some((expected, _))) = (float(found), float(expected)) else {
        return false;
    };
    let is_nan = |bits: u32| bits & !sign > infinity;
    let other = is_real() && Compiler::get().is_ok_and(|compiler| compiler.version() != "12.9");
    is_nan(found) && is_nan(expected) || other && found.abs_diff(expected) <= 2
}

/// The dtype that a step makes.
fn result(function: Function, x: DType, y: Option<DType>) -> DType {
    match function {
        Function::Test(_) | Function::Compare(_) | Function::Logical(_) => DType::Bool,
        Function::Cast(to) => to,
        Function::Select => y.expect("three operands"),
        Function::Unary(_)
        | Function::IntUnary(_)
        | Function::Arithmetic(_)
        | Function::Bits(_) => x,
    }
}

const ARITHMETIC: [Arithmetic; 8] = [
    Arithmetic::Add,
    Arithmetic::Sub,
    Arithmetic::Mul,
    Arithmetic::Div,
    Arithmetic::Max,
    Arithmetic::Min,
    Arithmetic::Rem,
    Arithmetic::Pow,
];
const COMPARISONS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessEqual,
    Comparison::Greater,
    Comparison::GreaterEqual,
];
const BITS: [BitOp; 5] = [BitOp::And, BitOp::Or, BitOp::Xor, BitOp::ShiftLeft, BitOp::ShiftRight];
const INTEGER: [IntUnary; 6] = [
    IntUnary::Negate,
    IntUnary::Invert,
    IntUnary::Abs,
    IntUnary::Sign,
    IntUnary::Relu,
    IntUnary::Clamp { low: 2, high: 9 },
];

/// A random step whose first operand is `x`; `other` gives one of a dtype.
fn random_step(
    random: &mut Random,
    (x, dtype): (Operand, DType),
    other: &mut dyn FnMut(&mut Random, DType) -> Option<Operand>,
) -> Option<(Function, Vec<Operand>)> {
    let mut pick = |n: usize| (random.bits() >> 11) as usize % n;
    let function = match (pick(10), dtype) {
        (0, DType::Bool) => Function::Select,
        (0 | 1, _) => Function::Cast(DTYPES[pick(DTYPES.len())]),
        (2, dtype) => {
            let _ = dtype;
            Function::Compare(COMPARISONS[pick(6)])
        }
        (3, DType::F32 | DType::F16 | DType::Bf16) => {
            Function::Test([FloatTest::IsNan, FloatTest::IsInf][pick(2)])
        }
        // Long functions make slow kernels: one in several.
        (4..7, DType::F32 | DType::F16 | DType::Bf16) => {
            Function::Unary(FUNCTIONS[if pick(6) == 0 { pick(35) } else { pick(20) }])
        }
        (_, DType::F32 | DType::F16 | DType::Bf16) => {
            Function::Arithmetic(ARITHMETIC[if pick(8) == 0 { pick(8) } else { pick(6) }])
        }
        (3..6, DType::Bool) => Function::IntUnary(IntUnary::Not),
        (_, DType::Bool) => Function::Logical([Logical::And, Logical::Or, Logical::Xor][pick(3)]),
        (3 | 4, _) => Function::IntUnary(INTEGER[pick(6)]),
        (5 | 6, _) => Function::Bits(BITS[pick(5)]),
        _ => Function::Arithmetic(ARITHMETIC[if pick(4) == 0 { pick(8) } else { pick(6) }]),
    };
    let operands = match function {
        Function::Unary(_) | Function::Test(_) | Function::IntUnary(_) | Function::Cast(_) => {
            vec![x]
        }
        Function::Select => {
            let of = DTYPES[pick(DTYPES.len())];
            vec![x, other(random, of)?, other(random, of)?]
        }
        Function::Arithmetic(_)
        | Function::Compare(_)
        | Function::Bits(_)
        | Function::Logical(_) => {
            let y = other(random, dtype)?;
            if random.bits().is_multiple_of(3) { vec![y, x] } else { vec![x, y] }
        }
    };
    Some((function, operands))
}

/// A random chain over values of `full` and of shapes that broadcast to it.
fn random_chain(random: &mut Random, full: &[usize], steps: usize) -> Chain {
    let mut queue = device().queue().expect("a turn");
    let mut chain = Chain::new();
    let dtype = DTYPES[(random.bits() >> 5) as usize % DTYPES.len()];
    let bytes = content(random, dtype, full.iter().product());
    let mut last = chain.input(dtype, full, bytes).expect("an input");
    while chain.log.len() < steps {
        let dtype = chain.value(last).dtype;
        let mut fresh = Vec::new();
        let mut other = |random: &mut Random, of: DType| {
            let known: Vec<Operand> = chain
                .values
                .iter()
                .filter(|(_, value)| value.dtype == of)
                .map(|(operand, _)| *operand)
                .collect();
            if !known.is_empty() && random.bits().is_multiple_of(2) {
                return Some(known[(random.bits() >> 7) as usize % known.len()]);
            }
            let shape = narrower(random, full);
            let bytes = content(random, of, shape.iter().product());
            let operand = chain.expression.input(of)?;
            fresh.push((operand, of, shape, bytes));
            Some(operand)
        };
        let step = random_step(random, (last, dtype), &mut other);
        for (operand, of, shape, bytes) in fresh {
            chain.values.push((operand, Value::new(of, &shape, &bytes)));
            chain.contents.push(bytes);
        }
        if let Some((function, operands)) = step {
            last = chain.step(&mut queue, function, &operands).expect("a step");
        }
    }
    // Inputs come first in the list of operands.
    chain.values.sort_by_key(|(operand, _)| match operand {
        Operand::Input(number) => (0, *number),
        Operand::Step(number) => (1, *number),
    });
    chain
}

/// A shape that broadcasts to `full`.
fn narrower(random: &mut Random, full: &[usize]) -> Vec<usize> {
    let from = match random.bits() % 4 {
        0 | 1 => 0,
        _ => (random.bits() >> 9) as usize % (full.len() + 1),
    };
    let one = random.bits().is_multiple_of(2);
    let mut each =
        |&extent: &usize| if one && random.bits().is_multiple_of(3) { 1 } else { extent };
    full[from..].iter().map(&mut each).collect()
}

#[test]
fn random_chains_have_the_bits_of_launches_one_by_one() {
    if !compiled() {
        return;
    }
    let shapes: [&[usize]; 12] = [
        &[33],
        &[1025],
        &[3, 5, 8],
        &[0],
        &[1],
        &[31],
        &[1023],
        &[7, 1, 12],
        &[2, 3, 2, 33],
        &[],
        &[40, 64],
        &[5, 0, 3],
    ];
    let many = if all() { 20 } else { 2 };
    let seed = std::env::var("VGPU_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
    for turn in 0..many {
        for (number, shape) in shapes.into_iter().enumerate() {
            let seed = seed * 1000 + turn * 100 + number as u64;
            let mut random = Random::new(seed);
            let steps = 2 + (random.bits() >> 8) as usize % if turn == 0 { 7 } else { 24 };
            let chain = random_chain(&mut random, shape, steps);
            chain.check(&format!("chain {seed}"), (number % 4 == 3) as usize);
        }
    }
}

/// Functions of one kernel of [`every_function_has_the_same_bits`]: four steps each.
const TOGETHER: usize = STEPS_MAX / 4;

#[test]
fn every_function_has_the_same_bits() {
    if !compiled() {
        return;
    }
    let all = all();
    let dtypes = if all { &[DType::F32, DType::F16, DType::Bf16][..] } else { &[DType::F32] };
    let rows = if all { 4096 } else { 64 };
    for &dtype in dtypes {
        for functions in FUNCTIONS.chunks(TOGETHER) {
            let mut random = Random::new(functions.len() as u64 + rows as u64);
            let mut chain = Chain::new();
            let mut queue = device().queue().expect("a turn");
            let numbers = content(&mut random, dtype, rows);
            let whole = |x: i32| x.to_le_bytes().to_vec();
            // Row i of the output is function i of all numbers.
            let number: Vec<u8> = (0..functions.len() as i32).flat_map(whole).collect();
            let x = chain.input(dtype, &[rows], numbers).expect("an input");
            let mut row = chain.input(DType::I32, &[functions.len(), 1], number).expect("an input");
            let one = chain.input(DType::I32, &[], whole(1)).expect("an input");
            let zero = chain.input(DType::I32, &[], whole(0)).expect("an input");
            let mut y = x;
            for &function in functions {
                let mut step = |function, of: &[Operand]| {
                    chain.step(&mut queue, function, of).expect("a step")
                };
                let made = step(Function::Unary(function), &[x]);
                let chosen = step(Function::Compare(Comparison::Equal), &[row, zero]);
                row = step(Function::Arithmetic(Arithmetic::Sub), &[row, one]);
                y = step(Function::Select, &[chosen, made, y]);
            }
            drop(queue);
            assert_eq!(chain.value(y).elements() as usize, functions.len() * rows);
            chain.check(&format!("{dtype} {functions:?}"), 0);
        }
    }
}

#[test]
fn products_are_not_merged_with_sums() {
    if !compiled() {
        return;
    }
    let mut random = Random::new(5);
    let mut chain = Chain::new();
    let mut queue = device().queue().expect("a turn");
    let mut input = |chain: &mut Chain| {
        let numbers: Vec<u8> =
            (0..4096).flat_map(|_| (random.float() as f32).to_le_bytes()).collect();
        chain.input(DType::F32, &[4096], numbers).expect("an input")
    };
    let (a, b, c) = (input(&mut chain), input(&mut chain), input(&mut chain));
    let mul = Function::Arithmetic(Arithmetic::Mul);
    let product = chain.step(&mut queue, mul, &[a, b]).expect("a step");
    let leaky = Function::Unary(Unary::LeakyRelu { alpha: 0.3 });
    let sum = Function::Arithmetic(Arithmetic::Add);
    let first = chain.step(&mut queue, sum, &[product, c]).expect("a step");
    let scaled = chain.step(&mut queue, leaky, &[first]).expect("a step");
    chain.step(&mut queue, sum, &[scaled, a]).expect("a step");
    drop(queue);
    chain.check("a b + c, leaky, + a", 0);
}

#[test]
fn limits_and_what_has_no_function_are_refused() {
    let mut expression = Expression::default();
    let x = expression.input(DType::F32).expect("an input");
    for _ in 1..INPUTS_MAX {
        assert!(expression.input(DType::F32).is_some());
    }
    assert_eq!(expression.input(DType::F32), None);
    assert_eq!(Expression::default().input(DType::F8E4m3), None);
    let not = Function::IntUnary(IntUnary::Not);
    assert_eq!(expression.push(not, &[x]), None);
    assert_eq!(expression.push(Function::Unary(Unary::Abs), &[Operand::Step(0)]), None);
    assert_eq!(expression.push(Function::Unary(Unary::Abs), &[x, x]), None);
    assert_eq!(expression.push(Function::Bits(BitOp::And), &[x, x]), None);
    for _ in 0..STEPS_MAX {
        assert!(expression.push(Function::Unary(Unary::Abs), &[x]).is_some());
    }
    assert_eq!(expression.push(Function::Unary(Unary::Abs), &[x]), None);
}

#[test]
fn other_operands_and_an_empty_expression_are_errors() {
    if !compiled() {
        return;
    }
    let empty = FusedKernel::new(device(), &Expression::default()).err();
    assert!(matches!(empty, Some(CompilerError::Device(DeviceError::Defect(_)))), "{empty:?}");
    let mut expression = Expression::default();
    let x = expression.input(DType::F32).expect("an input");
    let y = expression.input(DType::F32).expect("an input");
    let add = Function::Arithmetic(Arithmetic::Add);
    expression.push(add, &[x, y]).expect("a step");
    let kernel = FusedKernel::new(device(), &expression).expect("a kernel");
    let again = FusedKernel::new(device(), &expression).expect("a kernel");
    assert!(Arc::ptr_eq(&kernel, &again), "a kernel is made once");
    let memory = Guarded::poisoned(64);
    let (all, short) = (memory.slice(), memory.slice().part(0, 60).expect("a part"));
    let mut queue = device().queue().expect("a turn");
    let mut refused = |inputs: &[_], out| {
        let outcome = kernel.launch(&mut queue, inputs, out);
        assert!(matches!(outcome, Err(DeviceError::Defect(_))), "{outcome:?}");
    };
    let whole: &[usize] = &[16];
    refused(&[(all, whole)], (all, whole));
    refused(&[(all, whole); 3], (all, whole));
    refused(&[(all, whole), (all, &[8])], (all, whole));
    refused(&[(all, whole), (short, whole)], (all, whole));
    refused(&[(all, whole), (all, &[])], (short, whole));
    refused(&[(all, &[4]), (all, &[4])], (all, whole));
    assert_eq!(queue.launches(), 0);
}

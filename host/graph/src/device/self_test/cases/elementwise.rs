//! Functions of one and two numbers, choices, conversions.

use super::{Case, FLOATS, floats, integers, op};
use crate::run_op::Attribute;
use aimass_tensor::{DType, Tensor};

/// Functions of one float, by their names in the contract.
const FUNCTIONS: &[&str] = &[
    "neg",
    "abs",
    "sign",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "erf",
    "floor",
    "ceil",
    "round",
    "sigmoid",
    "relu",
    "silu",
    "softplus",
    "gelu",
    "hard-swish",
    "is-nan",
    "is-inf",
];
const ARITHMETIC: &[&str] = &["add", "sub", "mul", "div", "rem", "pow", "maximum", "minimum"];
const COMPARISONS: &[&str] =
    &["equal", "not-equal", "less", "less-equal", "greater", "greater-equal"];
const BITS: &[&str] = &["bit-and", "bit-or", "bit-xor", "shift-left", "shift-right"];
const WHOLE: [DType; 5] = [DType::I8, DType::U16, DType::I32, DType::I64, DType::U64];
/// Pairs of shapes: equal ones, a row, a number, and axes that repeat in turn.
const SHAPES: [[&[usize]; 2]; 4] =
    [[&[3, 37], &[3, 37]], [&[5, 64], &[64]], [&[33], &[]], [&[2, 1, 8], &[3, 1]]];

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in FLOATS {
        let x = || vec![floats(dtype, &[3, 37], 1)];
        cases.extend(FUNCTIONS.iter().map(|name| op(name, x(), &[], 8.0)));
        // The CPU's own is rough near -1.
        cases.push(op("atanh", x(), &[], 64.0));
        let number = |name, value| (name, Attribute::Float(value));
        cases.push(op("gelu", x(), &[("form", Attribute::Text("tanh".into()))], 8.0));
        cases.push(op("leaky-relu", x(), &[number("alpha", 0.25)], 8.0));
        cases.push(op("elu", x(), &[number("alpha", 1.5)], 8.0));
        let bounds = [number("alpha", 0.5), number("beta", 0.25)];
        cases.push(op("hard-sigmoid", x(), &bounds, 8.0));
        cases.push(op("clamp", x(), &[number("low", -0.5), number("high", 1.5)], 0.0));
        for shapes in SHAPES {
            let pair = || vec![floats(dtype, shapes[0], 1), floats(dtype, shapes[1], 2)];
            cases.extend(ARITHMETIC.iter().map(|name| op(name, pair(), &[], 8.0)));
            cases.extend(COMPARISONS.iter().map(|name| op(name, pair(), &[], 0.0)));
        }
    }
    cases.extend(whole());
    cases.extend(bools());
    cases.extend(conversions());
    cases
}

/// Functions of integers.
fn whole() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dtype, shapes) in WHOLE.into_iter().zip(SHAPES.into_iter().cycle()) {
        let pair = || vec![integers(dtype, shapes[0], 3), integers(dtype, shapes[1], 4)];
        for name in ARITHMETIC.iter().chain(COMPARISONS).chain(BITS) {
            cases.push(op(name, pair(), &[], 0.0));
        }
        let x = || vec![integers(dtype, &[3, 37], 5)];
        let signed = matches!(dtype, DType::I8 | DType::I32 | DType::I64);
        for name in ["abs", "sign", "relu", "bit-not", "neg"] {
            if name != "neg" || signed {
                cases.push(op(name, x(), &[], 0.0));
            }
        }
        let bounds = [("low", Attribute::Float(2.5)), ("high", Attribute::Float(90.0))];
        cases.push(op("clamp", x(), &bounds, 0.0));
    }
    cases
}

fn bools() -> Vec<Case> {
    let bools = |extents: &[usize], seed| {
        let bytes = integers(DType::U8, extents, seed);
        let bits: Vec<u8> = bytes.bytes().iter().map(|byte| byte & 1).collect();
        super::tensor(DType::Bool, extents, &bits)
    };
    let mut cases = vec![op("logical-not", vec![bools(&[37], 1)], &[], 0.0)];
    for name in ["logical-and", "logical-or", "logical-xor", "equal", "not-equal"] {
        cases.push(op(name, vec![bools(&[5, 64], 1), bools(&[64], 2)], &[], 0.0));
    }
    for dtype in [DType::U8, DType::F16, DType::F32, DType::I64] {
        let value = |extents: &[usize], seed| -> Tensor {
            match dtype.is_float() {
                true => floats(dtype, extents, seed),
                false => integers(dtype, extents, seed),
            }
        };
        for shapes in [[&[5usize, 32][..], &[5, 32], &[5, 32]], [&[4, 1, 7], &[3, 1], &[]]] {
            let inputs = vec![bools(shapes[0], 3), value(shapes[1], 4), value(shapes[2], 5)];
            cases.push(op("select", inputs, &[], 0.0));
        }
    }
    cases
}

/// Conversions from every type to the three that follow it in a circle.
fn conversions() -> Vec<Case> {
    const NAMES: [(&str, DType); 12] = [
        ("u8", DType::U8),
        ("f32", DType::F32),
        ("f16", DType::F16),
        ("i64", DType::I64),
        ("bf16", DType::Bf16),
        ("i8", DType::I8),
        ("f64", DType::F64),
        ("u16", DType::U16),
        ("bool", DType::Bool),
        ("i32", DType::I32),
        ("u32", DType::U32),
        ("u64", DType::U64),
    ];
    let mut cases = Vec::new();
    for (place, (_, from)) in NAMES.into_iter().enumerate().filter(|(_, (_, d))| *d != DType::Bool)
    {
        let x = match from {
            DType::F32 | DType::F16 | DType::Bf16 => floats(from, &[3, 37], 7),
            DType::F64 => doubles(&[3, 37]),
            from => integers(from, &[3, 37], 7),
        };
        for step in 1..4 {
            let (name, _) = NAMES[(place + step) % NAMES.len()];
            let to = [("dtype", Attribute::Text(name.into()))];
            cases.push(op("cast", vec![x.clone()], &to, 0.0));
        }
    }
    cases
}

fn doubles(extents: &[usize]) -> Tensor {
    let narrow = floats(DType::F32, extents, 8);
    let wide = |bytes: &[u8; 4]| (f64::from(f32::from_le_bytes(*bytes)) * 100.3).to_le_bytes();
    let bytes: Vec<u8> = narrow.bytes().as_chunks::<4>().0.iter().flat_map(wide).collect();
    super::tensor(DType::F64, extents, &bytes)
}

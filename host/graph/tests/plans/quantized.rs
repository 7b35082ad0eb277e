//! Packed integer weights: shared, counted, of four bits, and joined by rows.

use crate::support::{Random, builder, f32s, plan, source};
use aimass_graph::{Coalescing, Dim, Plan, QuantizedLinearValues};
use aimass_tensor::{DType, Shape, Tensor};

const K: usize = 40;
const N: usize = 24;

fn tensor(dtype: DType, shape: &[usize], bytes: &[u8]) -> Tensor {
    Tensor::copy_from(dtype, Shape::new(shape).unwrap(), bytes).unwrap()
}

fn integer_plan(weights: &[u8], dynamic: bool) -> Plan {
    let mut b = builder();
    let x = b.input("x", DType::U8, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
    let dims = [K as u64, N as u64];
    let y = match dynamic {
        true => b.input("y", DType::I8, &dims.map(Dim::Fixed)).unwrap(),
        false => {
            // Kept in another shape than the product reads.
            let kept =
                b.weight("y", DType::I8, &[1, K as u64, N as u64], source(weights.to_vec()), 0);
            b.reshape(kept.unwrap(), &dims.map(Dim::Fixed)).unwrap()
        }
    };
    let zero = b.constant(tensor(DType::U8, &[], &[7])).unwrap();
    let y = b.matmul_integer(x, y, Some(zero), None).unwrap();
    b.output("product", y).unwrap();
    plan(b)
}

#[test]
fn a_constant_matrix_of_integers_is_packed_once_and_counted() {
    let mut random = Random(1);
    let mut bytes = |count: usize| (0..count).map(|_| random.bits() as u8).collect::<Vec<u8>>();
    let (x, weights) = (bytes(3 * K), bytes(K * N));
    let (first, again) = (integer_plan(&weights, false), integer_plan(&weights, false));
    assert_eq!(*first.coalescing(), Coalescing::Batch);
    // 40 steps of 32 columns with their sums, and the zero point; not the matrix as it was.
    assert_eq!(first.weights_bytes(), (K * 32 + 32 * 4 + 1) as u64);
    let inputs = [tensor(DType::U8, &[3, K], &x), tensor(DType::I8, &[K, N], &weights)];
    let expected = integer_plan(&weights, true).run(&inputs, None).unwrap();
    let term = |p: usize| (i32::from(x[K + p]) - 7) * i32::from(weights[p * N + 5] as i8);
    assert_eq!(expected[0].as_slice::<i32>().unwrap()[N + 5], (0..K).map(term).sum::<i32>());
    for plan in [first, again] {
        let packed = plan.run(&inputs[..1], None).unwrap();
        assert_eq!(packed[0].bytes(), expected[0].bytes());
        let alone = plan.run(&[tensor(DType::U8, &[1, K], &x[K..2 * K])], None).unwrap();
        let row = &expected[0].as_slice::<i32>().unwrap()[N..2 * N];
        assert_eq!(alone[0].as_slice::<i32>().unwrap(), row);
    }
}

/// Weights of 4 bits in groups of 16, dequantized by hand, against `linear` with constants.
#[test]
fn weights_of_four_bits_give_the_bits_of_a_linear_layer() {
    let mut random = Random(2);
    let groups = K.div_ceil(16);
    let weights: Vec<u8> = (0..N * K / 2).map(|_| random.bits() as u8).collect();
    let zeros: Vec<u8> = (0..N * groups / 2).map(|_| random.bits() as u8).collect();
    let (scales, bias) = (random.numbers(N * groups), random.numbers(N));
    let x = f32s(&[3, K], &random.numbers(3 * K));
    for dtype in [DType::U4, DType::I4] {
        for zeros_there in [false, true] {
            let element = |bytes: &[u8], index: usize| {
                let own = (bytes[index / 2] >> (index % 2 * 4)) & 15;
                if dtype == DType::I4 && own > 7 { f32::from(own) - 16.0 } else { f32::from(own) }
            };
            let zero = |index: usize| match (zeros_there, dtype) {
                (true, _) => element(&zeros, index),
                (false, DType::U4) => 8.0,
                (false, _) => 0.0,
            };
            let plain: Vec<f32> = (0..N * K)
                .map(|i| {
                    let own = i / K * groups + i % K / 16;
                    (element(&weights, i) - zero(own)) * scales[own]
                })
                .collect();
            let mut b = builder();
            let own = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
            let w = b.constant(tensor(dtype, &[N, K], &weights)).unwrap();
            let z = b.constant(tensor(dtype, &[N, groups], &zeros)).unwrap();
            let s = b.constant(f32s(&[N, groups], &scales)).unwrap();
            let c = b.constant(f32s(&[N], &bias)).unwrap();
            let zero_points = zeros_there.then_some(z);
            let values = QuantizedLinearValues { x: own, w, scales: s, zero_points, bias: Some(c) };
            let y = b.quantized_linear(values, 16).unwrap();
            b.output("quantized", y).unwrap();
            let w = b.constant(f32s(&[N, K], &plain)).unwrap();
            let y = b.linear(own, w, Some(c), true).unwrap();
            b.output("plain", y).unwrap();
            let outputs = plan(b).run(std::slice::from_ref(&x), None).unwrap();
            assert_eq!(outputs[0].bytes(), outputs[1].bytes(), "{dtype} {zeros_there}");
        }
    }
}

#[test]
fn weights_of_four_bits_stay_so_in_memory() {
    let mut b = builder();
    let x = b.input("x", DType::F16, &[Dim::Batch, Dim::Fixed(64)]).unwrap();
    let w = b.weight("w", DType::U4, &[16, 64], source(vec![0x98; 512]), 0).unwrap();
    let scales = b.constant(f32s(&[16, 2], &[0.5; 32])).unwrap();
    let values = QuantizedLinearValues { x, w, scales, zero_points: None, bias: None };
    let y = b.quantized_linear(values, 32).unwrap();
    assert_eq!(b.spec(y).unwrap().dtype, DType::F16);
    b.output("y", y).unwrap();
    // 64 steps of 16 columns, and for two groups 16 scales and 16 zero points.
    assert_eq!(plan(b).weights_bytes(), 512 + 2 * 32 * 4);
}

/// A product that is cast and scaled, which is no step of its own unless the product is read too.
#[test]
fn a_scaled_product_has_the_bits_of_its_steps() {
    let mut random = Random(3);
    let weights: Vec<u8> = (0..K * N).map(|_| random.bits() as u8).collect();
    let bytes: Vec<u8> = (0..3 * K).map(|_| random.bits() as u8).collect();
    for (shape, values) in [(vec![], vec![0.013]), (vec![N], random.numbers(N))] {
        let scaled = |also: bool| {
            let mut b = builder();
            let x = b.input("x", DType::U8, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
            let dims = [K as u64, N as u64];
            let y = b.weight("y", DType::I8, &dims, source(weights.clone()), 0).unwrap();
            let zero = b.constant(tensor(DType::U8, &[], &[7])).unwrap();
            let product = b.matmul_integer(x, y, Some(zero), None).unwrap();
            let floats = b.cast(product, DType::F32).unwrap();
            let scale = b.constant(f32s(&shape, &values)).unwrap();
            let y = b.mul(scale, floats).unwrap();
            b.output("scaled", y).unwrap();
            if also {
                b.output("product", product).unwrap();
            }
            plan(b)
        };
        let (fused, apart) = (scaled(false), scaled(true));
        assert_eq!(fused.stats().steps, 1);
        assert!(apart.stats().steps > 1);
        let x = tensor(DType::U8, &[3, K], &bytes);
        let (got, want) = (fused.run(std::slice::from_ref(&x), None), apart.run(&[x], None));
        assert_eq!(got.unwrap()[0].bytes(), want.unwrap()[0].bytes());
    }
}

/// How the weights of a layer that was quantized beforehand lie, and with what they are scaled.
#[derive(Clone, Copy)]
struct Beforehand {
    transposed: bool,
    /// One scale a column, else one for all.
    columns: bool,
    signed: bool,
    zeros: bool,
    bias: bool,
}

/// The plan of `matmul(dequantize(quantize(x)), dequantize(w))`, and the answer to `x` by hand in f64.
fn quantized_beforehand(random: &mut Random, kind: Beforehand, x: &[f32]) -> (Plan, Vec<f64>) {
    let Beforehand { transposed, columns, signed, zeros, bias } = kind;
    let bytes: Vec<u8> = (0..K * N).map(|_| random.bits() as u8).collect();
    let count = if columns { N } else { 1 };
    let scales: Vec<f32> = (0..count).map(|i| 0.003 + i as f32 / 4096.0).collect();
    let zero_bytes: Vec<u8> =
        (0..count).map(|_| if zeros { random.bits() as u8 % 20 } else { 0 }).collect();
    let dtype = if signed { DType::I8 } else { DType::U8 };
    let number = |byte: u8| if signed { f64::from(byte as i8) } else { f64::from(byte) };
    let (x_scale, x_zero) = (0.0625f32, if signed { 251u8 } else { 131 });
    let mut b = builder();
    let input = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
    let scale = b.constant(f32s(&[], &[x_scale])).unwrap();
    let zero = b.constant(tensor(dtype, &[], &[x_zero])).unwrap();
    let q = b.quantize(input, scale, Some(zero), None, dtype).unwrap();
    let rough = b.dequantize(q, scale, Some(zero), None).unwrap();
    let shape = if transposed { [N, K] } else { [K, N] };
    let w = b.constant(tensor(dtype, &shape, &bytes)).unwrap();
    let own: &[usize] = if columns { &[N] } else { &[] };
    let w_scale = b.constant(f32s(own, &scales)).unwrap();
    let w_zero = b.constant(tensor(dtype, own, &zero_bytes)).unwrap();
    let axis = columns.then_some(u32::from(!transposed));
    let weights = b.dequantize(w, w_scale, Some(w_zero), axis).unwrap();
    let addends = if bias { random.numbers(N) } else { vec![0.0; N] };
    let y = match (transposed, bias) {
        (false, false) => b.matmul(rough, weights),
        _ => {
            let addend = bias.then(|| b.constant(f32s(&[N], &addends)).unwrap());
            b.linear(rough, weights, addend, transposed)
        }
    };
    b.output("y", y.unwrap()).unwrap();
    let (least, most) = if signed { (-128.0, 127.0) } else { (0.0, 255.0) };
    let step = |x: f32| {
        let rounded = (x / x_scale).round_ties_even() as f64 + number(x_zero);
        rounded.clamp(least, most) - number(x_zero)
    };
    let weight = |p: usize, j: usize| {
        let (at, i) = (if transposed { j * K + p } else { p * N + j }, if columns { j } else { 0 });
        (number(bytes[at]) - number(zero_bytes[i])) * f64::from(scales[i])
    };
    let rows = x.chunks_exact(K).flat_map(|row| {
        let sum = move |j: usize| (0..K).map(|p| step(row[p]) * weight(p, j)).sum::<f64>();
        let of = |j: usize| sum(j) * f64::from(x_scale) + f64::from(addends[j]);
        (0..N).map(of).collect::<Vec<f64>>()
    });
    let expected = rows.collect();
    (plan(b), expected)
}

#[test]
fn what_was_quantized_beforehand_is_multiplied_as_integers() {
    let mut random = Random(4);
    let x: Vec<f32> = random.numbers(3 * K).iter().map(|x| x * 9.0).collect();
    for case in 0..32 {
        let bit = |bit: u32| case >> bit & 1 == 1;
        let kind = Beforehand {
            transposed: bit(0),
            columns: bit(1),
            signed: bit(2),
            zeros: bit(3),
            bias: bit(4),
        };
        let (plan, expected) = quantized_beforehand(&mut random, kind, &x);
        let rows = f32s(&[3, K], &x);
        let report = plan.report(std::slice::from_ref(&rows)).unwrap();
        let labels: Vec<&str> = report.steps.iter().map(|step| &*step.label).collect();
        let steps = if kind.bias { 3 } else { 2 };
        assert_eq!(
            labels.len(),
            steps,
            "{labels:?}: quantized, multiplied with its scale, added to"
        );
        assert!(labels[1].contains("matmul-integer"), "{labels:?}");
        assert_eq!(*plan.coalescing(), Coalescing::Batch);
        let got = plan.run(&[rows], None).unwrap();
        let got = got[0].as_slice::<f32>().unwrap();
        // Exact sums, rounded as they become f32 and as they are scaled, by a scale that was rounded.
        for (got, want) in got.iter().zip(&expected) {
            let error = (f64::from(*got) - want).abs();
            // The sum with a bias, which is 1 at most, is rounded once more.
            let most = 3e-7 * if kind.bias { want.abs() + 1.0 } else { want.abs() };
            assert!(error <= most, "case {case}: expected {want}, got {got}");
        }
        let alone = plan.run(&[f32s(&[1, K], &x[K..2 * K])], None).unwrap();
        assert_eq!(alone[0].as_slice::<f32>().unwrap(), &got[N..2 * N]);
    }
}

/// Quantized `x` and `y` in two heads, as `[batch, 2, 5, K]` times `[batch, 2, K, 6]`. The scale of `y` is
/// known, or comes with the call, so that the product is one of numbers.
fn heads(known: bool) -> Plan {
    let mut b = builder();
    let mut side = |name: &str, dims: [u64; 2], known: bool| {
        let dims = [Dim::Batch, Dim::Fixed(2), Dim::Fixed(dims[0]), Dim::Fixed(dims[1])];
        let q = b.input(name, DType::U8, &dims).unwrap();
        let scale = match known {
            true => b.constant(f32s(&[], &[0.0625])).unwrap(),
            false => b.input("scale", DType::F32, &[]).unwrap(),
        };
        let zero = b.constant(tensor(DType::U8, &[], &[113])).unwrap();
        b.dequantize(q, scale, Some(zero), None).unwrap()
    };
    let (x, y) = (side("x", [5, K as u64], true), side("y", [K as u64, 6], known));
    let product = b.matmul(x, y).unwrap();
    b.output("product", product).unwrap();
    plan(b)
}

#[test]
fn what_two_layers_made_is_multiplied_as_integers() {
    let mut random = Random(6);
    let mut bytes = |count: usize| (0..count).map(|_| random.bits() as u8).collect::<Vec<u8>>();
    let (x, y) = (bytes(3 * 2 * 5 * K), bytes(3 * 2 * K * 6));
    let inputs = |from: usize, to: usize| {
        let part = |all: &[u8], rows: usize, columns: usize| {
            let own = all.len() / 3;
            tensor(DType::U8, &[to - from, 2, rows, columns], &all[from * own..to * own])
        };
        vec![part(&x, 5, K), part(&y, K, 6)]
    };
    let (integers, numbers) = (heads(true), heads(false));
    let report = integers.report(&inputs(0, 3)).unwrap();
    let labels: Vec<&str> = report.steps.iter().map(|step| &*step.label).collect();
    assert!(labels.len() == 1 && labels[0].contains("matmul-integer"), "{labels:?}");
    assert_eq!(*integers.coalescing(), Coalescing::Batch);
    let got = integers.run(&inputs(0, 3), None).unwrap();
    let got = got[0].as_slice::<f32>().unwrap();
    let scaled = [inputs(0, 3), vec![f32s(&[], &[0.0625])]].concat();
    let unfused = numbers.run(&scaled, None).unwrap();
    let unfused = unfused[0].as_slice::<f32>().unwrap();
    for (at, (got, unfused)) in got.iter().zip(unfused).enumerate() {
        let (matrix, i, j) = (at / 30, at / 6 % 5, at % 6);
        let term = |p: usize| {
            let (x, y) = (x[(matrix * 5 + i) * K + p], y[(matrix * K + p) * 6 + j]);
            (i64::from(x) - 113) * (i64::from(y) - 113)
        };
        // Both scales are powers of two: the scaled sum is exact.
        let exact = (0..K).map(term).sum::<i64>() as f32 / 256.0;
        assert_eq!(*got, exact, "element {at}");
        assert!((got - unfused).abs() <= 1e-3, "element {at}: {got}, unfused {unfused}");
    }
    let alone = integers.run(&inputs(1, 2), None).unwrap();
    assert_eq!(alone[0].as_slice::<f32>().unwrap(), &got[60..120]);
}

/// The product of the second two is infinite in f32, and times a sum of 0 no number.
#[test]
fn scales_whose_product_is_no_number_are_applied_one_after_the_other() {
    for (x_scale, w_scale) in [(1e-30f32, 1e-20f32), (1e30, 1e20)] {
        let mut b = builder();
        let x = b.input("x", DType::I8, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
        let own = b.constant(f32s(&[], &[x_scale])).unwrap();
        let rough = b.dequantize(x, own, None, None).unwrap();
        let w = b.constant(tensor(DType::I8, &[K, N], &[1; K * N])).unwrap();
        let scale = b.constant(f32s(&[], &[w_scale])).unwrap();
        let weights = b.dequantize(w, scale, None, None).unwrap();
        let y = b.matmul(rough, weights).unwrap();
        b.output("y", y).unwrap();
        let plan = plan(b);
        let zeros = tensor(DType::I8, &[1, K], &[0; K]);
        let got = plan.run(&[zeros], None).unwrap();
        assert!(got[0].as_slice::<f32>().unwrap().iter().all(|&y| y == 0.0), "{x_scale} {w_scale}");
    }
}

#[test]
fn scales_along_the_sum_or_that_calls_bring_stay_with_the_numbers() {
    let mut random = Random(5);
    let bytes: Vec<u8> = (0..K * N).map(|_| random.bits() as u8).collect();
    for along_the_sum in [true, false] {
        let mut b = builder();
        let x = b.input("x", DType::I8, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
        let own = match along_the_sum {
            true => b.constant(f32s(&[], &[0.5])).unwrap(),
            false => b.input("scale", DType::F32, &[]).unwrap(),
        };
        let rough = b.dequantize(x, own, None, None).unwrap();
        let w = b.constant(tensor(DType::I8, &[K, N], &bytes)).unwrap();
        let (count, axis) = if along_the_sum { (K, 0) } else { (N, 1) };
        let scales: Vec<f32> = (0..count).map(|i| 0.25 + i as f32 / 64.0).collect();
        let scales = b.constant(f32s(&[count], &scales)).unwrap();
        let weights = b.dequantize(w, scales, None, Some(axis)).unwrap();
        let y = b.matmul(rough, weights).unwrap();
        b.output("y", y).unwrap();
        let plan = plan(b);
        let x = tensor(DType::I8, &[2, K], &bytes[..2 * K]);
        let inputs = match along_the_sum {
            true => vec![x],
            false => vec![x, f32s(&[], &[0.5])],
        };
        let report = plan.report(&inputs).unwrap();
        let integer = report.steps.iter().any(|step| step.label.contains("matmul-integer"));
        assert!(!integer, "scales along the sum: {along_the_sum}");
    }
}

//! Dynamic quantization: layers of rows that are quantized on the way, and where ONNX's own stays.

use crate::support::{Random, builder, f32s, near};
use aimass_graph::{
    AttentionOptions, AttentionValues, Coalescing, CompileOptions, Dim, GeluForm, GraphBuilder,
    Plan, ValueId, compile,
};
use aimass_tensor::{DType, Shape, Tensor};

const K: usize = 100;
const N: usize = 24;

fn scalar(b: &mut GraphBuilder, number: f32) -> ValueId {
    b.constant(f32s(&[], &[number])).unwrap()
}

/// Integers, scale and zero point of `x`, as ONNX's `DynamicQuantizeLinear` says; `guarded` in the
/// longer way of the ONNX format, which looks out for zeros only.
fn quantized(b: &mut GraphBuilder, x: ValueId, rank: u32, guarded: bool) -> [ValueId; 3] {
    let axes: Vec<u32> = (0..rank).collect();
    let (zero, levels) = (scalar(b, 0.0), scalar(b, 255.0));
    let low = b.reduce_min(x, &axes, false).unwrap();
    let high = b.reduce_max(x, &axes, false).unwrap();
    let low = b.minimum(low, zero).unwrap();
    let high = b.maximum(zero, high).unwrap();
    let range = b.sub(high, low).unwrap();
    let mut scale = b.div(range, levels).unwrap();
    if guarded {
        let none = b.equal(range, zero).unwrap();
        let unit = scalar(b, 1.0 / 255.0);
        scale = b.select(none, unit, scale).unwrap();
    }
    let below = b.neg(low).unwrap();
    let mut steps = b.div(below, scale).unwrap();
    if guarded {
        steps = b.clamp(steps, 0.0, 255.0).unwrap();
    }
    let point = b.round(steps).unwrap();
    let point = b.cast(point, DType::U8).unwrap();
    let q = b.quantize(x, scale, Some(point), None, DType::U8).unwrap();
    [q, scale, point]
}

/// 8-bit weights with a scale a column.
struct Weights {
    bits: Vec<u8>,
    dtype: DType,
    zeros: Option<Vec<u8>>,
    scales: Vec<f32>,
}

impl Weights {
    fn new(random: &mut Random) -> Weights {
        let bits = (0..K * N).map(|_| (random.bits() % 127) as u8).map(|w| w.wrapping_sub(63));
        let bits = bits.collect();
        let scales = (0..N).map(|_| 0.001 + random.number().abs() / 100.0).collect();
        Weights { bits, dtype: DType::I8, zeros: None, scales }
    }

    fn product(&self, b: &mut GraphBuilder, [q, scale, point]: [ValueId; 3]) -> [ValueId; 2] {
        let tensor = |shape: &[usize], bytes: &[u8]| {
            Tensor::copy_from(self.dtype, Shape::new(shape).unwrap(), bytes).unwrap()
        };
        let w = b.constant(tensor(&[K, N], &self.bits)).unwrap();
        let zero = self.zeros.as_ref().map(|zeros| b.constant(tensor(&[N], zeros)).unwrap());
        let sums = b.matmul_integer(q, w, Some(point), zero).unwrap();
        let floats = b.cast(sums, DType::F32).unwrap();
        let scales = b.constant(f32s(&[N], &self.scales)).unwrap();
        let scale = b.mul(scale, scales).unwrap();
        [b.mul(floats, scale).unwrap(), floats]
    }

    fn number(&self, p: usize, j: usize) -> f64 {
        let number = |bits: u8| match self.dtype {
            DType::I8 => f64::from(bits as i8),
            _ => f64::from(bits),
        };
        let zero = self.zeros.as_ref().map_or(0.0, |zeros| number(zeros[j]));
        (number(self.bits[p * N + j]) - zero) * f64::from(self.scales[j])
    }
}

fn input(b: &mut GraphBuilder) -> ValueId {
    b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap()
}

/// The plan as compiled by default, and with the arithmetic of ONNX.
fn both(build: impl Fn(&mut GraphBuilder)) -> [Plan; 2] {
    [false, true].map(|exact_quantization| {
        let mut b = builder();
        build(&mut b);
        let options = CompileOptions { exact_quantization, ..Default::default() };
        compile(b.finish().unwrap(), &options).unwrap()
    })
}

fn layer(weights: &Weights, guarded: bool) -> [Plan; 2] {
    both(|b| {
        let x = input(b);
        let quantized = quantized(b, x, 2, guarded);
        let y = weights.product(b, quantized)[0];
        b.output("y", y).unwrap();
    })
}

/// Rows of quite different ranges.
fn rows(random: &mut Random, m: usize) -> Tensor {
    let ranges: Vec<f32> = (0..m).map(|i| [0.1, 1.0, 8.0][i % 3]).collect();
    let numbers: Vec<f32> = (0..m * K).map(|i| random.number() * ranges[i / K]).collect();
    f32s(&[m, K], &numbers)
}

fn products(x: &Tensor, weights: &Weights) -> Vec<f64> {
    let x = x.as_slice::<f32>().unwrap();
    let row = |i: usize, j: usize| -> f64 {
        (0..K).map(|p| f64::from(x[i * K + p]) * weights.number(p, j)).sum()
    };
    (0..x.len() / K * N).map(|at| row(at / N, at % N)).collect()
}

fn run(plan: &Plan, x: &Tensor) -> Vec<f32> {
    let outputs = plan.run(std::slice::from_ref(x), None).unwrap();
    outputs[0].as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn a_layer_becomes_one_step_that_is_nearer_to_the_numbers_than_one_scale_for_all() {
    let mut random = Random(1);
    let weights = Weights::new(&mut random);
    let x = rows(&mut random, 6);
    let want = products(&x, &weights);
    for guarded in [false, true] {
        let [plan, exact] = layer(&weights, guarded);
        assert_eq!((plan.stats().steps, plan.stats().matrices), (1, 1), "{}", plan.describe());
        assert!(plan.describe().contains("int8 linear 100x24"));
        assert_eq!(*plan.coalescing(), Coalescing::Batch);
        assert!(exact.stats().steps > 1 && plan.key() != exact.key());
        let Coalescing::Alone { blocked_by } = exact.coalescing() else {
            panic!("one scale for all rows, which are joined")
        };
        assert!(blocked_by.contains("reduce-m"), "{blocked_by}");
        // The rows of small numbers, for which one scale for all is far too coarse.
        let error = |plan: &Plan| -> f64 {
            let all = run(plan, &x);
            let rows = all.chunks(N).zip(want.chunks(N)).step_by(3);
            rows.flat_map(|(got, want)| got.iter().zip(want))
                .map(|(got, want)| (f64::from(*got) - want).powi(2))
                .sum()
        };
        assert!(error(&plan) < error(&exact) / 100.0);
        near(&run(&plan, &x), &want, 0.25);
    }
}

#[test]
fn bias_activation_and_residual_are_pulled_in() {
    let weights = Weights::new(&mut Random(2));
    let [plan, _] = both(|b| {
        let x = input(b);
        let residual = b.input("r", DType::F32, &[Dim::Batch, Dim::Fixed(N as u64)]).unwrap();
        let bias = b.constant(f32s(&[N], &[0.5; N])).unwrap();
        let quantized = quantized(b, x, 2, true);
        let y = weights.product(b, quantized)[0];
        let y = b.add(bias, y).unwrap();
        let y = b.gelu(y, GeluForm::Erf).unwrap();
        let y = b.add(y, residual).unwrap();
        b.output("y", y).unwrap();
    });
    assert_eq!(plan.stats().steps, 1);
    assert!(plan.describe().contains("int8 linear 100x24 + bias Gelu + residual"));
}

#[test]
fn rows_together_have_the_bits_that_they_have_alone() {
    let mut random = Random(3);
    let weights = Weights::new(&mut random);
    let [plan, _] = layer(&weights, true);
    let x = rows(&mut random, 7);
    let together = run(&plan, &x);
    for (row, together) in x.as_slice::<f32>().unwrap().chunks(K).zip(together.chunks(N)) {
        assert_eq!(run(&plan, &f32s(&[1, K], row)), together);
    }
}

#[test]
fn layers_of_one_input_that_only_attention_reads_are_one_product() {
    let mut random = Random(4);
    let weights = [0, 1, 2].map(|_| Weights::new(&mut random));
    let [plan, _] = both(|b| {
        let offsets = b.offsets("offsets").unwrap();
        let dims = [Dim::Ragged("offsets".into()), Dim::Fixed(K as u64)];
        let x = b.input("x", DType::F32, &dims).unwrap();
        let quantized = quantized(b, x, 2, true);
        let [q, k, v] = [0, 1, 2].map(|i| weights[i].product(b, quantized)[0]);
        let options =
            AttentionOptions { heads: 3, kv_heads: 3, scale: None, causal: false, window: None };
        let y = b.ragged_attention(AttentionValues { q, k, v }, offsets, options).unwrap();
        b.output("y", y).unwrap();
    });
    assert!(plan.describe().contains("int8 linear 100x72"), "{}", plan.describe());
    assert_eq!(plan.stats().matrices, 1);
    assert_eq!(*plan.coalescing(), Coalescing::Ragged { offsets: "offsets".into() });
}

#[test]
fn weights_with_zero_points_are_taken_where_the_difference_is_an_i8() {
    let mut random = Random(5);
    let mut weights = Weights::new(&mut random);
    weights.dtype = DType::U8;
    weights.bits.iter_mut().for_each(|w| *w = w.wrapping_add(128));
    weights.zeros = Some((0..N as u8).map(|j| 120 + j % 9).collect());
    let [plan, exact] = layer(&weights, true);
    assert!(plan.describe().contains("int8 linear"));
    let x = rows(&mut random, 4);
    near(&run(&plan, &x), &products(&x, &weights), 0.25);
    assert_ne!(run(&plan, &x), run(&exact, &x));
    weights.bits[7] = 255;
    weights.zeros = Some(vec![120; N]);
    let [plan, exact] = layer(&weights, true);
    assert!(!plan.describe().contains("int8 linear"));
    assert_eq!(run(&plan, &x), run(&exact, &x));
}

#[test]
fn integers_that_anything_else_sees_stay_as_onnx_says() {
    let mut random = Random(6);
    let weights = Weights::new(&mut random);
    let x = rows(&mut random, 3);
    let seen: [fn(&mut GraphBuilder, [ValueId; 4]); 6] = [
        |b, [q, ..]| b.output("q", q).unwrap(),
        |b, [_, scale, ..]| b.output("scale", scale).unwrap(),
        |b, [_, _, point, _]| b.output("point", point).unwrap(),
        |b, [.., floats]| b.output("sums", floats).unwrap(),
        |b, [q, ..]| {
            let wide = b.cast(q, DType::I32).unwrap();
            b.output("wide", wide).unwrap();
        },
        |b, [q, scale, point, _]| {
            let back = b.dequantize(q, scale, Some(point), None).unwrap();
            b.output("back", back).unwrap();
        },
    ];
    for see in seen {
        let [plan, exact] = both(|b| {
            let x = input(b);
            let quantized = quantized(b, x, 2, true);
            let [y, floats] = weights.product(b, quantized);
            b.output("y", y).unwrap();
            let [q, scale, point] = quantized;
            see(b, [q, scale, point, floats]);
        });
        assert!(!plan.describe().contains("int8"), "{}", plan.describe());
        assert_eq!((run(&plan, &x), plan.key()), (run(&exact, &x), exact.key()));
    }
}

#[test]
fn only_the_range_of_the_value_itself_is_one() {
    let weights = Weights::new(&mut Random(7));
    let ranges: [fn(&mut GraphBuilder, ValueId) -> [ValueId; 3]; 2] = [
        // Of another value.
        |b, x| {
            let other = b.neg(x).unwrap();
            let [_, scale, point] = quantized(b, other, 2, true);
            [b.quantize(x, scale, Some(point), None, DType::U8).unwrap(), scale, point]
        },
        // Known before.
        |b, x| {
            let scale = scalar(b, 0.01);
            let bits = Tensor::copy_from(DType::U8, Shape::new(&[]).unwrap(), &[99]).unwrap();
            let point = b.constant(bits).unwrap();
            [b.quantize(x, scale, Some(point), None, DType::U8).unwrap(), scale, point]
        },
    ];
    for range in ranges {
        let [plan, _] = both(|b| {
            let x = input(b);
            let quantized = range(b, x);
            let y = weights.product(b, quantized)[0];
            b.output("y", y).unwrap();
        });
        assert!(!plan.describe().contains("int8"), "{}", plan.describe());
    }
}

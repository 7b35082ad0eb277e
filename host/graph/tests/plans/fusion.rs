//! Fused plans compute what their ops say, whatever else reads the values in between.

use crate::support::{Random, builder, f32s, near, plan, weight};
use aimass_graph::{Dim, GeluForm, GraphBuilder, Plan, ValueId};
use aimass_tensor::DType;

const K: usize = 9;
const N: usize = 20;

struct Layer {
    w: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    fn random() -> Layer {
        let mut random = Random(41);
        Layer { w: random.numbers(K * N), bias: random.numbers(N) }
    }

    fn product(&self, x: &[f32]) -> Vec<f64> {
        let rows = x.chunks_exact(K).flat_map(|row| {
            (0..N).map(move |j| {
                row.iter().zip(0..).map(|(x, p)| f64::from(*x) * f64::from(self.w[p * N + j])).sum()
            })
        });
        rows.collect()
    }
}

fn input(b: &mut GraphBuilder) -> ValueId {
    b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap()
}

fn run(plan: &Plan, x: &[f32]) -> Vec<Vec<f32>> {
    let outputs = plan.run(&[f32s(&[x.len() / K, K], x)], None).unwrap();
    outputs.iter().map(|output| output.as_slice::<f32>().unwrap().to_vec()).collect()
}

#[test]
fn matmul_bias_activation_and_residual_are_one_step() {
    let layer = Layer::random();
    let mut b = builder();
    let x = input(&mut b);
    let w = weight(&mut b, &[K as u64, N as u64], &layer.w);
    let bias = weight(&mut b, &[N as u64], &layer.bias);
    let y = b.matmul(x, w).unwrap();
    let y = b.add(bias, y).unwrap();
    let y = b.relu(y).unwrap();
    let other = b.linear(x, w, None, false).unwrap();
    let y = b.add(other, y).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    let text = plan.describe();
    assert!(text.contains("linear 9x20 + bias Relu") && text.contains("+ residual"), "{text}");
    assert!(!text.contains("add"), "{text}");
    let x = Random(5).numbers(7 * K);
    let product = layer.product(&x);
    let bias = layer.bias.iter().cycle();
    let expected: Vec<f64> =
        product.iter().zip(bias).map(|(y, bias)| (y + f64::from(*bias)).max(0.0) + y).collect();
    near(&run(&plan, &x)[0], &expected, 1e-5);
}

#[test]
fn a_value_that_others_read_is_not_fused_away() {
    let layer = Layer::random();
    let mut b = builder();
    let x = input(&mut b);
    let w = weight(&mut b, &[K as u64, N as u64], &layer.w);
    let y = b.linear(x, w, None, false).unwrap();
    let z = b.silu(y).unwrap();
    let squared = b.mul(y, y).unwrap();
    let doubled = b.add(squared, squared).unwrap();
    b.output("y", y).unwrap();
    b.output("z", z).unwrap();
    b.output("doubled", doubled).unwrap();
    b.output("again", y).unwrap();
    let plan = plan(b);
    let x = Random(6).numbers(3 * K);
    let product = layer.product(&x);
    let outputs = run(&plan, &x);
    near(&outputs[0], &product, 1e-5);
    near(&outputs[1], &product.iter().map(|y| y / (1.0 + (-y).exp())).collect::<Vec<_>>(), 1e-5);
    near(&outputs[2], &product.iter().map(|y| 2.0 * y * y).collect::<Vec<_>>(), 1e-5);
    assert_eq!(outputs[0], outputs[3]);
}

#[test]
fn activations_keep_their_form_and_order() {
    let layer = Layer::random();
    let x = Random(7).numbers(5 * K);
    let product = layer.product(&x);
    let tanh_gelu = |y: f64| {
        0.5 * y * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (y + 0.044715 * y.powi(3))).tanh())
    };
    type Case = (fn(&mut GraphBuilder, ValueId) -> ValueId, Box<dyn Fn(f64) -> f64>);
    let cases: Vec<Case> = vec![
        (|b, y| b.gelu(y, GeluForm::Tanh).unwrap(), Box::new(tanh_gelu)),
        (|b, y| b.sigmoid(y).unwrap(), Box::new(|y| 1.0 / (1.0 + (-y).exp()))),
        (|b, y| b.tanh(y).unwrap(), Box::new(f64::tanh)),
        (|b, y| b.exp(y).unwrap(), Box::new(f64::exp)),
        (
            |b, y| {
                let y = b.tanh(y).unwrap();
                b.relu(y).unwrap()
            },
            Box::new(|y| y.tanh().max(0.0)),
        ),
    ];
    for (build, f) in cases {
        let mut b = builder();
        let x_value = input(&mut b);
        let w = weight(&mut b, &[K as u64, N as u64], &layer.w);
        let y = b.linear(x_value, w, None, false).unwrap();
        let y = build(&mut b, y);
        b.output("y", y).unwrap();
        let expected: Vec<f64> = product.iter().map(|&y| f(y)).collect();
        near(&run(&plan(b), &x)[0], &expected, 1e-5);
    }
}

#[test]
fn dead_nodes_go_and_constants_fold() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch]).unwrap();
    let two = b.constant(f32s(&[], &[2.0])).unwrap();
    let four = b.mul(two, two).unwrap();
    let half = b.reciprocal(two).unwrap();
    let _dead = b.exp(x).unwrap();
    let y = b.mul(x, four).unwrap();
    let y = b.reshape(y, &[Dim::Batch, Dim::Fixed(1)]).unwrap();
    b.output("y", y).unwrap();
    b.output("half", half).unwrap();
    let plan = plan(b);
    assert_eq!(plan.stats().steps, 1, "{}", plan.describe());
    let outputs = plan.run(&[f32s(&[2], &[1.0, 3.0])], None).unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [4.0, 12.0]);
    assert_eq!(outputs[0].shape()[..], [2, 1]);
    assert_eq!(outputs[1].as_slice::<f32>().unwrap(), [0.5]);
}

#[test]
fn long_chains_with_many_outputs_are_cut_and_stay_right() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
    let mut values = vec![x];
    for i in 0..40usize {
        let (left, right) = (values[i], values[i / 2]);
        let sum = if i % 3 == 0 { b.sub(left, right) } else { b.maximum(left, right) };
        let next = if i % 5 == 0 { b.tanh(sum.unwrap()) } else { b.neg(sum.unwrap()) };
        values.push(next.unwrap());
        if i % 4 == 0 {
            b.output(&format!("y{i}"), values[i + 1]).unwrap();
        }
    }
    let plan = plan(b);
    let x = Random(8).numbers(6 * K);
    let mut naive: Vec<Vec<f32>> = vec![x.clone()];
    let mut expected = Vec::new();
    for i in 0..40usize {
        let pairs = naive[i].iter().zip(&naive[i / 2]);
        let sums = pairs.map(|(a, b)| if i % 3 == 0 { a - b } else { a.max(*b) });
        let next: Vec<f32> = sums.map(|s| if i % 5 == 0 { s.tanh() } else { -s }).collect();
        if i % 4 == 0 {
            expected.push(next.clone());
        }
        naive.push(next);
    }
    for (got, want) in run(&plan, &x).iter().zip(&expected) {
        near(got, &want.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), 1e-5);
    }
}

#[test]
fn softmax_norms_and_broadcast_rows_work_in_place() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
    let row = weight(&mut b, &[K as u64], &[0.5; K]);
    let y = b.sub(row, x).unwrap();
    let y = b.rms_norm(y, row, 1e-6).unwrap();
    let y = b.softmax(y, 1).unwrap();
    let one = b.constant(f32s(&[], &[1.0])).unwrap();
    let y = b.add(y, one).unwrap();
    let y = b.l2_normalize(y, 1e-12).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    assert_eq!(plan.stats().segments, 1, "{}", plan.describe());
    let x = Random(9).numbers(3 * K);
    let expected = x.chunks_exact(K).flat_map(|row| {
        let y: Vec<f64> = row.iter().map(|&x| 0.5 - f64::from(x)).collect();
        let rms = (y.iter().map(|y| y * y).sum::<f64>() / K as f64 + 1e-6).sqrt();
        let e: Vec<f64> = y.iter().map(|y| (y / rms * 0.5).exp()).collect();
        let total: f64 = e.iter().sum();
        let y: Vec<f64> = e.iter().map(|e| e / total + 1.0).collect();
        let norm = y.iter().map(|y| y * y).sum::<f64>().sqrt();
        y.into_iter().map(move |y| y / norm)
    });
    near(&run(&plan, &x)[0], &expected.collect::<Vec<_>>(), 1e-5);
}

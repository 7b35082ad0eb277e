//! Nanoseconds of a single op on a few elements: what `tensor.run` costs beside arithmetic.
//!
//! ```text
//! cargo run --release -p aimass-graph --example op_latency
//! ```

use aimass_graph::{Attribute, run_op};
use aimass_tensor::Tensor;
use anyhow::Result;
use std::time::Instant;

const RUNS: u32 = 100_000;

type Case<'a> = (&'a str, Vec<Tensor>, &'a [(String, Attribute)]);

fn main() -> Result<()> {
    let x = Tensor::from_slice(&[2, 4], &[1f32; 8])?;
    let offsets = Tensor::from_slice(&[2], &[0u32, 2])?;
    let axis = [("axis".to_owned(), Attribute::Int(1))];
    let best = [("k".to_owned(), Attribute::Int(2))];
    let epsilon = [("epsilon".to_owned(), Attribute::Float(1e-12))];
    let shape = [("dims".to_owned(), Attribute::Ints(vec![4, -1]))];
    let cases: [Case<'_>; 6] = [
        ("softmax", vec![x.clone()], &axis),
        ("top-k", vec![x.clone()], &best),
        ("l2-normalize", vec![x.clone()], &epsilon),
        ("ragged-mean", vec![x.clone(), offsets], &[]),
        ("reshape", vec![x.clone()], &shape),
        ("add", vec![x.clone(), x], &[]),
    ];
    for (name, inputs, attributes) in cases {
        run_op(name, &inputs, attributes)?;
        let start = Instant::now();
        for _ in 0..RUNS {
            run_op(name, &inputs, attributes)?;
        }
        println!("{name:14} {:7.0} ns", start.elapsed().as_secs_f64() * 1e9 / f64::from(RUNS));
    }
    Ok(())
}

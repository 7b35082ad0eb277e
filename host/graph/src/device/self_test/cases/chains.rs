//! Elementwise ops that follow each other: one kernel made at run time, where there is a compiler.

use super::{Case, FLOATS, floats, graph, integers};
use aimass_tensor::DType;

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in FLOATS {
        // What a float of 16 bits loses at each step is of the last one's precision.
        let inputs = vec![floats(dtype, &[9, 64], 1), floats(dtype, &[64], 2)];
        cases.push(graph(&format!("add mul tanh sub of {dtype}"), inputs, 16.0, |builder, x| {
            let sum = builder.add(x[0], x[1])?;
            let product = builder.mul(sum, x[0])?;
            let bent = builder.tanh(product)?;
            builder.sub(bent, x[1])
        }));
        let inputs = vec![floats(dtype, &[5, 33], 3), floats(dtype, &[5, 1], 4)];
        cases.push(graph(
            &format!("less select erf abs of {dtype}"),
            inputs,
            16.0,
            |builder, x| {
                let less = builder.less(x[0], x[1])?;
                let bent = builder.erf(x[0])?;
                let size = builder.abs(x[0])?;
                builder.select(less, bent, size)
            },
        ));
    }
    let inputs = vec![integers(DType::I32, &[3, 37], 5), integers(DType::I32, &[37], 6)];
    cases.push(graph("sub and cast mul of i32", inputs, 1.0, |builder, x| {
        let apart = builder.sub(x[0], x[1])?;
        let low = builder.bit_and(apart, x[1])?;
        let number = builder.cast(low, DType::F32)?;
        builder.mul(number, number)
    }));
    cases
}

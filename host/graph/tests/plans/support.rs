//! What the tests share: random numbers, weights in memory, plans.

use aimass_graph::{
    BytesSource, CompileOptions, GraphBuilder, GraphLimits, Plan, ValueId, WeightSource, compile,
};
use aimass_tensor::{Buffer, DType, Tensor};
use std::sync::Arc;

/// A generator of pseudo-random numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// Between -1 and 1.
    pub(crate) fn number(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }
}

pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn source(bytes: Vec<u8>) -> Arc<dyn WeightSource> {
    Arc::new(BytesSource::new(Buffer::shared(Arc::new(bytes))))
}

pub(crate) fn builder() -> GraphBuilder {
    GraphBuilder::new(GraphLimits::default())
}

/// An f32 weight of these numbers.
pub(crate) fn weight(b: &mut GraphBuilder, dims: &[u64], values: &[f32]) -> ValueId {
    b.weight("w", DType::F32, dims, source(bytes(values)), 0).unwrap()
}

pub(crate) fn plan(b: GraphBuilder) -> Plan {
    plan_on(b, 0)
}

pub(crate) fn plan_on(b: GraphBuilder, threads: usize) -> Plan {
    compile(b.finish().unwrap(), &CompileOptions { threads, ..Default::default() }).unwrap()
}

pub(crate) fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(shape, values).unwrap()
}

/// Requires all elements to be within `tolerance`.
pub(crate) fn near(got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, want)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(
            error <= tolerance * want.abs().max(1.0),
            "element {i}: {want} expected, got {got}"
        );
    }
}

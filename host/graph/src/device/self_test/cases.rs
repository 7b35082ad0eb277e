//! The cases of a self-test: small, with fixed content, on every form of every kernel that plans use.

mod chains;
mod elementwise;
mod images;
mod indexed;
mod layers;
mod moves;
mod pages;
mod products;
mod quantized;
mod rows;

use crate::run_op::{Attribute, one_node};
use crate::{
    CompileOptions, Dim, GraphBuilder, GraphError, GraphLimits, Plan, RunError, ValueId, compile,
};
use aimass_tensor::{DType, Shape, Tensor};

/// Compiles the graph of a case.
type Make = Box<dyn Fn(&CompileOptions) -> Result<Plan, RunError>>;

/// One graph with inputs.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) plan: Make,
    pub(super) inputs: Vec<Tensor>,
    /// In units of the precision of the outputs' dtype.
    pub(super) tolerance: f64,
    /// A step that the device's report must name.
    pub(super) step: Option<&'static str>,
}

/// Floats that kernels compute with.
const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

/// Every case.
pub(super) fn all() -> Vec<Case> {
    let families = [
        elementwise::all(),
        chains::all(),
        moves::all(),
        indexed::all(),
        rows::all(),
        products::all(),
        quantized::all(),
        images::all(),
        layers::all(),
        pages::all(),
    ];
    families.into_iter().flatten().collect()
}

/// A graph that `build` makes of its inputs; constants are its own.
fn graph(
    name: &str,
    inputs: Vec<Tensor>,
    tolerance: f64,
    build: impl Fn(&mut GraphBuilder, &[ValueId]) -> Result<ValueId, GraphError> + 'static,
) -> Case {
    let own = inputs.clone();
    let plan: Make = Box::new(move |options| {
        let mut builder = GraphBuilder::new(GraphLimits::default());
        let mut values = Vec::with_capacity(own.len());
        for (index, input) in own.iter().enumerate() {
            let dims: Vec<Dim> = input.shape().iter().map(|&n| Dim::Fixed(n as u64)).collect();
            values.push(builder.input(&format!("input {index}"), input.dtype(), &dims)?);
        }
        let output = build(&mut builder, &values)?;
        builder.output("output", output)?;
        compile(builder.finish()?, options).map_err(|error| RunError::Plan(Box::new(error)))
    });
    Case { name: name.to_owned(), plan, inputs, tolerance, step: None }
}

/// A graph of one op.
fn op(
    name: &'static str,
    inputs: Vec<Tensor>,
    attributes: &[(&str, Attribute)],
    tolerance: f64,
) -> Case {
    let shown: Vec<String> =
        inputs.iter().map(|input| format!("{} {}", input.dtype(), input.shape())).collect();
    let own = inputs.clone();
    let attributes: Vec<(String, Attribute)> =
        attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let plan: Make = Box::new(move |options| one_node(name, &own, &attributes, options));
    Case { name: format!("{name}({})", shown.join(", ")), plan, inputs, tolerance, step: None }
}

/// Numbers in -2..2, the same for the same seed.
fn floats(dtype: DType, extents: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 24) as f32 * 4.0 - 2.0
    };
    let elements: usize = extents.iter().product();
    let mut bytes = Vec::with_capacity(elements * 4);
    for _ in 0..elements {
        let bits = next().to_bits();
        match dtype {
            // Rounding plays no part: whatever the number is, both sides get it.
            DType::F16 => bytes.extend(half_bits(bits).to_le_bytes()),
            DType::Bf16 => bytes.extend(((bits >> 16) as u16).to_le_bytes()),
            _ => bytes.extend(bits.to_le_bytes()),
        }
    }
    tensor(dtype, extents, &bytes)
}

/// Integers of any bits, most of them small, the same for the same seed.
fn integers(dtype: DType, extents: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state.is_multiple_of(4) { state >> 1 } else { (state >> 32) % 19 }
    };
    let (elements, size) = (extents.iter().product(), dtype.size().expect("whole bytes"));
    let bytes: Vec<u8> =
        (0..elements).flat_map(|_: usize| next().to_le_bytes()[..size].to_vec()).collect();
    tensor(dtype, extents, &bytes)
}

/// The f16 next to zero from an f32 of ordinary size.
fn half_bits(bits: u32) -> u16 {
    let sign = (bits >> 16) as u16 & 0x8000;
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    match exponent {
        1..31 => sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16,
        _ => sign,
    }
}

fn tensor(dtype: DType, extents: &[usize], bytes: &[u8]) -> Tensor {
    let shape = Shape::new(extents).expect("a small shape");
    Tensor::copy_from(dtype, shape, bytes).expect("as many bytes as the shape takes")
}

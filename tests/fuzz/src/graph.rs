//! The host's graph check: bytes become builder calls, the graph is compiled and run under limits.
//!
//! What must hold, whatever the bytes are: nothing panics; no error is a defect of the host; outputs
//! are as the signature says; the same inputs have the same bits again, with other numbers of
//! threads, and, where the plan coalesces, each alone.

mod alone;
mod content;
mod inputs;
mod ops;
mod program;

use crate::source::Source;
use crate::{digest, mix};
use aimass_cpu::pool::KernelPool;
use aimass_graph::{
    CompileOptions, Dim, ErrorFamily, Graph, Plan, RunError, Signature, TensorSpec, compile,
};
use aimass_tensor::{DType, Tensor};
use inputs::Inputs;
use program::Program;

pub(crate) use content::tensor;

/// Threads of the kernels; one more than most test machines have.
const THREADS: usize = 3;
/// Bytes that a run may take.
const ARENA_BYTES_MAX: u64 = 1 << 20;

/// Builds, compiles and runs what the bytes say; answers what happened, as numbers that tell
/// executions apart.
///
/// # Panics
/// If the graph check, the compiler or the executor is wrong.
pub fn graph(bytes: &[u8]) -> Vec<u64> {
    KernelPool::init_global(THREADS);
    let mut source = Source::new(bytes);
    let threads = 1 + source.below(THREADS);
    let program = Program::build(source);
    let exact = !program.shows_bits;
    let (graph, mut events, mut source) = program.finish();
    let Ok(graph) = graph else { return events };
    let options = options(threads);
    let again = source.byte() & 3 == 0;
    let other = again.then(|| graph.clone());
    let plan = match compile(graph, &options) {
        Ok(plan) => plan,
        Err(error) => {
            assert_ne!(error.family(), ErrorFamily::Internal, "{error}");
            events.push(mix(1, digest(error.code().as_bytes())));
            return events;
        }
    };
    let stats = plan.stats();
    events.push(mix(
        2,
        crate::magnitude(stats.steps) << 16
            | crate::magnitude(stats.segments) << 8
            | crate::magnitude(stats.matrices),
    ));
    assert!(!plan.describe().is_empty());
    let Some(inputs) = Inputs::choose(plan.signature(), &mut source) else { return events };
    let outputs = run(&plan, &inputs, &mut events);
    if let (Some(outputs), true) = (outputs, exact) {
        compare(&plan, other, &inputs, &outputs);
    }
    events
}

/// The outputs of one run, if it comes to an end.
fn run(plan: &Plan, inputs: &Inputs, events: &mut Vec<u64>) -> Option<Vec<Tensor>> {
    let tensors = inputs.tensors();
    let outcome = plan.check(tensors).and_then(|_| plan.cost(tensors));
    let outputs = match outcome.and_then(|_| plan.run(tensors, None)) {
        Ok(outputs) => outputs,
        Err(error) => {
            refused(&error);
            events.push(mix(3, digest(error.code().as_bytes())));
            return None;
        }
    };
    events.push(mix(4, digest(format!("{:?}", plan.coalescing()).as_bytes()) & 0xff));
    check_outputs(plan.signature(), &outputs, inputs);
    if plan.has_state() {
        let mut state = plan.new_state();
        for _ in 0..2 {
            let _ = plan.run(tensors, Some(&mut state)).inspect_err(refused);
        }
    }
    Some(outputs)
}

/// Runs again, with other threads, and each item alone.
fn compare(plan: &Plan, other: Option<Graph>, inputs: &Inputs, outputs: &[Tensor]) {
    let again = plan.run(inputs.tensors(), None);
    let again = again.unwrap_or_else(|error| panic!("the second time: {error}"));
    all_same(plan, outputs, &again, "again");
    if let Some(graph) = other {
        let options = options(THREADS);
        let other = compile(graph, &options).unwrap_or_else(|error| panic!("again: {error}"));
        let got = other.run(inputs.tensors(), None);
        let got = got.unwrap_or_else(|error| panic!("other threads: {error}"));
        all_same(plan, outputs, &got, "with other threads");
        assert_eq!(plan.key(), other.key(), "the key is the content's");
    }
    alone::check(plan, inputs, outputs);
}

/// Requires that an error is somebody else's fault.
fn refused(error: &RunError) {
    assert_ne!(error.family(), ErrorFamily::Internal, "{error}");
}

fn check_outputs(signature: &Signature, outputs: &[Tensor], inputs: &Inputs) {
    assert_eq!(signature.outputs.len(), outputs.len());
    for (spec, tensor) in signature.outputs.iter().zip(outputs) {
        let TensorSpec { name, dtype, dims } = spec;
        assert_eq!(tensor.dtype(), *dtype, "{name}");
        assert_eq!(tensor.shape().rank(), dims.len(), "{name}");
        for (dim, &got) in dims.iter().zip(tensor.shape().iter()) {
            let expected = match dim {
                Dim::Fixed(extent) => Some(*extent as usize),
                Dim::Batch | Dim::Ragged(_) | Dim::Dynamic(_) => inputs.extent(dim),
            };
            assert_eq!(expected.unwrap_or(got), got, "{name}: {dim}");
        }
    }
}

/// Requires the same bits; of a NaN only that it is one, since hardware and compilers choose among
/// them.
fn same(plan: &Plan, expected: &Tensor, got: &Tensor, when: impl Fn() -> String) {
    assert_eq!(expected.shape(), got.shape(), "{}", when());
    let Some(at) = difference(expected, got) else { return };
    let size = expected.dtype().size().unwrap_or(1);
    let element = |tensor: &Tensor| tensor.bytes()[at * size..(at + 1) * size].to_vec();
    let (expected, got) = (element(expected), element(got));
    panic!("{}: element {at} is {got:02x?}, expected {expected:02x?}\n{}", when(), plan.describe());
}

/// The first element that differs.
fn difference(expected: &Tensor, got: &Tensor) -> Option<usize> {
    if expected.bytes() == got.bytes() {
        return None;
    }
    let size = expected.dtype().size().unwrap_or(1);
    let is_nan = |bytes: &[u8]| match (expected.dtype(), bytes) {
        (DType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).is_nan(),
        (DType::F64, bytes) => bytes.try_into().is_ok_and(|x| f64::from_le_bytes(x).is_nan()),
        (DType::F16, &[a, b]) => u16::from_le_bytes([a, b]) & 0x7fff > 0x7c00,
        (DType::Bf16, &[a, b]) => u16::from_le_bytes([a, b]) & 0x7fff > 0x7f80,
        _ => false,
    };
    let mut pairs = expected.bytes().chunks(size).zip(got.bytes().chunks(size));
    pairs.position(|(a, b)| a != b && !(is_nan(a) && is_nan(b)))
}

/// As [`same`], of every output.
fn all_same(plan: &Plan, expected: &[Tensor], got: &[Tensor], when: &str) {
    assert_eq!(expected.len(), got.len());
    for (index, (expected, got)) in expected.iter().zip(got).enumerate() {
        same(plan, expected, got, || format!("output {index} {when}"));
    }
}
/// Limits under which every execution ends soon.
fn options(threads: usize) -> CompileOptions {
    CompileOptions {
        threads,
        arena_bytes_max: ARENA_BYTES_MAX,
        flops_max: 1 << 26,
        ..CompileOptions::default()
    }
}

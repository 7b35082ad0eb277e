//! The hostile: each breaks one rule.

use aimass_sdk::graph::{Builder, Graph, Value};
use aimass_sdk::prelude::*;

use crate::{Program, Progress, polite};

/// `x`, and `y` as `x`, f32 `[batch, 2]`, but for those whose signature is the lie.
pub(crate) fn signature(program: Program) -> Signature {
    let right = polite::signature(Program::Double).unwrap_or_default();
    match program {
        Program::NoDtype => Signature { inputs: vec![TensorSpec::any("x")], ..right },
        Program::LateBatch => {
            let late = TensorSpec::new("x", DType::F32, [Dim::Fixed(2), Dim::Batch]);
            Signature { inputs: vec![late], ..right }
        }
        Program::NoOutput => Signature { outputs: Vec::new(), ..right },
        // A dynamic extent, so that nothing is traced at load.
        _ => {
            let x = TensorSpec::new("x", DType::F32, [Dim::Batch, Dim::dynamic("n")]);
            Signature { inputs: vec![x], ..right }
        }
    }
}

/// The first stage of a hostile guest.
pub(crate) fn trace(program: Program, progress: &Progress) -> Result<Stage> {
    let batched = |batched, graph: Result<Graph>| {
        Ok(Stage { graph: Some(graph?), batched, reusable: true, ..Stage::default() })
    };
    let own = progress.dims(0, false);
    match program {
        Program::UnknownInput => batched(false, graph("nope", DType::F32, &own, double)),
        Program::WrongShape => {
            let dims = [Dim::Fixed(7), Dim::Fixed(2)];
            batched(false, graph("x", DType::F32, &dims, double))
        }
        Program::WrongInputDtype => batched(false, graph("x", DType::I64, &own, double)),
        Program::NameTwice => batched(false, named("x", &own)),
        Program::DynamicInput => {
            let dims = [own[0].clone(), Dim::dynamic("n")];
            batched(false, graph("x", DType::F32, &dims, double))
        }
        Program::FrozenBatch => batched(true, polite::double(progress, false)),
        Program::ObserveUnknown => Ok(observe(&["nope"])),
        Program::ObserveTwice => Ok(observe(&["x", "x"])),
        Program::MissingOutput => batched(false, named("z", &own)),
        Program::WrongDtype => {
            batched(false, graph("x", DType::F32, &own, |builder, x| builder.cast(x, DType::I64)))
        }
        Program::WrongRank => batched(
            false,
            graph("x", DType::F32, &own, |builder, x| builder.reduce_sum(x, &[0], false)),
        ),
        Program::LongBlame => Ok(Stage { blocked_by: Some("x".repeat(1_025)), ..observe(&["x"]) }),
        Program::NeedlessBlame => {
            Ok(Stage { batched: true, blocked_by: Some("x".to_owned()), ..observe(&["x"]) })
        }
        Program::KnownBytes => known(40, 1 << 20),
        Program::KnownMany => known(300, 1),
        Program::Loop => forever(),
        Program::Memory => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                taken.push(std::hint::black_box(vec![1; 1 << 20]));
            }
        }
        Program::Refuse => Err(Error::input("not-this", "expected another input")),
        _ => Ok(observe(&["x"])),
    }
}

/// A later stage of a hostile guest.
pub(crate) fn resume(program: Program, progress: &Progress) -> Result<Stage> {
    match program {
        Program::ResumeLoop => forever(),
        Program::ResumePanic => panic!("in resume"),
        Program::FickleBatch => {
            let graph = Some(polite::double(progress, true)?);
            Ok(Stage { graph, batched: true, ..Stage::default() })
        }
        _ => Ok(observe(&["x"])),
    }
}

fn observe(names: &[&str]) -> Stage {
    let observe = names.iter().map(|name| (*name).to_owned()).collect();
    Stage { observe, reusable: true, ..Stage::default() }
}

fn double(builder: &Builder, x: Value) -> Result<Value> {
    builder.add(x, x)
}

/// `y` of one input.
fn graph(
    input: &str,
    dtype: DType,
    dims: &[Dim],
    answer: fn(&Builder, Value) -> Result<Value>,
) -> Result<Graph> {
    let builder = Builder::new();
    let x = builder.input(input, dtype, dims)?;
    builder.output("y", answer(&builder, x)?)?;
    builder.build()
}

/// `x + x` under another name than `y`.
fn named(output: &str, dims: &[Dim]) -> Result<Graph> {
    let builder = Builder::new();
    let x = builder.input("x", DType::F32, dims)?;
    builder.output(output, builder.add(x, x)?)?;
    builder.build()
}

fn known(count: usize, bytes: usize) -> Result<Stage> {
    let content = vec![0u8; bytes];
    let tensor = |index| {
        let tensor = Tensor::from_slice(&[bytes as u64], &content)?;
        Ok((format!("k{index}"), tensor))
    };
    let known = (0..count).map(tensor).collect::<Result<_>>()?;
    Ok(Stage { known, ..Stage::default() })
}

fn forever() -> ! {
    let mut count = 0u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}

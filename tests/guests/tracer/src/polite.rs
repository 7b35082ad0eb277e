//! The well-behaved: content picks a graph, content ends a loop, content is answered.

use aimass_sdk::graph::{Builder, Graph};
use aimass_sdk::prelude::*;

use crate::{Program, Progress};

/// The signature of a well-behaved guest.
pub(crate) fn signature(program: Program) -> Option<Signature> {
    let n = || Dim::dynamic("n");
    let pair = |second: fn() -> Dim| {
        let dims = [Dim::Batch, second()];
        Signature::new()
            .input(TensorSpec::new("x", DType::F32, dims.clone()))
            .output(TensorSpec::new("y", DType::F32, dims))
    };
    match program {
        Program::Double | Program::DoubleAlone | Program::Moody => Some(pair(|| Dim::Fixed(2))),
        Program::DoubleAny | Program::Slow => Some(pair(|| Dim::dynamic("n"))),
        Program::Pick => {
            Some(pair(|| Dim::Fixed(2)).input(TensorSpec::new("which", DType::I64, [])))
        }
        Program::Countdown => Some(
            Signature::new()
                .input(TensorSpec::new("n", DType::I64, [Dim::Fixed(1)]))
                .input(TensorSpec::new("x", DType::F32, [n()]))
                .output(TensorSpec::new("y", DType::F32, [n()])),
        ),
        Program::Loud => Some(
            Signature::new()
                .input(TensorSpec::new("text", DType::Bytes, [n()]))
                .output(TensorSpec::new("loud", DType::Bytes, [n()]))
                .output(TensorSpec::new("text", DType::Bytes, [n()])),
        ),
        _ => None,
    }
}

/// The first stage of a well-behaved guest.
pub(crate) fn trace(program: Program, progress: &Progress) -> Option<Result<Stage>> {
    Some(match program {
        Program::Double | Program::DoubleAny => last(double(progress, true), true),
        Program::DoubleAlone => last(double(progress, false), false)
            .map(|stage| Stage { blocked_by: Some("x".repeat(1_024)), ..stage }),
        Program::Moody => {
            last(double(progress, false), false).map(|stage| Stage { reusable: false, ..stage })
        }
        Program::Slow => {
            // A third of a second on the slow machine that this was measured on.
            let mut sum = 0u64;
            for index in 0..300_000_000u64 {
                sum = std::hint::black_box(sum.wrapping_add(index));
            }
            std::hint::black_box(sum);
            last(double(progress, true), true)
        }
        Program::Pick => Ok(observe("which", true)),
        Program::Countdown => Ok(observe("n", false)),
        Program::Loud => Ok(observe("text", false)),
        _ => return None,
    })
}

/// A later stage of a well-behaved guest.
pub(crate) fn resume(
    program: Program,
    progress: &Progress,
    observed: &NamedTensors,
) -> Option<Result<Stage>> {
    Some(match program {
        Program::Pick => pick(progress, observed),
        Program::Countdown => count(progress, observed),
        Program::Loud => loud(observed),
        _ => return None,
    })
}

fn observe(name: &str, batched: bool) -> Stage {
    Stage { observe: vec![name.to_owned()], batched, reusable: true, ..Stage::default() }
}

/// `y = x + x`.
pub(crate) fn double(progress: &Progress, batched: bool) -> Result<Graph> {
    let builder = Builder::new();
    let x = builder.input("x", DType::F32, &progress.dims(0, batched))?;
    builder.output("y", builder.add(x, x)?)?;
    builder.build()
}

fn last(graph: Result<Graph>, batched: bool) -> Result<Stage> {
    Ok(Stage { graph: Some(graph?), batched, reusable: true, ..Stage::default() })
}

fn pick(progress: &Progress, observed: &NamedTensors) -> Result<Stage> {
    match observed.get("which")?.to_vec::<i64>()?[0] {
        0 => last(double(progress, true), true),
        1 => {
            let builder = Builder::new();
            let x = builder.input("x", DType::F32, &progress.dims(0, true))?;
            builder.output("y", builder.mul(x, x)?)?;
            last(builder.build(), true)
        }
        other => Err(Error::input("which", format!("expected 0 or 1, got {other}"))),
    }
}

/// Stage `k` makes `n.k` and `x.k` of those before; the last makes `y`.
fn count(progress: &Progress, observed: &NamedTensors) -> Result<Stage> {
    let before = |name: &str| match progress.stages - 2 {
        0 => name.to_owned(),
        stage => format!("{name}.{stage}"),
    };
    let builder = Builder::new();
    let sum = builder.input(&before("x"), DType::F32, &progress.dims(1, false))?;
    let (left_name, now) = (before("n"), progress.stages - 1);
    if observed.get(&left_name)?.to_vec::<i64>()? == [0] {
        let zero = builder.constant_of(&[1], &[0f32])?;
        builder.output("y", builder.add(sum, zero)?)?;
        return last(builder.build(), false);
    }
    let left = builder.input(&left_name, DType::I64, &[Dim::Fixed(1)])?;
    let one = builder.constant_of(&[1], &[1i64])?;
    builder.output(&format!("n.{now}"), builder.sub(left, one)?)?;
    let first = match now {
        1 => sum,
        _ => builder.input("x", DType::F32, &progress.dims(1, false))?,
    };
    builder.output(&format!("x.{now}"), builder.add(sum, first)?)?;
    Ok(Stage { graph: Some(builder.build()?), ..observe(&format!("n.{now}"), false) })
}

fn loud(observed: &NamedTensors) -> Result<Stage> {
    let text = observed.get("text")?;
    let strings = text.as_strings()?;
    let loud = strings.texts("text").map(|text| text.map(str::to_uppercase));
    let loud = Tensor::strings(&text.shape(), loud.collect::<Result<Vec<_>>>()?)?;
    Ok(Stage { known: vec![("loud".to_owned(), loud)], reusable: true, ..Stage::default() })
}

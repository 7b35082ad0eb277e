//! What a device must show before plans run there: the same answers as the CPU, op by op.

mod cases;

use super::gpu::Gpu;
use crate::{CompileOptions, RunError};
use aimass_tensor::{DType, Tensor};
use cases::Case;
use std::sync::Arc;
use std::time::Instant;

/// How a self-test went.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTest {
    /// Cases that were run.
    pub cases: usize,
    /// Those that failed, one sentence each.
    pub failures: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// How one case went.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTestCase {
    /// The op with dtypes and shapes.
    pub name: String,
    /// What was wrong, if anything was.
    pub failure: Option<String>,
    /// Time of one run on the CPU.
    pub cpu_seconds: f64,
    /// Time of one run on the device, transfers included, once its launches are recorded.
    pub device_seconds: f64,
}

impl Gpu {
    /// Runs every kernel that plans use on small inputs, and compares with the CPU.
    pub fn self_test(self: &Arc<Gpu>) -> SelfTest {
        self.self_test_each(|_| {})
    }

    /// As [`Gpu::self_test`]; `watch` is told how each case went.
    pub fn self_test_each(self: &Arc<Gpu>, mut watch: impl FnMut(&SelfTestCase)) -> SelfTest {
        let start = Instant::now();
        let (mut cases, mut failures) = (0, Vec::new());
        for case in cases::all() {
            let outcome = case.outcome(self);
            watch(&outcome);
            cases += 1;
            if let Some(failure) = outcome.failure {
                failures.push(format!("{}: {failure}", outcome.name));
            }
            if !self.works() {
                break;
            }
        }
        SelfTest { cases, failures, seconds: start.elapsed().as_secs_f64() }
    }
}

/// Runs of each case on the device: launched, recorded, replayed.
const TURNS: [&str; 3] = ["launched", "recorded", "replayed"];

impl Case {
    fn outcome(&self, gpu: &Arc<Gpu>) -> SelfTestCase {
        let mut case = SelfTestCase {
            name: self.name.clone(),
            failure: None,
            cpu_seconds: 0.0,
            device_seconds: 0.0,
        };
        case.failure = self.run(gpu, &mut case).err();
        case
    }

    /// The case on the CPU and on the device, and how long each took.
    fn run(&self, gpu: &Arc<Gpu>, case: &mut SelfTestCase) -> Result<(), String> {
        let on = |device: Option<Arc<Gpu>>| {
            let options = CompileOptions { device, ..CompileOptions::default() };
            (self.plan)(&options).map_err(|error| error.to_string())
        };
        let (here, there) = (on(None)?, on(Some(gpu.clone()))?);
        match there.device_report() {
            Some(Ok(report)) => {
                let names = |step: &str| report.steps.iter().any(|(name, _)| *name == *step);
                if let Some(step) = self.step.filter(|step| !names(step)) {
                    return Err(format!("has no step {step}"));
                }
            }
            Some(Err(reason)) => return Err(format!("stays on the CPU: {reason}")),
            None => return Err("was compiled for no device".into()),
        }
        let text = |error: RunError| error.to_string();
        let start = Instant::now();
        let expected = here.run(&self.inputs, None).map_err(text)?;
        case.cpu_seconds = start.elapsed().as_secs_f64();
        for turn in TURNS {
            let before = gpu.state().fallbacks;
            let start = Instant::now();
            let found = there.run(&self.inputs, None).map_err(text)?;
            case.device_seconds = start.elapsed().as_secs_f64();
            let state = gpu.state();
            if state.fallbacks != before {
                return Err(format!("{turn}: {}", state.last_error.unwrap_or_default()));
            }
            // Operands of products are rounded to 10 bits then.
            let coarse = gpu.device().options().tf32.then_some(DType::F16);
            for (found, expected) in found.iter().zip(&expected) {
                compared(found, expected, self.tolerance, coarse)
                    .map_err(|why| format!("{turn}: {why}"))?;
            }
        }
        Ok(())
    }
}

/// Whether numbers are as expected: equal for integers; for floats within `tolerance` times the
/// precision of the dtype, for f32 that of `coarse` if given, relative above 1.
fn compared(
    found: &Tensor,
    expected: &Tensor,
    tolerance: f64,
    coarse: Option<DType>,
) -> Result<(), String> {
    if (found.dtype(), found.shape()) != (expected.dtype(), expected.shape()) {
        let show = |tensor: &Tensor| format!("{} {}", tensor.dtype(), tensor.shape());
        return Err(format!("expected {}, got {}", show(expected), show(found)));
    }
    let precision = match coarse.filter(|_| found.dtype() == DType::F32).unwrap_or(found.dtype()) {
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => 1.0 / 1024.0,
        DType::Bf16 => 1.0 / 128.0,
        _ => 0.0,
    };
    let (found, expected) = (numbers(found), numbers(expected));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let same = found == expected || found.is_nan() && expected.is_nan();
        let bound = tolerance * precision * expected.abs().max(1.0);
        let near = expected.is_finite() && (found - expected).abs() <= bound;
        if !same && !near {
            return Err(format!("element {i}: expected {expected} within {bound:e}, got {found}"));
        }
    }
    Ok(())
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&bytes| read(bytes)).collect()
    }
    let bytes = tensor.bytes();
    match tensor.dtype() {
        DType::F32 => each(bytes, |b| f32::from_le_bytes(b).into()),
        DType::F64 => each(bytes, f64::from_le_bytes),
        DType::F16 => each(bytes, |b| aimass_cpu::cast::f16_to_f32(u16::from_le_bytes(b)).into()),
        DType::Bf16 => each(bytes, |b| aimass_cpu::cast::bf16_to_f32(u16::from_le_bytes(b)).into()),
        DType::I64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        DType::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
        DType::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
        _ => bytes.iter().map(|&byte| byte.into()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only where a device is: on the virtual one, or on a real one.
    #[test]
    fn a_difference_beyond_the_tolerance_is_told_with_its_place() {
        let tensor = |x: &[f32]| Tensor::from_slice(&[x.len()], x).unwrap();
        let expected = tensor(&[1.0, f32::NAN, 1000.0, f32::INFINITY]);
        assert_eq!(compared(&expected, &expected, 0.0, None), Ok(()));
        let near = tensor(&[1.0 + 2.0 * f32::EPSILON, f32::NAN, 1000.0, f32::INFINITY]);
        assert_eq!(compared(&near, &expected, 2.0, None), Ok(()));
        assert!(compared(&near, &expected, 1.0, None).unwrap_err().contains("element 0"));
        for wrong in [
            [1.0, 1.0, 1000.0, f32::INFINITY],
            [f32::NAN, f32::NAN, 1000.0, f32::INFINITY],
            [1.0, f32::NAN, 1000.0, f32::NEG_INFINITY],
            [1.0, f32::NAN, 1000.0, f32::MAX],
        ] {
            assert!(compared(&tensor(&wrong), &expected, 2.0, None).is_err(), "{wrong:?}");
        }
    }
}

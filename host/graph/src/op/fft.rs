//! Discrete Fourier transforms.

use super::{Call, Infer, Op, OpRule};
use crate::prepared::{Prepared, Source};
use crate::{Dim, GraphError, PlanError, RunError, ValueSpec};
use aimass_cpu::fourier::{Float, Fourier, fourier_transform};
use aimass_cpu::reduce::Lanes;
use aimass_tensor::{DType, Shape};

/// Discrete Fourier transform along `axis` of complex numbers, pairs of a real and an imaginary
/// part on the last axis; `inverse` is divided by the extent (ONNX `DFT-17`).
///
/// | tensor    | shape           | dtype               |
/// |-----------|-----------------|---------------------|
/// | `x`       | `[.., n, .., 2]` | f16, bf16, f32, f64 |
/// | output    | as `x`          | as `x`              |
///
/// Any `n`; the axis holds no rows. The tables of a known `n` are computed when the plan is compiled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fft {
    pub(crate) axis: u32,
    pub(crate) inverse: bool,
    pub(crate) tables: Option<Tables>,
}

/// Factors and roots of one length.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tables {
    F32(Prepared<Fourier<f32>>),
    F64(Prepared<Fourier<f64>>),
}

/// Longest transform whose tables are kept with a plan.
const KEPT_MAX: u64 = 1 << 20;

impl Fft {
    fn transform<T: Float>(&self, call: &mut Call<'_, '_>, known: Option<&Fourier<T>>) {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let axis = self.axis as usize;
        let mut lanes = Lanes::of(&x.shape, axis..axis + 1);
        lanes.inner /= 2;
        let own;
        let tables = match known.filter(|known| known.len() == lanes.n) {
            Some(known) => known,
            None => {
                own = Fourier::new(lanes.n);
                &own
            }
        };
        fourier_transform(call.team, tables, lanes, self.inverse, (x.numbers(), out.numbers()));
    }
}

impl OpRule for Fft {
    fn name(&self) -> &'static str {
        "fft"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        cx.float(x)?;
        cx.rank_at_least(x, 2, "at least 2")?;
        let axis = cx.lane_axis(self.axis, x)?;
        if axis + 1 == x.rank() {
            let expected = "an axis before the last, which holds the parts of a number";
            return Err(cx.argument("axis", expected, &self.axis));
        }
        cx.dims.same(cx.op, &x.dims[x.rank() - 1], &Dim::Fixed(2))?;
        Ok(vec![ValueSpec::new(x.dtype, x.dims.clone())])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        let n = inputs[0][self.axis as usize].max(2) as u64;
        let steps = (inputs[0].elements() as u64).saturating_mul(u64::from(n.ilog2()) + 1);
        // The largest prime factors take a convolution of twice to four times the length.
        steps.saturating_mul(8)
    }

    fn widens(&self) -> bool {
        true
    }

    fn prepared(&self, inputs: &[Source<'_>]) -> Result<Option<(Op, Vec<usize>)>, PlanError> {
        let spec = inputs[0].spec;
        let n = spec.dims[self.axis as usize].fixed().filter(|n| (1..=KEPT_MAX).contains(n));
        let Some(n) = n else { return Ok(None) };
        let tables = match spec.dtype {
            DType::F32 => {
                let layout = format!("fft f32 {n}");
                Tables::F32(Prepared::of(&layout, &[], || Ok(Fourier::new(n as usize)))?)
            }
            DType::F64 => {
                let layout = format!("fft f64 {n}");
                Tables::F64(Prepared::of(&layout, &[], || Ok(Fourier::new(n as usize)))?)
            }
            _ => return Ok(None),
        };
        Ok(Some((Op::Fft(Fft { tables: Some(tables), ..self.clone() }), vec![0])))
    }

    fn prepared_bytes(&self) -> u64 {
        match &self.tables {
            Some(Tables::F32(tables)) => tables.bytes() as u64,
            Some(Tables::F64(tables)) => tables.bytes() as u64,
            None => 0,
        }
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        match (call.inputs[0].dtype, &self.tables) {
            (DType::F32, Some(Tables::F32(tables))) => self.transform(call, Some(&**tables)),
            (DType::F64, Some(Tables::F64(tables))) => self.transform(call, Some(&**tables)),
            (DType::F32, _) => self.transform::<f32>(call, None),
            (DType::F64, _) => self.transform::<f64>(call, None),
            _ => return Err(super::DTYPE_DEFECT),
        }
        Ok(())
    }
}

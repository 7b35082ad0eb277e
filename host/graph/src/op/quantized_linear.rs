//! Linear layers with weights of 4 and 8 bits.

use super::{Arg, Call, Infer, Op, OpRule, last_extent};
use crate::prepared::{Known, Prepared, Source};
use crate::{Dim, GraphError, PlanError, RunError, ValueSpec};
use aimass_cpu::matmul::{PackedQuantized, QuantizedWeights, WeightBits, matmul_quantized};
use aimass_cpu::view::numbers;
use aimass_tensor::{DType, Shape};

/// `x · wᵀ + bias` with `w = (q - zero) * scale`, computed in f32; `group` successive weights of a
/// row share scale and zero point, the last group of a row may be shorter.
///
/// | tensor            | shape                        | dtype                        |
/// |-------------------|------------------------------|------------------------------|
/// | `x`               | `[.., in]`                   | f16, bf16, f32               |
/// | `q`               | `[out, in]`, known           | u8, i8; constants u4, i4 too |
/// | `scale`           | `[out, ceil(in / group)]`    | f16, bf16, f32               |
/// | `zero`, if any    | as `scale`                   | as `q`                       |
/// | `bias`, if any    | `[out]`                      | f16, bf16, f32               |
/// | output            | `[.., out]`                  | as `x`                       |
///
/// Elements of 4 bits lie two in a byte, the first in the low half, without gaps between rows.
/// Without `zero`, it is 0 for i4 and i8 and the middle, 8 or 128, for u4 and u8 (as ONNX Runtime's
/// `MatMulNBits`). Constant weights are packed when the plan is compiled, in as many bits. Each
/// output row depends on its row only and has the bits of `linear` with constant weights `w`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QuantizedLinear {
    pub(crate) group: u64,
    pub(crate) zero: bool,
    pub(crate) bias: bool,
    /// Weights, scales and zero points, which then are no inputs any more.
    pub(crate) packed: Option<Prepared<PackedQuantized>>,
}

/// Bits and sign of the elements of a dtype.
fn width(dtype: DType) -> Option<(WeightBits, bool)> {
    match dtype {
        DType::U4 => Some((WeightBits::Four, false)),
        DType::I4 => Some((WeightBits::Four, true)),
        DType::U8 => Some((WeightBits::Eight, false)),
        DType::I8 => Some((WeightBits::Eight, true)),
        _ => None,
    }
}

impl QuantizedLinear {
    /// The number of the bias among all inputs.
    fn bias_input(&self) -> usize {
        3 + usize::from(self.zero)
    }

    fn pack(
        &self,
        dtype: DType,
        shape: &Shape,
        [w, scale, zero]: [&[u8]; 3],
    ) -> Result<PackedQuantized, RunError> {
        let (bits, signed) = width(dtype).ok_or(super::DTYPE_DEFECT)?;
        let scales = if scale.is_empty() { &[] } else { numbers(scale) };
        let (n, k) = (shape[0], shape[1]);
        let group = usize::try_from(self.group).unwrap_or(usize::MAX);
        let zeros = self.zero.then_some(zero);
        let weights = QuantizedWeights { n, k, group, bits, signed, weights: w, scales, zeros };
        Ok(PackedQuantized::pack(weights))
    }
}

impl OpRule for QuantizedLinear {
    fn name(&self) -> &'static str {
        "quantized-linear"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (own, w, scale) = (x[0], x[1], x[2]);
        cx.f32_or_narrower(own)?;
        cx.rank_at_least(own, 1, "at least 1")?;
        cx.dtype(w, "weights of u8, i8, u4 or i4", |d| width(d).is_some())?;
        cx.f32_or_narrower(scale)?;
        let [Dim::Fixed(n), Dim::Fixed(k)] = w.dims[..] else {
            let expected = "weights of known extents [out, in]".to_owned();
            return Err(GraphError::Shape { op: cx.op, expected, got: w.to_string() });
        };
        if self.group == 0 {
            return Err(cx.argument("group", "at least 1", &self.group));
        }
        let groups = [Dim::Fixed(n), Dim::Fixed(k.div_ceil(self.group))];
        let zero = x.get(3).filter(|_| self.zero);
        for scaling in [Some(&scale), zero].into_iter().flatten() {
            if scaling.dims != groups {
                let expected = format!("scales and zero points of [{}, {}]", groups[0], groups[1]);
                return Err(GraphError::Shape { op: cx.op, expected, got: scaling.to_string() });
            }
        }
        if let Some(zero) = zero {
            cx.alike(w, zero)?;
        }
        let last = own.rank() - 1;
        cx.not_rows(&own.dims[last])?;
        cx.dims.same(cx.op, &own.dims[last], &w.dims[1])?;
        if let Some(bias) = x.get(self.bias_input()).filter(|_| self.bias) {
            cx.f32_or_narrower(bias)?;
            cx.extent_vector(bias, &w.dims[0])?;
        }
        let mut dims = own.dims.clone();
        dims[last] = w.dims[0].clone();
        Ok(vec![ValueSpec::new(own.dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        2 * (outputs[0].elements() as u64).saturating_mul(last_extent(&inputs[0]) as u64)
    }

    fn widens(&self) -> bool {
        true
    }

    fn prepared(&self, inputs: &[Source<'_>]) -> Result<Option<(Op, Vec<usize>)>, PlanError> {
        let end = self.bias_input();
        let known: Option<Vec<Known<'_>>> =
            inputs[1..end].iter().map(|input| input.known()).collect();
        let Some(known) = known else { return Ok(None) };
        let dtype = inputs[1].spec.dtype;
        let layout = format!("quantized-linear {} {}", self.group, self.zero);
        let packed = Prepared::of(&layout, &known, || {
            let [w, scale] = [known[0].load()?, known[1].load()?];
            let zero = known.get(2).map(|zero| zero.load()).transpose()?;
            let zero = zero.as_ref().map_or(&[][..], |zero| zero.bytes());
            self.pack(dtype, w.shape(), [w.bytes(), scale.bytes(), zero])
                .map_err(|_| PlanError::Internal("a quantized weight is no 4- or 8-bit integer"))
        })?;
        let op = QuantizedLinear { packed: Some(packed), ..self.clone() };
        let kept = std::iter::once(0).chain(end..inputs.len()).collect();
        Ok(Some((Op::QuantizedLinear(op), kept)))
    }

    fn prepared_bytes(&self) -> u64 {
        self.packed.as_ref().map_or(0, |packed| packed.bytes() as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (inputs, out) = (call.inputs, &mut call.outputs[0]);
        let bias = if self.bias { inputs.last() } else { None };
        let bias = bias.map(Arg::numbers::<f32>);
        let run = |packed: &PackedQuantized, out: &mut super::Out<'_>| {
            matmul_quantized(call.team, inputs[0].rows(), packed, bias, out.rows());
        };
        if let Some(packed) = &self.packed {
            run(packed, out);
            return Ok(());
        }
        let (w, scale) = (&inputs[1], &inputs[2]);
        let zero = if self.zero { inputs[3].bytes } else { &[] };
        run(&self.pack(w.dtype, &w.shape, [w.bytes, scale.bytes, zero])?, out);
        Ok(())
    }
}

//! Ops without a kernel for narrow floats, computed in f32.

use super::{Arg, Call, DTYPE_DEFECT, Out};
use crate::RunError;
use aimass_cpu::cast::cast;
use aimass_cpu::view::{bytes_of, bytes_of_mut};
use aimass_tensor::DType;

/// Runs an op of f16 or bf16 values in f32: inputs are widened, the first output is narrowed.
pub(crate) fn widened(
    call: &mut Call<'_, '_>,
    run: impl FnOnce(&mut Call<'_, '_>) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let is_half = |dtype| matches!(dtype, DType::F16 | DType::Bf16);
    let wide: Vec<Option<Vec<f32>>> = call
        .inputs
        .iter()
        .map(|x| {
            is_half(x.dtype).then(|| {
                let mut wide = vec![0f32; x.shape.elements()];
                cast(x.dtype, x.bytes, DType::F32, bytes_of_mut(&mut wide));
                wide
            })
        })
        .collect();
    let inputs: Vec<Arg<'_>> = call
        .inputs
        .iter()
        .zip(&wide)
        .map(|(x, wide)| match wide {
            Some(wide) => Arg { dtype: DType::F32, bytes: bytes_of(wide), ..*x },
            None => *x,
        })
        .collect();
    let out = call.outputs.first_mut().ok_or(DTYPE_DEFECT)?;
    if !is_half(out.dtype) {
        return Err(DTYPE_DEFECT);
    }
    let mut result = vec![0f32; out.shape.elements()];
    let bytes = bytes_of_mut(&mut result);
    let mut outputs = [Out { dtype: DType::F32, shape: out.shape, bytes }];
    let (outputs, team) = (&mut outputs, call.team);
    run(&mut Call { inputs: &inputs, outputs, team, in_place: false })?;
    cast(DType::F32, bytes_of(&result), out.dtype, out.bytes);
    Ok(())
}

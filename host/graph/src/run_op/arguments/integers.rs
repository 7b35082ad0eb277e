//! Ops on quantized numbers.

use super::Arguments;
use crate::{GraphBuilder, QuantizedLinearValues, RunError, ValueId};

/// Adds the op, if it is one of these.
pub(super) fn build(
    b: &mut GraphBuilder,
    name: &str,
    a: &Arguments<'_>,
) -> Result<Option<ValueId>, RunError> {
    Ok(Some(match name {
        "matmul-integer" => {
            let ([x, y], [x_zero, y_zero]) = a.values_and_named(["x-zero", "y-zero"])?;
            b.matmul_integer(x, y, x_zero, y_zero)?
        }
        "quantize" => {
            let ([x, scale], zero_point) = a.values_and()?;
            b.quantize(x, scale, zero_point, axis(a)?, a.dtype("dtype")?)?
        }
        "dequantize" => {
            let ([x, scale], zero_point) = a.values_and()?;
            b.dequantize(x, scale, zero_point, axis(a)?)?
        }
        "quantized-linear" => {
            let ([x, w, scales], [zero_points, bias]) =
                a.values_and_named(["zero-points", "bias"])?;
            let values = QuantizedLinearValues { x, w, scales, zero_points, bias };
            b.quantized_linear(values, a.count("group")?)?
        }
        _ => return Ok(None),
    }))
}

fn axis(a: &Arguments<'_>) -> Result<Option<u32>, RunError> {
    a.find("axis").is_some().then(|| a.axis("axis")).transpose()
}

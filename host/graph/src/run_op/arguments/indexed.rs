//! Ops on elements and slices by index.

use super::{Arguments, wrong};
use crate::{GraphBuilder, RunError, ScatterMode, ValueId};

/// Adds the op, if it is one of these.
pub(super) fn build(
    b: &mut GraphBuilder,
    name: &str,
    a: &Arguments<'_>,
) -> Result<Option<Vec<ValueId>>, RunError> {
    let one = match name {
        "gather-elements" => {
            let [x, indices] = a.values()?;
            b.gather_elements(x, indices, a.axis("axis")?)?
        }
        "dynamic-slice" => {
            let [x, start, end] = a.values()?;
            b.dynamic_slice(x, a.axis("axis")?, start, end)?
        }
        "gather-nd" => {
            let [x, indices] = a.values()?;
            let batch_dims = a.count_or("batch-dims", 0)?;
            let batch_dims = u32::try_from(batch_dims)
                .map_err(|_| wrong("batch-dims", "a number of axes", &batch_dims))?;
            b.gather_nd(x, indices, batch_dims)?
        }
        "scatter-elements" => {
            let [x, indices, updates] = a.values()?;
            b.scatter_elements(x, indices, updates, a.axis("axis")?, mode(a)?)?
        }
        "scatter-nd" => {
            let [x, indices, updates] = a.values()?;
            b.scatter_nd(x, indices, updates, mode(a)?)?
        }
        "non-zero" => {
            let [x] = a.values()?;
            let (indices, count) = b.non_zero(x)?;
            return Ok(Some(vec![indices, count]));
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![one]))
}

fn mode(a: &Arguments<'_>) -> Result<ScatterMode, RunError> {
    Ok(match a.text("mode")? {
        None | Some("replace") => ScatterMode::Replace,
        Some("add") => ScatterMode::Add,
        Some("mul") => ScatterMode::Mul,
        Some("max") => ScatterMode::Max,
        Some("min") => ScatterMode::Min,
        Some(other) => return Err(wrong("mode", "replace, add, mul, max or min", &other)),
    })
}

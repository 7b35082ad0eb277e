//! Positions, transforms, bags, boxes and random bits.

use super::Arguments;
use crate::{GraphBuilder, RunError, Suppression, ValueId};

/// Adds the op, if it is one of these.
pub(super) fn build(
    b: &mut GraphBuilder,
    name: &str,
    a: &Arguments<'_>,
) -> Result<Option<Vec<ValueId>>, RunError> {
    let one = match name {
        "rope" => {
            let [x, positions] = a.values()?;
            let base = a.float_or("base", 10_000.0)? as f32;
            b.rope(x, positions, a.axis("heads")?, base, a.flag("interleaved")?)?
        }
        "fft" => {
            let [x] = a.values()?;
            b.fft(x, a.axis("axis")?, a.flag("inverse")?)?
        }
        "embedding-bag" => {
            let [table, indices, offsets] = a.values()?;
            b.embedding_bag(table, indices, offsets, a.flag("mean")?)?
        }
        "random-bits" => {
            let [key] = a.values()?;
            b.random_bits(key, &a.dims("dims")?)?
        }
        "non-max-suppression-padded" | "non-max-suppression" => {
            let [boxes, scores] = a.values()?;
            let padded = name == "non-max-suppression-padded";
            let options = Suppression {
                max_per_class: usize::try_from(a.count("max-per-class")?).unwrap_or(usize::MAX),
                iou: a.float("iou")? as f32,
                score: a.float("score")? as f32,
                centered: padded && a.flag("centered")?,
            };
            if !padded {
                return Ok(Some(vec![b.non_max_suppression(boxes, scores, options)?]));
            }
            let (indices, count) = b.non_max_suppression_padded(boxes, scores, options)?;
            return Ok(Some(vec![indices, count]));
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![one]))
}

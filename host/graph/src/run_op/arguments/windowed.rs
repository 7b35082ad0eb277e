//! Convolutions, pooling, normalization of channels and resampling.

use super::{Arguments, wrong};
use crate::{BatchNormValues, ConvValues, GraphBuilder, ResizeMode, RunError, ValueId, Window};

/// Adds the op to the builder, if it is one of these.
pub(super) fn build(
    b: &mut GraphBuilder,
    name: &str,
    a: &Arguments<'_>,
) -> Result<Option<ValueId>, RunError> {
    let epsilon = || a.float("epsilon").map(|epsilon| epsilon as f32);
    Ok(Some(match name {
        "conv" | "conv-transpose" => {
            let ([x, w], bias) = a.values_and()?;
            let values = ConvValues { x, w, bias };
            let (window, groups) = (window(b, x, a)?, groups(a)?);
            if name == "conv" {
                b.conv(values, window, groups)?
            } else {
                let pads = a.list("output-pads", window.strides.len(), 0)?;
                b.conv_transpose(values, window, groups, &pads)?
            }
        }
        "max-pool" => {
            let [x] = a.values()?;
            b.max_pool(x, &a.counts("size")?, window(b, x, a)?)?
        }
        "average-pool" => {
            let [x] = a.values()?;
            b.average_pool(x, &a.counts("size")?, window(b, x, a)?, a.flag("count-pads")?)?
        }
        "batch-norm" => {
            let [x, scale, bias, mean, variance] = a.values()?;
            b.batch_norm(x, BatchNormValues { scale, bias, mean, variance }, epsilon()?)?
        }
        "group-norm" => {
            let [x, scale, bias] = a.values()?;
            b.group_norm(x, groups(a)?, scale, bias, epsilon()?)?
        }
        "resize" => {
            let [x] = a.values()?;
            let mode = match a.text("mode")? {
                None | Some("nearest") => ResizeMode::Nearest,
                Some("bilinear") => ResizeMode::Bilinear,
                Some("bicubic") => ResizeMode::Bicubic,
                Some(other) => return Err(wrong("mode", "nearest, bilinear or bicubic", &other)),
            };
            let extents = a.counts("extents")?;
            b.resize(x, &extents, mode, a.flag("antialias")?, a.flag("align-corners")?)?
        }
        "resample" => {
            let [x, indices, weights] = a.values()?;
            b.resample(x, a.axis("axis")?, indices, weights)?
        }
        _ => return Ok(None),
    }))
}

fn groups(a: &Arguments<'_>) -> Result<u32, RunError> {
    let groups = a.count_or("groups", 1)?;
    u32::try_from(groups).map_err(|_| wrong("groups", "a number of groups", &groups))
}

/// The window; what is not given is 1 a step and no padding.
fn window(b: &GraphBuilder, x: ValueId, a: &Arguments<'_>) -> Result<Window, RunError> {
    let axes = b.spec(x)?.rank().saturating_sub(2);
    Ok(Window {
        strides: a.list("strides", axes, 1)?,
        pads_before: a.list("pads-before", axes, 0)?,
        pads_after: a.list("pads-after", axes, 0)?,
        dilations: a.list("dilations", axes, 1)?,
    })
}

impl Arguments<'_> {
    fn list(&self, name: &'static str, len: usize, default: u64) -> Result<Vec<u64>, RunError> {
        match self.find(name) {
            Some(_) => self.counts(name),
            None => Ok(vec![default; len]),
        }
    }
}

//! Convolutions.

use super::window::{AutoPad, Geometry, numbers, spatial_extents, spatial_rank};
use super::{Table, one};
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid, unsupported};

pub(super) const TABLE: Table = &[
    ("CausalConvWithState", causal_conv_with_state),
    ("Conv", |cx, x| one(convolved(cx, x)?)),
    ("ConvTranspose", conv_transpose),
];

/// The attribute `group`.
pub(super) fn groups(cx: &Cx<'_>) -> R<u32> {
    let groups = cx.attr_int("group", 1)?;
    u32::try_from(groups)
        .ok()
        .filter(|groups| *groups > 0)
        .ok_or_else(|| invalid(format!("group: expected at least 1, got {groups}")))
}

/// Extents of the window that the weights `[M, C / group, ..]` have.
pub(super) fn kernel_of(cx: &Cx<'_>, x: &T, w: &T) -> R<Vec<u64>> {
    let spatial = spatial_rank(x)?;
    if w.rank() != x.rank() {
        return Err(invalid(format!("expected weights of rank {}, got {}", x.rank(), w.rank())));
    }
    let kernel = spatial_extents(w)?;
    let stated = numbers(cx, "kernel_shape", spatial, (1, 0))?;
    if cx.has("kernel_shape") && stated != kernel {
        return Err(invalid(format!("kernel_shape: expected {kernel:?}, got {stated:?}")));
    }
    Ok(kernel)
}

/// The convolution that a node says; its first three inputs are x, weights and bias.
pub(super) fn convolved(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<T> {
    let (x, w, bias) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor_opt(2)?);
    let kernel = kernel_of(cx, x, w)?;
    let geometry = Geometry::of(cx, x, kernel)?;
    let groups = groups(cx)?;
    cx.conv(x, w, bias, (&geometry.window(), groups))
}

fn conv_transpose(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, w, bias) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor_opt(2)?);
    let kernel = kernel_of(cx, x, w)?;
    let spatial = kernel.len();
    let mut geometry = Geometry::unpadded(cx, kernel)?;
    let mut more = numbers(cx, "output_padding", spatial, (0, 0))?;
    let auto = AutoPad::of(cx)?;
    match output_extents(cx, x, auto, &geometry)? {
        Some(wanted) => {
            for (axis, extent) in spatial_extents(x)?.into_iter().enumerate() {
                let fit = fit(&geometry, axis, (extent, more[axis]), (wanted[axis], auto))?;
                (geometry.before[axis], geometry.after[axis], more[axis]) = fit;
            }
        }
        None if auto == AutoPad::NotSet => {
            let pads = numbers(cx, "pads", 2 * spatial, (0, 0))?;
            let (before, after) = pads.split_at(spatial);
            (geometry.before, geometry.after) = (before.to_vec(), after.to_vec());
        }
        None => {}
    }
    let groups = groups(cx)?;
    one(cx.conv_transpose(x, w, bias, (&geometry.window(), groups, &more))?)
}

/// Spatial extents that the node asks for.
fn output_extents(cx: &Cx<'_>, x: &T, auto: AutoPad, geometry: &Geometry) -> R<Option<Vec<u64>>> {
    let spatial = geometry.kernel.len();
    if let Some(stated) = cx.attr_ints_opt("output_shape")?.filter(|stated| !stated.is_empty()) {
        // Old exporters write batch and channels, too.
        let skipped = if stated.len() == spatial + 2 { 2 } else { 0 };
        let extents = stated[skipped..].iter().map(|&extent| {
            u64::try_from(extent).map_err(|_| invalid(format!("output_shape of {extent}")))
        });
        let extents = extents.collect::<R<Vec<u64>>>()?;
        if extents.len() != spatial {
            return Err(invalid(format!(
                "output_shape: expected {spatial} numbers, got {stated:?}"
            )));
        }
        return Ok(Some(extents));
    }
    match auto {
        AutoPad::SameUpper | AutoPad::SameLower => {
            let extents = spatial_extents(x)?;
            let extents = extents.into_iter().zip(&geometry.strides);
            Ok(Some(extents.map(|(extent, stride)| extent.saturating_mul(*stride)).collect()))
        }
        AutoPad::NotSet | AutoPad::Valid => Ok(None),
    }
}

/// Pads before and after, and elements to add, that make the wanted extent.
fn fit(
    geometry: &Geometry,
    axis: usize,
    (extent, more): (u64, u64),
    (wanted, auto): (u64, AutoPad),
) -> R<(u64, u64, u64)> {
    let reach = extent.saturating_sub(1).saturating_mul(geometry.strides[axis]);
    let full = reach.saturating_add(geometry.span(axis)).saturating_add(more);
    if wanted > full {
        return Ok((0, 0, more.saturating_add(wanted - full)));
    }
    let total = full - wanted;
    Ok(match auto {
        AutoPad::SameUpper => (total / 2, total - total / 2, more),
        AutoPad::NotSet | AutoPad::SameLower | AutoPad::Valid => {
            (total - total / 2, total / 2, more)
        }
    })
}

/// A depthwise convolution that sees the past only, and what the next call has to know of it.
fn causal_conv_with_state(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, w, bias) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor_opt(2)?);
    if x.rank() != 3 || w.rank() != 3 {
        return Err(invalid(format!("expected ranks 3 and 3, got {} and {}", x.rank(), w.rank())));
    }
    let (channels, kernel) = (w.extent(0)?, w.extent(2)?);
    let past = kernel.checked_sub(1).ok_or_else(|| invalid("a kernel without elements"))?;
    let padded = match inputs.tensor_opt(3)? {
        Some(state) => cx.concat(&[state, x], 2)?,
        None => {
            let zero = crate::content::scalar(x.dtype, 0.0)?;
            let zeros = cx.broadcast(&zero, &[x.dims[0], x.dims[1], Extent::Fixed(past)])?;
            cx.concat(&[&zeros, x], 2)?
        }
    };
    let groups = u32::try_from(channels).map_err(|_| invalid("too many channels"))?;
    let geometry = Geometry {
        kernel: vec![kernel],
        strides: vec![1],
        dilations: vec![1],
        before: vec![0],
        after: vec![0],
    };
    let summed = match x.dims[2] {
        Extent::Fixed(0) => x.clone(),
        _ => cx.conv(&padded, w, bias, (&geometry.window(), groups))?,
    };
    let y = match cx.attr_text("activation", "none")? {
        "none" => summed,
        "silu" | "swish" => cx.silu(&summed)?,
        other => return Err(unsupported(format!("activation `{other}`"))),
    };
    let length = padded.extent(2)?;
    let state = cx.slice(&padded, 2, (length.saturating_sub(past), length), 1)?;
    Ok(vec![y.into(), state.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_extent_becomes_pads_or_more_elements() {
        let geometry = Geometry {
            kernel: vec![3],
            strides: vec![3],
            dilations: vec![1],
            before: vec![0],
            after: vec![0],
        };
        // Without pads, three elements cover nine.
        let fit = |wanted, auto| fit(&geometry, 0, (3, 0), (wanted, auto)).unwrap();
        assert_eq!(fit(9, AutoPad::NotSet), (0, 0, 0));
        assert_eq!(fit(10, AutoPad::NotSet), (0, 0, 1));
        assert_eq!(fit(6, AutoPad::SameUpper), (1, 2, 0));
        assert_eq!(fit(6, AutoPad::NotSet), (2, 1, 0));
    }
}

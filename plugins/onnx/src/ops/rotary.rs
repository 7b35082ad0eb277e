//! Rotary position embedding.

use super::{Table, one};
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid};

pub(super) const TABLE: Table = &[("RotaryEmbedding", rotary_embedding)];

fn rotary_embedding(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, cos, sin) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
    let interleaved = cx.attr_flag("interleaved")?;
    let rotated = cx.attr_int("rotary_embedding_dim", 0)?;
    let heads = cx.attr_int("num_heads", 0)?;
    let angles = Angles::of(cx, (cos, sin), inputs.tensor_opt(3)?)?;
    one(rotate(cx, x, &angles, (rotated, heads), interleaved)?)
}

/// Cosines and sines of every token, `[batch, tokens, half]`.
pub(super) struct Angles {
    pub(super) cos: T,
    pub(super) sin: T,
}

impl Angles {
    /// Rows of the caches at the positions, or the caches themselves.
    pub(super) fn of(cx: &mut Cx<'_>, (cos, sin): (&T, &T), positions: Option<&T>) -> R<Angles> {
        let angles = match positions {
            Some(positions) => {
                Angles { cos: cx.gather(cos, positions, 0)?, sin: cx.gather(sin, positions, 0)? }
            }
            None => Angles { cos: cos.clone(), sin: sin.clone() },
        };
        if angles.cos.rank() != 3 || angles.sin.dims != angles.cos.dims {
            let got = format!("{:?} and {:?}", angles.cos.dims, angles.sin.dims);
            return Err(invalid(format!(
                "expected cosines and sines [batch, tokens, half], got {got}"
            )));
        }
        Ok(angles)
    }

    /// With an axis for the heads.
    fn beside_heads(&self, cx: &mut Cx<'_>, axis: usize) -> R<(T, T)> {
        Ok((cx.unsqueeze(&self.cos, axis)?, cx.unsqueeze(&self.sin, axis)?))
    }
}

/// Rotates pairs of `x`, `[batch, tokens, heads * size]` or `[batch, heads, tokens, size]`.
pub(super) fn rotate(
    cx: &mut Cx<'_>,
    x: &T,
    angles: &Angles,
    (rotated, heads): (i64, i64),
    interleaved: bool,
) -> R<T> {
    let (wide, head_axis) = match x.rank() {
        4 => (x.clone(), 1),
        3 => {
            let width = x.extent(2)?;
            let heads = u64::try_from(heads).unwrap_or(0);
            if heads == 0 || width % heads != 0 {
                return Err(invalid(format!("num_heads: {heads} do not divide {width}")));
            }
            let dims = [x.dims[0], x.dims[1], Extent::Fixed(heads), Extent::Fixed(width / heads)];
            (cx.reshape(x, &dims)?, 2)
        }
        rank => return Err(invalid(format!("expected rank 3 or 4, got {rank}"))),
    };
    let size = wide.extent(3)?;
    let rotated = match u64::try_from(rotated) {
        Ok(0) | Err(_) => size,
        Ok(rotated) => rotated,
    };
    if rotated > size || rotated % 2 != 0 || angles.cos.extent(2)? != rotated / 2 {
        let got = format!("{rotated} of {size}, and {} angles", angles.cos.extent(2)?);
        return Err(invalid(format!("expected an even number of rotated elements, got {got}")));
    }
    let part = cx.slice(&wide, 3, (0, rotated), 1)?;
    let rest = cx.slice(&wide, 3, (rotated, size), 1)?;
    let (cos, sin) = angles.beside_heads(cx, head_axis)?;
    let turned = turn(cx, &part, (&cos, &sin), interleaved)?;
    let y = match rotated == size {
        true => turned,
        false => cx.concat(&[&turned, &rest], 3)?,
    };
    cx.reshape(&y, &x.dims)
}

/// Rotates all of the last axis.
fn turn(cx: &mut Cx<'_>, x: &T, (cos, sin): (&T, &T), interleaved: bool) -> R<T> {
    let size = x.extent(3)?;
    let (first, second) = match interleaved {
        true => (cx.slice(x, 3, (0, size), 2)?, cx.slice(x, 3, (1, size), 2)?),
        false => (cx.slice(x, 3, (0, size / 2), 1)?, cx.slice(x, 3, (size / 2, size), 1)?),
    };
    let (a, b) = (cx.mul(cos, &first)?, cx.mul(sin, &second)?);
    let real = cx.sub(&a, &b)?;
    let (a, b) = (cx.mul(sin, &first)?, cx.mul(cos, &second)?);
    let imaginary = cx.add(&a, &b)?;
    if !interleaved {
        return cx.concat(&[&real, &imaginary], 3);
    }
    let (real, imaginary) = (cx.unsqueeze(&real, 4)?, cx.unsqueeze(&imaginary, 4)?);
    let pairs = cx.concat(&[&real, &imaginary], 4)?;
    cx.reshape(&pairs, &x.dims)
}

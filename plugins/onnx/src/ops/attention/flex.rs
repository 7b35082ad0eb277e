//! `FlexAttention`: attention whose scores and probabilities go through graphs of the node.

use super::Heads;
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::value::{R, T, invalid};
use aimass_sdk::DType;

/// A flex attention under way.
pub(crate) struct Flex {
    heads: Heads,
    /// The type that scores and probabilities are computed in.
    wide: DType,
}

impl Flex {
    /// Reads the node; answers its scores, too.
    pub(crate) fn start(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<(Flex, T)> {
        let qkv = [inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?];
        if qkv[0].rank() != 4 {
            return Err(invalid(format!("expected rank 4, got {}", qkv[0].rank())));
        }
        let heads = Heads::new(cx, qkv, None)?;
        let default = if heads.q.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let wide = super::precision(cx)?.unwrap_or(default);
        let size = heads.q.extent(3)? as f64;
        let scale = cx.attr_float_opt("scale")?.map_or(1.0 / size.sqrt(), f64::from);
        let scores = heads.scores(cx, scale)?;
        let scores = cx.cast(&scores, wide)?;
        Ok((Flex { heads, wide }, scores))
    }

    /// The probabilities of scores that a graph may have changed.
    pub(crate) fn probabilities(&self, emitter: &mut Emitter, scores: &T) -> R<T> {
        let scores = self.checked(emitter, scores)?;
        emitter.softmax(&scores, 3)
    }

    /// The output for probabilities that a graph may have changed.
    pub(crate) fn output(&self, emitter: &mut Emitter, probabilities: &T) -> R<T> {
        let probabilities = self.checked(emitter, probabilities)?;
        let v = emitter.cast(&self.heads.v, self.wide)?;
        let y = self.heads.times(emitter, &probabilities, &v, false)?;
        emitter.cast(&y, self.heads.v.dtype)
    }

    fn checked(&self, emitter: &mut Emitter, x: &T) -> R<T> {
        let (q, k) = (&self.heads.q, &self.heads.k);
        let expected = [q.dims[0], q.dims[1], q.dims[2], k.dims[2]];
        if x.dims != expected {
            let got = format!("{:?}", x.dims);
            return Err(invalid(format!("expected a graph that answers {expected:?}, got {got}")));
        }
        emitter.cast(x, self.wide)
    }
}

//! Elements around a value.

use super::{Call, Infer, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::cast::{cast, castable};
use aimass_cpu::shape_ops::{self, PadSpec};
use aimass_tensor::DType;

/// What a padded element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    /// One given number.
    Constant,
    /// Mirrored without repeating the edge.
    Reflect,
    /// The nearest element.
    Edge,
    /// The other end. No kernel yet.
    Wrap,
}

/// Adds `before` and `after` elements at the ends of every axis (ONNX `Pad-18`); bool or numbers of
/// whole bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pad {
    pub(crate) before: Vec<u64>,
    pub(crate) after: Vec<u64>,
    pub(crate) mode: PadMode,
    pub(crate) fill: f64,
}

impl OpRule for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        cx.dtype(x, "bool or a number of whole bytes", |d| {
            d.size().is_some() && castable(DType::F64, d)
        })?;
        for pads in [&self.before, &self.after] {
            if pads.len() != x.rank() {
                return Err(cx.argument("before", "one number an axis", &pads.len()));
            }
        }
        let mut dims = Vec::with_capacity(x.rank());
        for (i, dim) in x.dims.iter().enumerate() {
            let (before, after) = (self.before[i], self.after[i]);
            if (before, after) == (0, 0) {
                dims.push(dim.clone());
                continue;
            }
            cx.not_rows(dim)?;
            match (self.mode, dim) {
                (PadMode::Constant, _) => {}
                (PadMode::Wrap, _) => {
                    return Err(GraphError::unsupported("pad", "mode wrap has no kernel yet"));
                }
                (PadMode::Reflect, Dim::Fixed(extent)) if before.max(after) < *extent => {}
                (PadMode::Edge, Dim::Fixed(extent)) if *extent > 0 => {}
                (PadMode::Reflect | PadMode::Edge, _) => {
                    return Err(cx.argument("before", "pads below a known extent", &dim));
                }
            }
            let parts = [Dim::Fixed(before), dim.clone(), Dim::Fixed(after)];
            dims.push(cx.dims.sum(cx.op, &parts)?);
        }
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        let counts = |pads: &[u64]| pads.iter().map(|&pad| pad as usize).collect::<Vec<usize>>();
        let (before, after) = (counts(&self.before), counts(&self.after));
        let mut fill = [0u8; 8];
        cast(DType::F64, &self.fill.to_le_bytes(), x.dtype, &mut fill[..size]);
        let mode = match self.mode {
            PadMode::Constant => shape_ops::PadMode::Constant(&fill[..size]),
            // Only a pad by nothing gets here with wrap.
            PadMode::Edge | PadMode::Wrap => shape_ops::PadMode::Edge,
            PadMode::Reflect => shape_ops::PadMode::Reflect,
        };
        let spec = PadSpec { size, shape: &x.shape, before: &before, after: &after, mode };
        shape_ops::pad(x.bytes, &spec, out.bytes);
        Ok(())
    }
}

//! Inputs of a plan: extents for its dimensions, and content.

use super::content;
use crate::source::Source;
use aimass_graph::{Dim, Signature};
use aimass_tensor::{DType, Shape, Tensor};
use std::collections::HashMap;
use std::ops::Range;

/// Elements that an input may have here.
const ELEMENTS_MAX: usize = 16 << 10;

/// The inputs of one run, and the extents that they have.
pub(super) struct Inputs {
    tensors: Vec<Tensor>,
    extents: HashMap<Dim, usize>,
    /// Rows of each sequence, of every ragged dimension.
    lengths: Vec<usize>,
}

impl Inputs {
    /// Extents and content out of the bytes; `None` for a signature of which no tensor can be made.
    pub(super) fn choose(signature: &Signature, source: &mut Source<'_>) -> Option<Inputs> {
        let batch = source.pick(&[2, 3, 1, 4, 7, 0]);
        let lengths: Vec<usize> = (0..batch).map(|_| source.below(6)).collect();
        let mut inputs = Inputs { tensors: Vec::new(), extents: HashMap::new(), lengths };
        inputs.extents.insert(Dim::Batch, batch);
        let dims = signature.inputs.iter().flat_map(|spec| &spec.dims);
        for dim in dims {
            let extent = match dim {
                Dim::Fixed(_) | Dim::Batch => continue,
                Dim::Ragged(_) => inputs.lengths.iter().sum(),
                Dim::Dynamic(name) if name.ends_with("+1") => batch + 1,
                Dim::Dynamic(_) => source.pick(&[3, 2, 1, 5, 9, 0]),
            };
            inputs.extents.entry(dim.clone()).or_insert(extent);
        }
        let seed = u64::from(source.byte()) << 8 | u64::from(source.byte());
        for (index, spec) in signature.inputs.iter().enumerate() {
            let extent = |dim: &Dim| match dim.fixed() {
                Some(extent) => usize::try_from(extent).ok(),
                None => inputs.extents.get(dim).copied(),
            };
            let dims: Vec<usize> = spec.dims.iter().map(extent).collect::<Option<_>>()?;
            let shape = Shape::new(&dims).ok()?;
            if shape.elements() > ELEMENTS_MAX {
                return None;
            }
            let tensor = match spec.dims.first() {
                Some(Dim::Dynamic(name)) if name.ends_with("+1") => inputs.offsets(),
                _ => content::tensor(spec.dtype, shape, seed << 8 | index as u64)?,
            };
            inputs.tensors.push(tensor);
        }
        Some(inputs)
    }

    pub(super) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Rows of a batch, which is the number of sequences.
    pub(super) fn batch(&self) -> usize {
        self.lengths.len()
    }

    /// The extent of a dimension that an input declares.
    pub(super) fn extent(&self, dim: &Dim) -> Option<usize> {
        self.extents.get(dim).copied()
    }

    /// Rows of the ragged dimension that belong to these sequences.
    pub(super) fn rows(&self, sequences: Range<usize>) -> Range<usize> {
        let before: usize = self.lengths[..sequences.start].iter().sum();
        before..before + self.lengths[sequences].iter().sum::<usize>()
    }

    /// The part of every input that belongs to these items.
    pub(super) fn part(&self, signature: &Signature, items: Range<usize>) -> Vec<Tensor> {
        let part = |(spec, tensor): (&aimass_graph::TensorSpec, &Tensor)| match spec.dims.first() {
            Some(Dim::Batch) => tensor.rows(items.clone()),
            Some(Dim::Ragged(_)) => tensor.rows(self.rows(items.clone())),
            Some(Dim::Dynamic(name)) if name.ends_with("+1") => {
                offsets(&self.lengths[items.clone()])
            }
            Some(Dim::Fixed(_) | Dim::Dynamic(_)) | None => tensor.clone(),
        };
        signature.inputs.iter().zip(&self.tensors).map(part).collect()
    }

    fn offsets(&self) -> Tensor {
        offsets(&self.lengths)
    }
}

fn offsets(lengths: &[usize]) -> Tensor {
    let mut ends = vec![0u32];
    ends.extend(lengths.iter().scan(0u32, |end, &length| {
        *end += length as u32;
        Some(*end)
    }));
    let tensor = Tensor::from_slice(&[ends.len()], &ends);
    tensor.unwrap_or_else(|error| panic!("{} offsets: {error}", DType::U32))
}

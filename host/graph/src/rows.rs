//! Joining the inputs of several calls along the row dimension, and splitting batches again.

use crate::plan::{Coalescing, Plan};
use crate::{Dim, Signature, TensorSpec};
use aimass_tensor::{BufferMut, DType, Tensor};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::Range;

/// Rows of one call within a joined batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowExtent {
    /// Rows of ragged dimensions.
    pub ragged: Range<usize>,
    /// Rows of batch dimensions: items, or sequences of a ragged plan.
    pub batch: Range<usize>,
}

/// How the inputs and outputs of a plan have rows; worked out once a plan.
#[derive(Debug, Clone)]
pub struct RowRule {
    inputs: Vec<RowClass>,
    outputs: Vec<RowClass>,
}

impl RowRule {
    /// The rule of a signature.
    pub fn of(signature: &Signature) -> RowRule {
        let class = |spec: &TensorSpec| row_class(signature, spec);
        RowRule {
            inputs: signature.inputs.iter().map(class).collect(),
            outputs: signature.outputs.iter().map(class).collect(),
        }
    }

    /// What must be equal for two calls to share a launch: everything but the extent of axis 0 of row
    /// tensors, and the content of inputs that have no row dimension.
    ///
    /// The hash is keyed by `state`, so that nobody can prepare inputs that collide.
    pub fn compatibility(&self, inputs: &[Tensor], state: &RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        for (class, tensor) in self.inputs.iter().zip(inputs) {
            tensor.dtype().hash(&mut hasher);
            match class {
                RowClass::None => {
                    tensor.shape().hash(&mut hasher);
                    tensor.bytes().hash(&mut hasher);
                }
                RowClass::Offsets => {}
                RowClass::Batch | RowClass::Ragged => tensor.shape()[1..].hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// Hash of all extents, but for the number of rows if the plan joins calls: those of one class
    /// cost the same a row.
    pub fn shape_class(&self, inputs: &[Tensor], joins: bool, state: &RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        for (class, tensor) in self.inputs.iter().zip(inputs) {
            match class {
                RowClass::Offsets if joins => {}
                RowClass::Batch | RowClass::Ragged if joins => {
                    tensor.shape()[1..].hash(&mut hasher)
                }
                RowClass::None | RowClass::Offsets | RowClass::Batch | RowClass::Ragged => {
                    tensor.shape().hash(&mut hasher)
                }
            }
        }
        hasher.finish()
    }

    /// Rows and items of one call: `(ragged rows, batch items)`.
    pub fn extents(&self, inputs: &[Tensor]) -> (usize, usize) {
        let (mut ragged, mut batch) = (0, 0);
        for (class, tensor) in self.inputs.iter().zip(inputs) {
            match class {
                RowClass::Offsets => batch = tensor.shape().elements().saturating_sub(1),
                RowClass::Ragged => ragged = tensor.shape()[0],
                RowClass::Batch => batch = tensor.shape()[0],
                RowClass::None => {}
            }
        }
        (ragged, batch)
    }

    /// Where each call's rows lie in the joined inputs.
    pub fn parts(&self, calls: &[&[Tensor]]) -> Vec<RowExtent> {
        let (mut ragged_end, mut batch_end) = (0, 0);
        let part = |inputs: &&[Tensor]| {
            let (ragged, batch) = self.extents(inputs);
            let part = RowExtent {
                ragged: ragged_end..ragged_end + ragged,
                batch: batch_end..batch_end + batch,
            };
            (ragged_end, batch_end) = (part.ragged.end, part.batch.end);
            part
        };
        calls.iter().map(part).collect()
    }

    /// The inputs of all calls as one; `parts` are those of the same calls.
    ///
    /// # Panics
    /// If there is no call, or inputs do not fit their plan or each other: check them, and compare
    /// [`RowRule::compatibility`], first.
    pub fn join(&self, calls: &[&[Tensor]], parts: &[RowExtent]) -> Vec<Tensor> {
        let joined = self.inputs.iter().enumerate().map(|(index, class)| {
            let tensors = calls.iter().map(|inputs| &inputs[index]);
            match class {
                RowClass::None => calls[0][index].clone(),
                RowClass::Offsets => joined_offsets(tensors, parts),
                RowClass::Batch | RowClass::Ragged => concatenated(tensors),
            }
        });
        joined.collect()
    }

    /// One call's part of the outputs of a joined batch; shares their memory.
    pub fn split(&self, outputs: &[Tensor], part: &RowExtent) -> Vec<Tensor> {
        let rows = self.outputs.iter().zip(outputs).map(|(class, tensor)| match class {
            RowClass::Ragged => tensor.rows(part.ragged.clone()),
            RowClass::Batch => tensor.rows(part.batch.clone()),
            RowClass::None | RowClass::Offsets => tensor.clone(),
        });
        rows.collect()
    }

    /// A batch as two of half its items, or half its sequences; none of a single one. Inputs fit their
    /// plan.
    pub fn halves(&self, inputs: &[Tensor]) -> Option<[Vec<Tensor>; 2]> {
        let (ragged, batch) = self.extents(inputs);
        if batch < 2 || self.outputs.iter().any(|class| matches!(class, RowClass::Offsets)) {
            return None;
        }
        let half = batch / 2;
        let offsets = self.inputs.iter().zip(inputs).find_map(|(class, tensor)| match class {
            RowClass::Offsets => tensor.as_slice::<u32>().ok(),
            RowClass::Batch | RowClass::Ragged | RowClass::None => None,
        });
        let middle = offsets.and_then(|ends| ends.get(half)).map_or(0, |&end| end as usize);
        let first = RowExtent { ragged: 0..middle, batch: 0..half };
        let second = RowExtent { ragged: middle..ragged, batch: half..batch };
        Some([self.cut(inputs, &first)?, self.cut(inputs, &second)?])
    }

    /// A part of the inputs of a batch, as a batch of its own.
    fn cut(&self, inputs: &[Tensor], part: &RowExtent) -> Option<Vec<Tensor>> {
        let cut = self.inputs.iter().zip(inputs).map(|(class, tensor)| match class {
            RowClass::None => Some(tensor.clone()),
            RowClass::Batch => Some(tensor.rows(part.batch.clone())),
            RowClass::Ragged => Some(tensor.rows(part.ragged.clone())),
            RowClass::Offsets => {
                let all = tensor.as_slice::<u32>().ok()?.get(part.batch.start..=part.batch.end)?;
                let own: Vec<u32> = all.iter().map(|end| end - all[0]).collect();
                Tensor::from_slice(&[own.len()], &own).ok()
            }
        });
        cut.collect()
    }

    /// The outputs of parts that follow each other, as one.
    ///
    /// # Panics
    /// If there is no part, or outputs are not those of one plan.
    pub fn join_outputs(&self, parts: &[Vec<Tensor>]) -> Vec<Tensor> {
        let joined = self.outputs.iter().enumerate().map(|(index, class)| match class {
            RowClass::None | RowClass::Offsets => parts[0][index].clone(),
            RowClass::Batch | RowClass::Ragged => {
                concatenated(parts.iter().map(|outputs| &outputs[index]))
            }
        });
        joined.collect()
    }
}

impl Plan {
    /// Whether calls may be joined, and a batch be taken apart, without another answer: along what
    /// [`Plan::coalescing`] says, and only without states.
    pub fn joins(&self) -> bool {
        match self.coalescing() {
            Coalescing::Batch | Coalescing::Ragged { .. } => !self.has_state(),
            Coalescing::Alone { .. } => false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum RowClass {
    None,
    Batch,
    Ragged,
    Offsets,
}

fn row_class(signature: &Signature, spec: &TensorSpec) -> RowClass {
    let names_offsets = |other: &TensorSpec| {
        other.dims.iter().any(|dim| matches!(dim, Dim::Ragged(name) if *name == spec.name))
    };
    if signature.inputs.iter().chain(&signature.outputs).any(names_offsets) {
        return RowClass::Offsets;
    }
    match spec.dims.first() {
        Some(Dim::Batch) => RowClass::Batch,
        Some(Dim::Ragged(_)) => RowClass::Ragged,
        Some(Dim::Fixed(_) | Dim::Dynamic(_)) | None => RowClass::None,
    }
}

fn joined_offsets<'a>(tensors: impl Iterator<Item = &'a Tensor>, parts: &[RowExtent]) -> Tensor {
    let mut all = vec![0u32];
    for (tensor, part) in tensors.zip(parts) {
        let own = tensor.as_slice::<u32>().expect("Plan::check saw u32 offsets");
        all.extend(own.iter().skip(1).map(|&end| end + part.ragged.start as u32));
    }
    Tensor::from_slice(&[all.len()], &all).expect("as many offsets as the shape says")
}

fn concatenated<'a>(tensors: impl Iterator<Item = &'a Tensor> + Clone) -> Tensor {
    let first = tensors.clone().next().expect("a batch has a call");
    debug_assert_ne!(first.dtype(), DType::Bytes, "strings never enter a plan");
    let rows = tensors.clone().map(|tensor| tensor.shape()[0]).sum();
    let mut block = BufferMut::uninit(tensors.clone().map(|tensor| tensor.bytes().len()).sum());
    let mut rest = block.as_mut_slice();
    for tensor in tensors {
        let (part, tail) = rest.split_at_mut(tensor.bytes().len());
        part.copy_from_slice(tensor.bytes());
        rest = tail;
    }
    let shape = first.shape().with_rows(rows).expect("the batch's rows are bounded");
    Tensor::new(first.dtype(), shape, block.freeze()).expect("bytes of equal rows")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn spec(name: &str, dtype: DType, dims: Vec<Dim>) -> TensorSpec {
        TensorSpec { name: Arc::from(name), dtype, dims }
    }

    fn ragged_signature() -> Signature {
        let ragged = || Dim::Ragged(Arc::from("offsets"));
        Signature {
            inputs: vec![
                spec("ids", DType::I32, vec![ragged()]),
                spec("offsets", DType::U32, vec![Dim::Dynamic(Arc::from("n"))]),
            ],
            outputs: vec![
                spec("hidden", DType::F32, vec![ragged(), Dim::Fixed(2)]),
                spec("pooled", DType::F32, vec![Dim::Batch, Dim::Fixed(2)]),
            ],
        }
    }

    fn call(ids: &[i32], offsets: &[u32]) -> Vec<Tensor> {
        vec![
            Tensor::from_slice(&[ids.len()], ids).unwrap(),
            Tensor::from_slice(&[offsets.len()], offsets).unwrap(),
        ]
    }

    #[test]
    fn ragged_calls_join_tokens_and_offsets_and_split_again() {
        let signature = ragged_signature();
        let (a, b) = (call(&[1, 2, 3], &[0, 1, 3]), call(&[4], &[0, 0, 1]));
        let rule = RowRule::of(&signature);
        let parts = rule.parts(&[&a, &b]);
        let joined = rule.join(&[&a, &b], &parts);
        assert_eq!(joined[0].as_slice::<i32>().unwrap(), [1, 2, 3, 4]);
        assert_eq!(joined[1].as_slice::<u32>().unwrap(), [0, 1, 3, 3, 4]);
        let hidden = Tensor::from_slice(&[4, 2], &[0f32, 0., 1., 1., 2., 2., 3., 3.]).unwrap();
        let pooled = Tensor::from_slice(&[4, 2], &[0f32, 0., 1., 1., 2., 2., 3., 3.]).unwrap();
        let second = rule.split(&[hidden, pooled], &parts[1]);
        assert_eq!(second[0].as_slice::<f32>().unwrap(), [3., 3.]);
        assert_eq!(second[1].as_slice::<f32>().unwrap(), [2., 2., 3., 3.]);
    }

    #[test]
    fn halves_are_batches_whose_outputs_join_to_those_of_the_whole() {
        let rule = RowRule::of(&ragged_signature());
        let whole = call(&[1, 2, 3, 4, 5], &[0, 1, 3, 3, 5]);
        let [a, b] = rule.halves(&whole).unwrap();
        assert_eq!(a[0].as_slice::<i32>().unwrap(), [1, 2, 3]);
        assert_eq!(a[1].as_slice::<u32>().unwrap(), [0, 1, 3]);
        assert_eq!(b[0].as_slice::<i32>().unwrap(), [4, 5]);
        assert_eq!(b[1].as_slice::<u32>().unwrap(), [0, 0, 2]);
        let [_, last] = rule.halves(&b).unwrap();
        assert_eq!(last[0].as_slice::<i32>().unwrap(), [4, 5]);
        assert!(rule.halves(&last).is_none(), "one sequence is not taken apart");
        let outputs = |rows: &[f32], pooled: &[f32]| {
            let of = |values: &[f32]| Tensor::from_slice(&[values.len() / 2, 2], values).unwrap();
            vec![of(rows), of(pooled)]
        };
        let parts =
            [outputs(&[1., 1., 2., 2., 3., 3.], &[7., 7.]), outputs(&[], &[8., 8., 9., 9.])];
        let joined = rule.join_outputs(&parts);
        assert_eq!(joined[0].as_slice::<f32>().unwrap(), [1., 1., 2., 2., 3., 3.]);
        assert_eq!(joined[1].as_slice::<f32>().unwrap(), [7., 7., 8., 8., 9., 9.]);
    }

    #[test]
    fn other_extents_and_constant_inputs_must_be_equal() {
        let signature = Signature {
            inputs: vec![
                spec("x", DType::F32, vec![Dim::Batch, Dim::Dynamic(Arc::from("n"))]),
                spec("scale", DType::F32, vec![Dim::Fixed(1)]),
            ],
            outputs: vec![],
        };
        let inputs = |rows: usize, n: usize, scale: f32| {
            vec![
                Tensor::from_slice(&[rows, n], &vec![0f32; rows * n]).unwrap(),
                Tensor::from_slice(&[1], &[scale]).unwrap(),
            ]
        };
        let state = RandomState::new();
        let rule = RowRule::of(&signature);
        let of = |inputs: &[Tensor]| rule.compatibility(inputs, &state);
        assert_eq!(of(&inputs(1, 4, 1.0)), of(&inputs(3, 4, 1.0)));
        assert_ne!(of(&inputs(1, 4, 1.0)), of(&inputs(1, 5, 1.0)));
        assert_ne!(of(&inputs(1, 4, 1.0)), of(&inputs(1, 4, 2.0)));
    }

    #[test]
    fn rows_are_no_part_of_a_shape_class_if_they_are_joined() {
        let rule = RowRule::of(&ragged_signature());
        let (state, short, long) =
            (RandomState::new(), call(&[1], &[0, 1]), call(&[1, 2], &[0, 2]));
        let class = |inputs: &[Tensor], joins| rule.shape_class(inputs, joins, &state);
        assert_eq!(class(&short, true), class(&long, true));
        assert_ne!(class(&short, false), class(&long, false));
    }
}

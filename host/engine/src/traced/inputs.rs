//! The inputs of a traced model, checked without allocation beyond one list of extents.

use crate::{EngineError, Family};
use aimass_graph::Dim;
use aimass_sandbox::{PluginSignature, PluginTensorSpec};
use aimass_tensor::{DType, Shape, Tensor};
use std::sync::Arc;

/// What the signature says about the inputs.
pub(crate) struct InputRules {
    inputs: Vec<InputRule>,
    /// Names of the extents that are not fixed: `batch` and those of dynamic dimensions.
    variables: Vec<Arc<str>>,
}

struct InputRule {
    name: Arc<str>,
    dtype: DType,
    /// `None` accepts any shape.
    extents: Option<Vec<Extent>>,
    /// Whether axis 0 is the batch.
    batch: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Fixed(usize),
    /// Index of a variable: equal wherever it comes.
    Variable(usize),
}

/// The variable of `batch` dimensions.
const BATCH: usize = 0;

impl InputRules {
    /// The rules of a signature; the sandbox has checked that every input has a dtype.
    pub(crate) fn of(signature: &PluginSignature) -> InputRules {
        let mut rules = InputRules { inputs: Vec::new(), variables: vec![Arc::from("batch")] };
        for spec in &signature.inputs {
            let extents = spec.dims.as_ref().map(|dims| rules.extents(dims));
            rules.inputs.push(InputRule {
                name: spec.name.clone(),
                dtype: spec.dtype.unwrap_or(DType::Bytes),
                extents,
                batch: starts_with_batch(spec),
            });
        }
        rules
    }

    fn extents(&mut self, dims: &[Dim]) -> Vec<Extent> {
        let extent = |dim: &Dim| match dim {
            Dim::Fixed(extent) => Extent::Fixed(usize::try_from(*extent).unwrap_or(usize::MAX)),
            Dim::Batch => Extent::Variable(BATCH),
            Dim::Ragged(name) | Dim::Dynamic(name) => {
                let known = self.variables.iter().skip(1).position(|known| known == name);
                Extent::Variable(known.map_or_else(
                    || {
                        self.variables.push(name.clone());
                        self.variables.len() - 1
                    },
                    |index| index + 1,
                ))
            }
        };
        dims.iter().map(extent).collect()
    }

    /// Names and dtypes, in the order of the signature.
    pub(crate) fn names_and_dtypes(&self) -> impl Iterator<Item = (&Arc<str>, DType)> {
        self.inputs.iter().map(|rule| (&rule.name, rule.dtype))
    }

    /// Whether axis 0 of this input is the batch.
    pub(crate) fn is_batch(&self, input: usize) -> bool {
        self.inputs.get(input).is_some_and(|rule| rule.batch)
    }

    /// The shapes of a batch of 1, if nothing else is open.
    pub(crate) fn shapes_of_batch_one(&self) -> Option<Vec<Shape>> {
        let extent = |extent: &Extent| match *extent {
            Extent::Fixed(extent) => Some(extent),
            Extent::Variable(BATCH) => Some(1),
            Extent::Variable(_) => None,
        };
        let shape = |rule: &InputRule| {
            let extents: Option<Vec<usize>> = rule.extents.as_ref()?.iter().map(extent).collect();
            Shape::new(&extents?).ok()
        };
        self.inputs.iter().map(shape).collect()
    }

    /// Checks tensors, one for each input in the order of the signature: dtype, rank, fixed extents,
    /// equal extents where the names are equal.
    ///
    /// # Errors
    /// Invalid input that names the input, what was expected and what came.
    pub(crate) fn check(&self, inputs: &[Tensor]) -> Result<(), EngineError> {
        if inputs.len() != self.inputs.len() {
            let (expected, got) = (self.inputs.len(), inputs.len());
            return Err(wrong(format!("expected {expected} inputs, got {got}")));
        }
        let mut bound: Vec<Option<usize>> = vec![None; self.variables.len()];
        for (rule, tensor) in self.inputs.iter().zip(inputs) {
            let (name, dtype, shape) = (&rule.name, tensor.dtype(), tensor.shape());
            if dtype != rule.dtype {
                return Err(wrong(format!("input {name}: expected {}, got {dtype}", rule.dtype)));
            }
            let Some(extents) = &rule.extents else { continue };
            if extents.len() != shape.rank() {
                let expected = extents.len();
                return Err(wrong(format!(
                    "input {name}: expected {expected} dimensions, got shape {shape}"
                )));
            }
            for (axis, (extent, &got)) in extents.iter().zip(shape.iter()).enumerate() {
                let (expected, said) = match *extent {
                    Extent::Fixed(fixed) => (fixed, ""),
                    Extent::Variable(index) => {
                        (*bound[index].get_or_insert(got), &*self.variables[index])
                    }
                };
                if expected != got {
                    return Err(wrong(format!(
                        "input {name}: expected {expected} at axis {axis}{}{said}, got shape {shape}",
                        if said.is_empty() { "" } else { ", as everywhere for " },
                    )));
                }
            }
        }
        Ok(())
    }
}

fn starts_with_batch(spec: &PluginTensorSpec) -> bool {
    spec.dims.as_ref().and_then(|dims| dims.first()) == Some(&Dim::Batch)
}

fn wrong(message: String) -> EngineError {
    EngineError::new(Family::InvalidInput, "wrong-input", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dims: Option<&[Dim]>) -> PluginTensorSpec {
        PluginTensorSpec {
            name: name.into(),
            dtype: Some(DType::F32),
            dims: dims.map(<[Dim]>::to_vec),
            description: String::new(),
        }
    }

    fn rules(inputs: Vec<PluginTensorSpec>) -> InputRules {
        InputRules::of(&PluginSignature { inputs, outputs: Vec::new() })
    }

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::from_slice(shape, &vec![0f32; shape.iter().product()]).unwrap()
    }

    #[test]
    fn inputs_are_checked_by_dtype_rank_fixed_and_equal_extents() {
        let n = Dim::Dynamic("n".into());
        let rules = rules(vec![
            spec("x", Some(&[Dim::Batch, n.clone(), Dim::Fixed(2)])),
            spec("y", Some(&[Dim::Batch, n])),
            spec("z", None),
        ]);
        let check = |x: &[usize], y: &[usize]| {
            let inputs = [zeros(x), zeros(y), zeros(&[7])];
            rules.check(&inputs).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[3, 5, 2], &[3, 5]), Ok(()));
        assert!(check(&[3, 5, 1], &[3, 5]).unwrap_err().contains("expected 2 at axis 2"));
        assert!(check(&[3, 5, 2], &[4, 5]).unwrap_err().contains("for batch"));
        assert!(check(&[3, 5, 2], &[3, 6]).unwrap_err().contains("for n"));
        assert!(check(&[3, 5], &[3, 5]).unwrap_err().contains("3 dimensions"));
        assert!(rules.check(&[zeros(&[1, 1, 2])]).is_err());
        let ints = Tensor::from_slice(&[1, 1], &[0i64]).unwrap();
        let error = rules.check(&[zeros(&[1, 1, 2]), ints, zeros(&[1])]).unwrap_err();
        assert!(error.to_string().contains("input y: expected f32"), "{error}");
        assert_eq!(error.family(), Family::InvalidInput);
    }

    #[test]
    fn a_batch_of_one_is_known_where_all_else_is_fixed() {
        let fixed =
            rules(vec![spec("x", Some(&[Dim::Batch, Dim::Fixed(4)])), spec("y", Some(&[]))]);
        let shapes = fixed.shapes_of_batch_one().unwrap();
        assert_eq!((&shapes[0][..], &shapes[1][..]), (&[1usize, 4][..], &[][..]));
        assert!(
            rules(vec![spec("x", Some(&[Dim::Dynamic("n".into())]))])
                .shapes_of_batch_one()
                .is_none()
        );
        assert!(rules(vec![spec("x", None)]).shapes_of_batch_one().is_none());
    }
}

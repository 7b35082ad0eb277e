//! What is known about the values of a trace: names, dtypes, dimensions. Whatever a guest says about
//! them is held against this before anything is compiled.

use super::TracedInput;
use crate::signature::{PluginSignature, PluginTensorSpec};
use crate::worlds::convert::check_name;
use aimass_graph::{Dim, Signature, TensorSpec};
use aimass_tensor::{DType, Shape, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// Values of one trace at most.
const VALUES_MAX: usize = 65_536;
/// Values that one stage may observe at most.
const OBSERVE_MAX: usize = 64;

/// The values of a trace so far, by name.
pub(crate) struct Values {
    /// Whether `batch` dimensions stand for any extent.
    batched: bool,
    values: HashMap<Arc<str>, Value>,
}

struct Value {
    dtype: DType,
    dims: Vec<Dim>,
}

impl Values {
    /// The inputs of a call, of which dtypes and shapes fit the signature.
    pub(crate) fn of_inputs(
        signature: &PluginSignature,
        inputs: &[TracedInput],
        batched: bool,
    ) -> Values {
        let value = |(spec, input): (&PluginTensorSpec, &TracedInput)| {
            let mut dims = fixed(&input.shape);
            let first = spec.dims.as_ref().and_then(|dims| dims.first());
            if let (true, Some(Dim::Batch), Some(dim)) = (batched, first, dims.first_mut()) {
                *dim = Dim::Batch;
            }
            (input.name.clone(), Value { dtype: input.dtype, dims })
        };
        Values { batched, values: signature.inputs.iter().zip(inputs).map(value).collect() }
    }

    /// Whether `batch` dimensions stand for any extent.
    pub(crate) fn batched(&self) -> bool {
        self.batched
    }

    /// Adds a tensor that the guest knows by itself.
    ///
    /// # Errors
    /// A name that is empty, too long or given already; too many values.
    pub(crate) fn add_known(&mut self, name: &Arc<str>, tensor: &Tensor) -> Result<(), String> {
        self.add(name, Value { dtype: tensor.dtype(), dims: fixed(tensor.shape()) })
    }

    /// Checks that the inputs of a graph are values that exist with this dtype and these dimensions,
    /// and adds its outputs.
    ///
    /// # Errors
    /// What was expected and what came, in words.
    pub(crate) fn add_graph(&mut self, signature: &Signature) -> Result<(), String> {
        for input in &signature.inputs {
            self.check_input(input)?;
        }
        for output in &signature.outputs {
            let value = Value { dtype: output.dtype, dims: output.dims.clone() };
            self.add(&output.name, value)?;
        }
        Ok(())
    }

    /// Checks what a stage wants to observe.
    ///
    /// # Errors
    /// More than 64 values, one that does not exist, or one asked for twice.
    pub(crate) fn check_observed(&self, names: &[Arc<str>]) -> Result<(), String> {
        if names.len() > OBSERVE_MAX {
            return Err(format!("expected at most {OBSERVE_MAX} to observe, got {}", names.len()));
        }
        for (index, name) in names.iter().enumerate() {
            if !self.values.contains_key(name) {
                return Err(format!("it observes `{name}`, which is no value of the trace"));
            }
            if names[..index].contains(name) {
                return Err(format!("it observes `{name}` twice"));
            }
        }
        Ok(())
    }

    /// Checks that the values hold every output of the model.
    ///
    /// # Errors
    /// The output that is missing, or has another dtype, rank or extent.
    pub(crate) fn check_outputs(&self, outputs: &[PluginTensorSpec]) -> Result<(), String> {
        for spec in outputs {
            let name = &spec.name;
            let Some(value) = self.values.get(name) else {
                return Err(format!("the last stage leaves no value for the output `{name}`"));
            };
            if spec.dtype.is_some_and(|expected| expected != value.dtype) {
                let expected = spec.dtype.map_or("any", DType::name);
                return Err(format!("`{name}`: expected dtype {expected}, got {}", value.dtype));
            }
            let Some(dims) = &spec.dims else { continue };
            let fits = dims.len() == value.dims.len()
                && dims.iter().zip(&value.dims).all(|(dim, got)| self.fits(dim, got));
            if !fits {
                return Err(format!(
                    "`{name}`: expected {}, got {}",
                    list(dims),
                    list(&value.dims)
                ));
            }
        }
        Ok(())
    }

    /// Whether a dimension that the signature promises can be this one.
    fn fits(&self, promised: &Dim, got: &Dim) -> bool {
        match promised {
            Dim::Fixed(_) => got == promised,
            Dim::Batch => !self.batched || got.is_rows(),
            Dim::Ragged(_) | Dim::Dynamic(_) => true,
        }
    }

    fn check_input(&self, input: &TensorSpec) -> Result<(), String> {
        let name = &input.name;
        let Some(value) = self.values.get(name) else {
            return Err(format!("its graph takes `{name}`, which is no value of the trace"));
        };
        if value.dtype != input.dtype {
            let (expected, got) = (value.dtype, input.dtype);
            return Err(format!("its graph takes `{name}` as {got}, but it is {expected}"));
        }
        let known = value.dims.iter().all(|dim| match dim {
            Dim::Fixed(_) | Dim::Batch => true,
            Dim::Ragged(_) | Dim::Dynamic(_) => false,
        });
        if known && value.dims == input.dims {
            return Ok(());
        }
        let (expected, got) = (list(&value.dims), list(&input.dims));
        Err(format!("its graph takes `{name}` as {got}, but it is {expected}"))
    }

    fn add(&mut self, name: &Arc<str>, value: Value) -> Result<(), String> {
        check_name(name)?;
        if self.values.len() >= VALUES_MAX {
            return Err(format!("expected at most {VALUES_MAX} values in one trace"));
        }
        if self.values.insert(name.clone(), value).is_some() {
            return Err(format!("expected new names of values, got `{name}` again"));
        }
        Ok(())
    }
}

fn fixed(shape: &Shape) -> Vec<Dim> {
    shape.iter().map(|&extent| Dim::Fixed(extent as u64)).collect()
}

fn list(dims: &[Dim]) -> String {
    let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
    format!("[{}]", dims.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dtype: DType, dims: &[Dim]) -> PluginTensorSpec {
        let dims = Some(dims.to_vec());
        PluginTensorSpec { name: name.into(), dtype: Some(dtype), dims, description: String::new() }
    }

    fn port(name: &str, dtype: DType, dims: &[Dim]) -> TensorSpec {
        TensorSpec { name: name.into(), dtype, dims: dims.to_vec() }
    }

    fn values(batched: bool) -> Values {
        let inputs = vec![spec("x", DType::F32, &[Dim::Batch, Dim::Dynamic("n".into())])];
        let signature = PluginSignature { inputs, outputs: Vec::new() };
        let shape = Shape::new(&[2, 3]).unwrap();
        let input = TracedInput { name: "x".into(), dtype: DType::F32, shape };
        Values::of_inputs(&signature, &[input], batched)
    }

    fn graph(inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Signature {
        Signature { inputs: inputs.to_vec(), outputs: outputs.to_vec() }
    }

    #[test]
    fn the_inputs_of_a_graph_are_values_as_they_are() {
        let fixed = [Dim::Fixed(2), Dim::Fixed(3)];
        let rows = [Dim::Batch, Dim::Fixed(3)];
        let take = |batched, dtype, dims: &[Dim]| {
            values(batched).add_graph(&graph(&[port("x", dtype, dims)], &[]))
        };
        assert_eq!(take(false, DType::F32, &fixed), Ok(()));
        assert_eq!(take(true, DType::F32, &rows), Ok(()));
        assert!(take(false, DType::F32, &rows).unwrap_err().contains("[batch, 3]"));
        assert!(take(true, DType::F32, &fixed).unwrap_err().contains("it is [batch, 3]"));
        assert!(take(false, DType::I64, &fixed).is_err());
        assert!(take(false, DType::F32, &fixed[..1]).is_err());
        let unknown = graph(&[port("z", DType::F32, &fixed)], &[]);
        assert!(values(false).add_graph(&unknown).unwrap_err().contains("`z`"));
    }

    #[test]
    fn a_value_of_unknown_extent_enters_no_later_graph() {
        let dynamic = [Dim::Dynamic("m".into())];
        let mut values = values(false);
        values.add_graph(&graph(&[], &[port("y", DType::F32, &dynamic)])).unwrap();
        for dims in [&dynamic[..], &[Dim::Fixed(4)]] {
            assert!(values.add_graph(&graph(&[port("y", DType::F32, dims)], &[])).is_err());
        }
    }

    #[test]
    fn names_of_values_are_given_once() {
        let mut values = values(false);
        let tensor = Tensor::from_slice(&[1], &[1f32]).unwrap();
        assert!(values.add_known(&"x".into(), &tensor).unwrap_err().contains("again"));
        assert_eq!(values.add_known(&"k".into(), &tensor), Ok(()));
        let again = graph(&[], &[port("k", DType::F32, &[])]);
        assert!(values.add_graph(&again).is_err());
        assert!(values.add_known(&"".into(), &tensor).is_err());
    }

    #[test]
    fn there_is_an_end_to_the_values_of_a_trace() {
        let mut values = values(false);
        let tensor = Tensor::from_slice(&[1], &[1f32]).unwrap();
        for index in 1..VALUES_MAX {
            values.add_known(&index.to_string().into(), &tensor).unwrap();
        }
        let more = values.add_known(&"one more".into(), &tensor);
        assert!(more.unwrap_err().contains("at most 65536"));
    }

    #[test]
    fn only_values_are_observed_and_each_once() {
        let values = values(false);
        let check = |names: &[&str]| {
            values.check_observed(&names.iter().map(|&name| name.into()).collect::<Vec<_>>())
        };
        assert_eq!(check(&["x"]), Ok(()));
        assert!(check(&["y"]).is_err());
        assert!(check(&["x", "x"]).unwrap_err().contains("twice"));
        assert!(check(&["x"; 65]).unwrap_err().contains("at most 64"));
    }

    #[test]
    fn the_last_stage_leaves_what_the_signature_promises() {
        let check =
            |batched, dtype, dims: &[Dim]| values(batched).check_outputs(&[spec("x", dtype, dims)]);
        assert_eq!(check(false, DType::F32, &[Dim::Batch, Dim::Fixed(3)]), Ok(()));
        assert_eq!(check(true, DType::F32, &[Dim::Batch, Dim::Dynamic("n".into())]), Ok(()));
        assert!(check(false, DType::F32, &[Dim::Batch, Dim::Fixed(4)]).is_err());
        assert!(check(false, DType::F32, &[Dim::Batch]).is_err());
        assert!(check(false, DType::I64, &[Dim::Batch, Dim::Fixed(3)]).is_err());
        let absent = values(false).check_outputs(&[spec("y", DType::F32, &[])]);
        assert!(absent.unwrap_err().contains("output `y`"));
        let mut frozen = values(true);
        let tensor = Tensor::from_slice(&[2], &[1f32, 2.0]).unwrap();
        frozen.add_known(&"k".into(), &tensor).unwrap();
        assert!(frozen.check_outputs(&[spec("k", DType::F32, &[Dim::Batch])]).is_err());
    }
}

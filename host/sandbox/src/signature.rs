//! What a plugin says about its inputs and outputs, and the check of tensors against it.

use crate::trace::TracedInput;
use crate::worlds::convert::{check_name, cut};
use aimass_graph::Dim;
use aimass_tensor::{DType, RANK_MAX, Shape, Tensor};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// Inputs, or outputs, of a plugin at most.
pub(crate) const TENSORS_MAX: usize = 64;
/// Bytes of a tensor's description at most.
const DESCRIPTION_BYTES_MAX: usize = 1024;
/// Bytes of a tensor's name at most.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// Inputs and outputs of a plugin, as it describes them for its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginSignature {
    /// Inputs, at most 64.
    pub inputs: Vec<PluginTensorSpec>,
    /// Outputs, at most 64.
    pub outputs: Vec<PluginTensorSpec>,
}

/// Name, type and shape of one input or output of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginTensorSpec {
    /// Name, unique within its list, at most 128 bytes.
    pub name: Arc<str>,
    /// Element type; `None` accepts any.
    pub dtype: Option<DType>,
    /// Dimensions, outermost first; `None` accepts any shape.
    pub dims: Option<Vec<Dim>>,
    /// One sentence for people.
    pub description: String,
}

impl PluginSignature {
    /// The signature, if it keeps the bounds of the contract.
    ///
    /// # Errors
    /// What breaks them: too many tensors or dimensions, names that are long, empty or not unique.
    pub(crate) fn checked(mut self) -> Result<PluginSignature, String> {
        for (list, specs) in [("inputs", &mut self.inputs), ("outputs", &mut self.outputs)] {
            if specs.len() > TENSORS_MAX {
                return Err(format!("{list}: expected at most {TENSORS_MAX}, got {}", specs.len()));
            }
            for at in 0..specs.len() {
                let (before, rest) = specs.split_at_mut(at);
                let spec = &mut rest[0];
                check_name(&spec.name).map_err(|error| format!("{list}: {error}"))?;
                if before.iter().any(|known| known.name == spec.name) {
                    let name = &spec.name;
                    return Err(format!("{list}: expected unique names, got `{name}` twice"));
                }
                if spec.dims.as_ref().is_some_and(|dims| dims.len() > RANK_MAX) {
                    let name = &spec.name;
                    return Err(format!("{list}: `{name}` has more than {RANK_MAX} dimensions"));
                }
                let description = std::mem::take(&mut spec.description);
                spec.description = cut(description, DESCRIPTION_BYTES_MAX);
            }
        }
        Ok(self)
    }
}

/// Tensors by name, as they go into and come out of a plugin.
pub type NamedTensors = Vec<(Arc<str>, Tensor)>;

/// Checks that every tensor of `specs` is among `tensors`, with its dtype and shape.
///
/// Further tensors are allowed. `batch` extents must agree, and so must `dynamic` ones of a name;
/// `ragged` extents are checked against their offsets where the plan runs.
///
/// # Errors
/// What was expected and what came, in words.
pub(crate) fn check(specs: &[PluginTensorSpec], tensors: &NamedTensors) -> Result<(), String> {
    let mut extents = BTreeMap::new();
    for spec in specs {
        let Some((_, tensor)) = tensors.iter().find(|(name, _)| *name == spec.name) else {
            let names = names(tensors.iter().map(|(name, _)| name));
            return Err(format!("expected a tensor named `{}`, got {names}", spec.name));
        };
        check_one(spec, (tensor.dtype(), tensor.shape()), &mut extents)?;
    }
    Ok(())
}

/// As [`check`], for a part of the tensors: each of `tensors` is one of `specs`.
///
/// # Errors
/// What was expected and what came, in words.
pub(crate) fn check_some(specs: &[PluginTensorSpec], tensors: &NamedTensors) -> Result<(), String> {
    let mut extents = BTreeMap::new();
    for (name, tensor) in tensors {
        let Some(spec) = specs.iter().find(|spec| spec.name == *name) else {
            let known = names(specs.iter().map(|spec| &spec.name));
            return Err(format!("expected outputs among {known}, got `{name}`"));
        };
        check_one(spec, (tensor.dtype(), tensor.shape()), &mut extents)?;
    }
    Ok(())
}

/// As [`check`], for tensors of which only dtypes and shapes are there; one for each of `specs`, in
/// their order.
///
/// # Errors
/// What was expected and what came, in words.
pub(crate) fn check_shapes(
    specs: &[PluginTensorSpec],
    inputs: &[TracedInput],
) -> Result<(), String> {
    let same_names = specs.iter().map(|spec| &spec.name).eq(inputs.iter().map(|input| &input.name));
    if !same_names {
        let expected = names(specs.iter().map(|spec| &spec.name));
        let got = names(inputs.iter().map(|input| &input.name));
        return Err(format!("expected {expected} in this order, got {got}"));
    }
    let mut extents = BTreeMap::new();
    for (spec, input) in specs.iter().zip(inputs) {
        check_one(spec, (input.dtype, &input.shape), &mut extents)?;
    }
    Ok(())
}

fn check_one<'a>(
    spec: &'a PluginTensorSpec,
    (dtype, shape): (DType, &Shape),
    extents: &mut BTreeMap<Option<&'a str>, usize>,
) -> Result<(), String> {
    let name = &spec.name;
    if let Some(expected) = spec.dtype
        && expected != dtype
    {
        return Err(format!("`{name}`: expected dtype {expected}, got {dtype}"));
    }
    let Some(dims) = &spec.dims else { return Ok(()) };
    if dims.len() != shape.rank() {
        return Err(format!("`{name}`: expected {} dimensions, got shape {shape}", dims.len()));
    }
    for (axis, (dim, &extent)) in dims.iter().zip(shape.dims()).enumerate() {
        let variable = match dim {
            Dim::Fixed(fixed) if *fixed == extent as u64 => continue,
            Dim::Fixed(fixed) => {
                return Err(format!(
                    "`{name}`: expected {fixed} at axis {axis}, got shape {shape}"
                ));
            }
            Dim::Ragged(_) => continue,
            Dim::Batch => None,
            Dim::Dynamic(dynamic) => Some(&**dynamic),
        };
        let expected = *extents.entry(variable).or_insert(extent);
        if expected != extent {
            let variable = variable.unwrap_or("batch");
            return Err(format!(
                "`{name}`: expected {expected} at axis {axis} (`{variable}`), got shape {shape}"
            ));
        }
    }
    Ok(())
}

fn names<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> String {
    let mut list = String::new();
    for name in names {
        let comma = if list.is_empty() { "" } else { ", " };
        let _ = write!(list, "{comma}`{name}`");
    }
    if list.is_empty() { "none".into() } else { list }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dtype: Option<DType>, dims: Option<Vec<Dim>>) -> PluginTensorSpec {
        PluginTensorSpec { name: name.into(), dtype, dims, description: String::new() }
    }

    fn tensor(shape: &[usize]) -> Tensor {
        Tensor::from_slice(shape, &vec![0f32; shape.iter().product()]).unwrap()
    }

    #[test]
    fn tensors_are_checked_by_name_dtype_rank_and_extent() {
        let x = spec("x", Some(DType::F32), Some(vec![Dim::Batch, Dim::Fixed(2)]));
        let y = spec("y", None, Some(vec![Dim::Batch]));
        let check = |x_shape: &[usize], y_shape: &[usize]| {
            let tensors = vec![("x".into(), tensor(x_shape)), ("y".into(), tensor(y_shape))];
            check(&[x.clone(), y.clone()], &tensors)
        };
        assert_eq!(check(&[3, 2], &[3]), Ok(()));
        assert!(check(&[3, 3], &[3]).unwrap_err().contains("expected 2 at axis 1"));
        assert!(check(&[3, 2], &[4]).unwrap_err().contains("`batch`"));
        assert!(check(&[3], &[3]).unwrap_err().contains("expected 2 dimensions"));
        let any = spec("x", None, None);
        assert_eq!(super::check(&[any], &vec![("x".into(), tensor(&[5]))]), Ok(()));
        let names = |first: Dim| spec("x", None, Some(vec![first, Dim::Dynamic("batch".into())]));
        let x = vec![("x".into(), tensor(&[3, 2]))];
        assert_eq!(super::check(&[names(Dim::Batch)], &x), Ok(()), "a name is no class");
        assert!(super::check(&[names(Dim::Dynamic("batch".into()))], &x).is_err());
        let missing =
            super::check(std::slice::from_ref(&y), &vec![("x".into(), tensor(&[5]))]).unwrap_err();
        assert_eq!(missing, "expected a tensor named `y`, got `x`");
        let wrong = spec("x", Some(DType::I64), None);
        let wrong = super::check(&[wrong], &vec![("x".into(), tensor(&[5]))]).unwrap_err();
        assert!(wrong.contains("expected dtype"), "{wrong}");
    }
}

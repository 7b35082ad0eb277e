//! What a call brings and takes away: inputs, parameters, outputs.

pub use crate::bindings::aimass::plugin::tensor::NamedTensor;
pub use crate::bindings::aimass::plugin::types::Parameter;

use crate::dtype::Element;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The named tensors of a call. They match the plugin's signature by name.
pub type Inputs = NamedTensors;

/// The named tensors of an answer.
pub type Outputs = NamedTensors;

/// Tensors by name.
#[derive(Debug, Default)]
pub struct NamedTensors(Vec<NamedTensor>);

impl NamedTensors {
    /// Without tensors, to add them to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor.
    #[must_use]
    pub fn with(mut self, name: &str, value: Tensor) -> Self {
        self.push(name, value);
        self
    }

    /// Adds a tensor.
    pub fn push(&mut self, name: &str, value: Tensor) {
        self.0.push(NamedTensor { name: name.to_owned(), value });
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// `input/missing-input`.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        match self.0.iter().find(|tensor| tensor.name == name) {
            Some(tensor) => Ok(&tensor.value),
            None => Err(self.missing(name)),
        }
    }

    /// The tensor of this name, to keep or to pass on.
    ///
    /// # Errors
    /// `input/missing-input`.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        match self.0.iter().position(|tensor| tensor.name == name) {
            Some(index) => Ok(self.0.swap_remove(index).value),
            None => Err(self.missing(name)),
        }
    }

    /// Extents and elements of the tensor of this name, copied out of the host once: `[rows, columns]` of
    /// f32 is `read::<f32, 2>("x")`.
    ///
    /// # Errors
    /// `input/missing-input`, `input/dtype` and `input/shape`, which name the tensor.
    pub fn read<T: Element, const N: usize>(&self, name: &str) -> Result<([u64; N], Vec<T>)> {
        let tensor = self.get(name)?;
        let read = || Ok((tensor.extents::<N>()?, tensor.to_vec::<T>()?));
        read().map_err(|error: Error| named(name, error))
    }

    /// The strings of the tensor of this name, as UTF-8.
    ///
    /// # Errors
    /// `input/missing-input`; `input/dtype` and `input/utf-8`, which name the tensor.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        let strings = self.get(name)?.as_strings().map_err(|error| named(name, error))?;
        strings.texts(name).map(|text| text.map(str::to_owned)).collect()
    }

    fn missing(&self, name: &str) -> Error {
        let names: Vec<_> = self.0.iter().map(|tensor| tensor.name.as_str()).collect();
        let message = format!("expected a tensor named {name}, got {names:?}");
        Error::input("missing-input", message)
    }
}

/// The error, with the tensor that it is about.
fn named(name: &str, error: Error) -> Error {
    Error { message: format!("{name}: {}", error.message), ..error }
}

impl From<Vec<NamedTensor>> for NamedTensors {
    fn from(tensors: Vec<NamedTensor>) -> Self {
        NamedTensors(tensors)
    }
}

impl From<NamedTensors> for Vec<NamedTensor> {
    fn from(tensors: NamedTensors) -> Self {
        tensors.0
    }
}

impl<const N: usize> From<[(&str, Tensor); N]> for NamedTensors {
    fn from(tensors: [(&str, Tensor); N]) -> Self {
        tensors.into_iter().fold(Self::new(), |all, (name, value)| all.with(name, value))
    }
}

impl IntoIterator for NamedTensors {
    type Item = NamedTensor;
    type IntoIter = std::vec::IntoIter<NamedTensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<NamedTensor> for NamedTensors {
    fn from_iter<I: IntoIterator<Item = NamedTensor>>(tensors: I) -> Self {
        NamedTensors(tensors.into_iter().collect())
    }
}

/// The parameters of a request, by name.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, Parameter)>);

macro_rules! typed_parameters {
    ($($(#[$doc:meta])* $name:ident: $variant:ident => $rust:ty, $value:ident => $answer:expr;)*) => {
        impl Parameters {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// `input/parameter` if it has another type.
                pub fn $name(&self, name: &str) -> Result<Option<$rust>> {
                    match self.get(name) {
                        None => Ok(None),
                        Some(Parameter::$variant($value)) => Ok(Some($answer)),
                        Some(other) => Err(wrong_type(name, stringify!($name), other)),
                    }
                }
            )*
        }
    };
}

typed_parameters! {
    /// The boolean of this name, if it is set.
    boolean: Boolean => bool, value => *value;
    /// The integer of this name, if it is set.
    integer: Integer => i64, value => *value;
    /// The number of this name, if it is set.
    float: Float => f64, value => *value;
    /// The text of this name, if it is set.
    text: Text => &str, value => value.as_str();
    /// The integers of this name, if they are set.
    integers: Integers => &[i64], value => value.as_slice();
}

impl Parameters {
    /// The parameter of this name, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        let found = self.0.iter().find(|(candidate, _)| candidate == name);
        found.map(|(_, value)| value)
    }
}

fn wrong_type(name: &str, expected: &str, got: &Parameter) -> Error {
    let got = match got {
        Parameter::Boolean(_) => "boolean",
        Parameter::Integer(_) => "integer",
        Parameter::Float(_) => "float",
        Parameter::Text(_) => "text",
        Parameter::Integers(_) => "integers",
    };
    Error::input("parameter", format!("parameter {name}: expected {expected}, got {got}"))
}

impl From<Vec<(String, Parameter)>> for Parameters {
    fn from(parameters: Vec<(String, Parameter)>) -> Self {
        Parameters(parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_of_another_type_is_refused_by_name() {
        let parameters = Parameters::from(vec![("k".to_owned(), Parameter::Text("5".to_owned()))]);
        assert_eq!(parameters.text("k"), Ok(Some("5")));
        assert_eq!(parameters.integer("other"), Ok(None));
        let error = parameters.integer("k").unwrap_err();
        assert_eq!(error.message, "parameter k: expected integer, got text");
    }

    #[test]
    fn tensors_are_read_with_their_extents_and_wrong_ones_are_named() -> Result<()> {
        let inputs = Inputs::new()
            .with("x", Tensor::from_f32(&[1, 2], &[3.0, 4.0])?)
            .with("text", Tensor::strings(&[2], [b"a".as_slice(), b"\xff"])?);
        assert_eq!(inputs.read::<f32, 2>("x"), Ok(([1, 2], vec![3.0, 4.0])));
        let error = inputs.read::<f32, 1>("x").unwrap_err();
        assert_eq!(error.message, "x: expected 1 dimensions, got shape [1, 2]");
        let error = inputs.read::<i64, 2>("x").unwrap_err();
        assert_eq!(error.message, "x: expected a tensor of i64, got f32");
        assert_eq!(inputs.texts("text").unwrap_err().code, "utf-8");
        assert_eq!(inputs.texts("x").unwrap_err().code, "dtype");
        Ok(())
    }

    #[test]
    fn a_missing_tensor_names_what_there_is() {
        let error = Inputs::new().get("text").unwrap_err();
        assert_eq!(error.code, "missing-input");
        assert_eq!(error.message, "expected a tensor named text, got []");
    }
}

//! What a call brings and takes away: inputs, parameters, outputs.

pub use crate::bindings::aimass::plugin::tensor::NamedTensor;
pub use crate::bindings::aimass::plugin::types::Parameter;

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The named tensors of a call. They match the plugin's signature by name.
#[derive(Debug)]
pub struct Inputs(Vec<NamedTensor>);

impl Inputs {
    /// The tensor of this name.
    ///
    /// # Errors
    /// `input/missing-input`.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        match self.0.iter().find(|input| input.name == name) {
            Some(input) => Ok(&input.value),
            None => Err(self.missing(name)),
        }
    }

    /// The tensor of this name, to keep or to pass on as an output.
    ///
    /// # Errors
    /// `input/missing-input`.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        match self.0.iter().position(|input| input.name == name) {
            Some(index) => Ok(self.0.swap_remove(index).value),
            None => Err(self.missing(name)),
        }
    }

    fn missing(&self, name: &str) -> Error {
        let names: Vec<_> = self.0.iter().map(|input| input.name.as_str()).collect();
        let message = format!("expected an input named {name}, got {names:?}");
        Error::input("missing-input", message)
    }
}

impl From<Vec<NamedTensor>> for Inputs {
    fn from(tensors: Vec<NamedTensor>) -> Self {
        Inputs(tensors)
    }
}

impl IntoIterator for Inputs {
    type Item = NamedTensor;
    type IntoIter = std::vec::IntoIter<NamedTensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The named tensors of an answer.
#[derive(Debug, Default)]
pub struct Outputs(Vec<NamedTensor>);

impl Outputs {
    /// An answer without tensors, to add them to.
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
        self.0.push(NamedTensor {
            name: name.to_owned(),
            value,
        });
    }
}

impl<const N: usize> From<[(&str, Tensor); N]> for Outputs {
    fn from(tensors: [(&str, Tensor); N]) -> Self {
        tensors
            .into_iter()
            .fold(Self::new(), |outputs, (name, value)| {
                outputs.with(name, value)
            })
    }
}

impl From<Outputs> for Vec<NamedTensor> {
    fn from(outputs: Outputs) -> Self {
        outputs.0
    }
}

impl FromIterator<NamedTensor> for Outputs {
    fn from_iter<I: IntoIterator<Item = NamedTensor>>(tensors: I) -> Self {
        Outputs(tensors.into_iter().collect())
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
    Error::input(
        "parameter",
        format!("parameter {name}: expected {expected}, got {got}"),
    )
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
    fn a_missing_input_names_what_there_is() {
        let error = Inputs(Vec::new()).get("text").unwrap_err();
        assert_eq!(error.code, "missing-input");
        assert_eq!(error.message, "expected an input named text, got []");
    }
}

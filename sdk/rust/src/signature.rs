//! What a plugin takes and gives.

pub use crate::bindings::aimass::plugin::types::{Dim, Signature, TensorSpec};

use crate::dtype::DType;

impl Signature {
    /// A signature without inputs and outputs, to add them to.
    ///
    /// ```
    /// use aimass_sdk::{DType, Dim, Signature, TensorSpec};
    /// let signature = Signature::new()
    ///     .input(TensorSpec::new("text", DType::Bytes, [Dim::Batch]))
    ///     .output(TensorSpec::new("length", DType::U32, [Dim::Batch]));
    /// assert_eq!(signature.inputs[0].name, "text");
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Signature { inputs: Vec::new(), outputs: Vec::new() }
    }

    /// Adds an input.
    #[must_use]
    pub fn input(mut self, spec: TensorSpec) -> Self {
        self.inputs.push(spec);
        self
    }

    /// Adds an output.
    #[must_use]
    pub fn output(mut self, spec: TensorSpec) -> Self {
        self.outputs.push(spec);
        self
    }
}

impl Default for Signature {
    fn default() -> Self {
        Self::new()
    }
}

impl TensorSpec {
    /// A tensor with this name, element type and dimensions, outermost first.
    #[must_use]
    pub fn new(name: &str, dtype: DType, dims: impl IntoIterator<Item = Dim>) -> Self {
        TensorSpec {
            name: name.to_owned(),
            dtype: Some(dtype),
            dims: Some(dims.into_iter().collect()),
            description: String::new(),
        }
    }

    /// A tensor of any element type and shape.
    #[must_use]
    pub fn any(name: &str) -> Self {
        TensorSpec { name: name.to_owned(), dtype: None, dims: None, description: String::new() }
    }

    /// Adds one sentence for people.
    #[must_use]
    pub fn describe(mut self, description: &str) -> Self {
        self.description = description.to_owned();
        self
    }
}

impl Dim {
    /// Sequences one after the other, cut by the offsets in the input of this name.
    #[must_use]
    pub fn ragged(offsets: &str) -> Self {
        Dim::Ragged(offsets.to_owned())
    }

    /// Any extent; equal names mean equal extents within one call.
    #[must_use]
    pub fn dynamic(name: &str) -> Self {
        Dim::Dynamic(name.to_owned())
    }
}

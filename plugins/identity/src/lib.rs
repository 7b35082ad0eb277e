//! Answers its inputs as its outputs: `INPUT0` as `OUTPUT0`, any `INPUTx` as `OUTPUTx`.
//!
//! Only handles move; no element is read or copied. It is the smallest plugin there is, and what
//! the cost of a call is measured with.

use aimass_sdk::NamedTensor;
use aimass_sdk::prelude::*;

/// The plugin; it has no state.
#[derive(Debug)]
pub struct Identity;

impl Processor for Identity {
    fn init(_config: Config) -> Result<Self> {
        Ok(Identity)
    }

    fn describe(&self) -> Signature {
        Signature::new()
            .input(TensorSpec::any("INPUT0").describe("Any tensor."))
            .output(TensorSpec::any("OUTPUT0").describe("The same tensor."))
    }

    fn process(&self, inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
        let renamed = inputs.into_iter().map(|NamedTensor { name, value }| {
            let name = output_name(&name)?;
            Ok(NamedTensor { name, value })
        });
        renamed.collect()
    }
}

aimass_sdk::export_processor!(Identity);

/// `OUTPUTx` for `INPUTx`.
fn output_name(input: &str) -> Result<String> {
    match input.strip_prefix("INPUT") {
        Some(rest) => Ok(["OUTPUT", rest].concat()),
        None => {
            let message = ["expected an input named INPUT0, got ", input].concat();
            Err(Error::input("missing-input", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_named_after_the_input() {
        assert_eq!(output_name("INPUT0").as_deref(), Ok("OUTPUT0"));
        assert_eq!(output_name("INPUT").as_deref(), Ok("OUTPUT"));
        let error = output_name("text").unwrap_err();
        assert_eq!(error.message, "expected an input named INPUT0, got text");
    }
}

//! Runs the model's plan `main` and turns its output `y` into probabilities.
//!
//! The request parameter `sharpness` (default 1) multiplies the logits first. The code is written
//! as if it were alone: the host joins its plan calls with those of other requests.

use aimass_sdk::ops;
use aimass_sdk::plans;
use aimass_sdk::prelude::*;

struct Glue;

impl Model for Glue {
    fn init(_config: Config) -> Result<Self> {
        Ok(Glue)
    }

    fn describe(&self) -> Signature {
        let features = [Dim::Batch, Dim::dynamic("features")];
        let classes = [Dim::Batch, Dim::dynamic("classes")];
        Signature::new()
            .input(TensorSpec::new("x", DType::F32, features))
            .output(TensorSpec::new("probabilities", DType::F32, classes))
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        let sharpness = check_sharpness(parameters.float("sharpness")?)?;
        let plan = plans::get("main")?;
        let mut logits = plan.call(&[("x", inputs.get("x")?)])?.take("y")?;
        if sharpness != 1.0 {
            let factor = Tensor::from_f32(&[1], &[sharpness])?;
            logits = ops::run_one("mul", &[&logits, &factor], &[])?;
        }
        Ok(Outputs::new().with("probabilities", ops::softmax(&logits, 1)?))
    }
}

aimass_sdk::export_model!(Glue);

fn check_sharpness(value: Option<f64>) -> Result<f32> {
    let value = value.unwrap_or(1.0);
    if (0.01..=100.0).contains(&value) {
        return Ok(value as f32);
    }
    let message = format!("sharpness: expected 0.01 to 100, got {value}");
    Err(Error::input("parameter", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharpness_has_bounds() {
        assert!(check_sharpness(None).is_ok_and(|value| value == 1.0));
        assert!(check_sharpness(Some(f64::NAN)).is_err());
    }
}

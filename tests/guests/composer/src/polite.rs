//! Guests that behave.

use crate::Guest;
use aimass_sdk::prelude::*;
use aimass_sdk::{emit, models, plans};

pub(crate) fn double(inputs: &Inputs) -> Result<Outputs> {
    let x = inputs.get("x")?;
    let y: Vec<f32> = x.to_vec::<f32>()?.iter().map(|value| 2.0 * value).collect();
    Ok(Outputs::new().with("y", Tensor::from_f32(&x.shape(), &y)?))
}

pub(crate) fn route(guest: &Guest, inputs: &Inputs) -> Result<Outputs> {
    let x = inputs.get("x")?;
    let sum: f32 = x.to_vec::<f32>()?.iter().sum();
    models::call(guest.model(usize::from(sum >= 10.0))?, &[("x", x)])
}

pub(crate) fn average(guest: &Guest, inputs: &Inputs) -> Result<Outputs> {
    let x = inputs.get("x")?;
    let mut sum = vec![0.0; x.to_vec::<f32>()?.len()];
    for model in &guest.models {
        let y = models::call(model, &[("x", x)])?.take("y")?.to_vec::<f32>()?;
        sum.iter_mut().zip(y).for_each(|(sum, y)| *sum += y);
    }
    let count = guest.models.len() as f32;
    sum.iter_mut().for_each(|sum| *sum /= count);
    Ok(Outputs::new().with("y", Tensor::from_f32(&x.shape(), &sum)?))
}

pub(crate) fn refine(
    guest: &Guest,
    mut inputs: Inputs,
    parameters: &Parameters,
) -> Result<Outputs> {
    let until = parameters.float("until")?.unwrap_or(1.0) as f32;
    let mut x = inputs.take("x")?;
    while x.to_vec::<f32>()?.first().is_some_and(|first| *first <= until) {
        x = models::call(guest.model(0)?, &[("x", &x)])?.take("y")?;
    }
    Ok(Outputs::new().with("y", x))
}

pub(crate) fn relay(guest: &Guest, inputs: &Inputs) -> Result<Outputs> {
    models::call(guest.model(0)?, &[("x", inputs.get("x")?)])
}

pub(crate) fn relay_all(guest: &Guest, inputs: Inputs) -> Result<Outputs> {
    let inputs: Vec<_> = inputs.into_iter().collect();
    let given: Vec<_> = inputs.iter().map(|input| (input.name.as_str(), &input.value)).collect();
    models::call(guest.model(0)?, &given)
}

pub(crate) fn count(guest: &Guest, inputs: &Inputs) -> Result<Outputs> {
    let n = Tensor::from_slice(&[1], &[3i64])?;
    models::call(guest.model(0)?, &[("n", &n), ("x", inputs.get("x")?)])
}

pub(crate) fn run_plan(inputs: &Inputs) -> Result<Outputs> {
    let (plan, n) = (plans::get("main")?, inputs.get("n")?);
    if plan.signature().inputs.len() != 2 {
        return Err(Error::internal("signature", "expected a plan of n and x"));
    }
    let once = plan.call(&[("n", n), ("x", inputs.get("x")?)])?.take("y")?;
    plan.call(&[("n", n), ("x", &once)])
}

pub(crate) fn words(inputs: &Inputs) -> Result<Outputs> {
    let strings = inputs.get("text")?.as_strings()?;
    for text in strings.texts("text") {
        for word in text?.split_whitespace() {
            let item = Outputs::new()
                .with("word", Tensor::strings(&[1], [word])?)
                .with("count", Tensor::from_slice(&[1], &[1u32])?);
            emit::send(item)?;
        }
    }
    Ok(Outputs::new())
}

pub(crate) fn both(mut inputs: Inputs) -> Result<Outputs> {
    let x = inputs.take("x")?;
    emit::send(Outputs::new().with("y", x.share()?))?;
    Ok(Outputs::new().with("y", x))
}

//! Guests that behave.

use std::cell::Cell;

use aimass_sdk::audio::{self, Stft};
use aimass_sdk::log;
use aimass_sdk::prelude::*;

thread_local! {
    /// Calls so far, from what `init` left.
    pub(crate) static COUNT: Cell<u32> = const { Cell::new(0) };
}

pub(crate) fn echo(mut inputs: Inputs) -> Result<Outputs> {
    Ok(Outputs::new().with("y", inputs.take("x")?))
}

pub(crate) fn greet(inputs: &Inputs) -> Result<Outputs> {
    let name = inputs.get("name")?;
    let strings = name.as_strings()?;
    let greetings = strings.texts("name").map(|name| Ok(format!("Hello, {}", name?)));
    let greetings = greetings.collect::<Result<Vec<_>>>()?;
    Ok(Outputs::new().with("greeting", Tensor::strings(&name.shape(), greetings)?))
}

pub(crate) fn count() -> Result<Outputs> {
    COUNT.set(COUNT.get() + 1);
    Ok(Outputs::new().with("y", Tensor::from_f32(&[1], &[COUNT.get() as f32])?))
}

pub(crate) fn sum(inputs: &Inputs) -> Result<Outputs> {
    let sum: f32 = inputs.get("x")?.to_vec::<f32>()?.iter().sum();
    Ok(Outputs::new().with("y", Tensor::from_f32(&[1], &[sum])?))
}

pub(crate) fn parameter(parameters: &Parameters) -> Result<Outputs> {
    let value = parameters.float("value")?.unwrap_or(0.0) as f32;
    Ok(Outputs::new().with("y", Tensor::from_f32(&[1], &[value])?))
}

pub(crate) fn mel(inputs: &Inputs) -> Result<Outputs> {
    let power = Stft::hann(64, 24).power(inputs.get("x")?)?;
    let mel = audio::Mel { rate: 8_000, fft: 64, bands: 10, low_hz: 0.0, high_hz: 4_000.0 };
    let bands = audio::log(&mel.bands_of(&power)?, 1e-10)?;
    let [frames, bands_len] = bands.extents()?;
    Ok(Outputs::new().with("y", bands.reshape(&[frames * bands_len])?))
}

pub(crate) fn log(inputs: Inputs) -> Result<Outputs> {
    log::error!("an {}", "error");
    log::warning!("a warning");
    log::info!("a piece of information");
    log::debug!("a detail");
    log::trace!("a trace");
    echo(inputs)
}

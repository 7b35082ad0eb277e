//! Guests that do not.

use crate::Guest;
use aimass_sdk::prelude::*;
use aimass_sdk::{clock, emit, models};

pub(crate) fn flood(guest: &Guest, inputs: &Inputs) -> Result<Outputs> {
    let x = inputs.get("x")?;
    let mut answered = 0.0;
    while models::call(guest.model(0)?, &[("x", x)]).is_ok() {
        answered += 1.0;
    }
    Ok(Outputs::new().with("y", Tensor::from_f32(&[1], &[answered])?))
}

pub(crate) fn stream_for_ever(inputs: &Inputs) -> Result<Outputs> {
    loop {
        let _ = emit::send(Outputs::new().with("y", inputs.get("x")?.share()?));
    }
}

pub(crate) fn torrent() -> Result<Outputs> {
    let megabyte = vec![0f32; 1 << 18];
    loop {
        emit::send(Outputs::new().with("y", Tensor::from_f32(&[1 << 18], &megabyte)?))?;
    }
}

pub(crate) fn wrong_name(mut inputs: Inputs) -> Result<Outputs> {
    emit::send(Outputs::new().with("z", inputs.take("x")?))?;
    Ok(Outputs::new())
}

pub(crate) fn late_trap(inputs: &Inputs) -> Result<Outputs> {
    emit::send(Outputs::new().with("y", inputs.get("x")?.share()?))?;
    panic!("as configured");
}

pub(crate) fn spin() -> Result<Outputs> {
    loop {
        std::hint::spin_loop();
    }
}

pub(crate) fn slow(mut inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
    let x = inputs.take("x")?;
    for _ in 0..parameters.integer("items")?.unwrap_or(1) {
        let enough = clock::remaining_ms() / 4;
        while clock::remaining_ms() > enough {
            // Few enough host calls for their limit.
            (0..10_000).for_each(|turn| _ = std::hint::black_box(turn));
        }
        emit::send(Outputs::new().with("y", x.share()?))?;
    }
    Ok(Outputs::new())
}

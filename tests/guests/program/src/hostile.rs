//! Guests that do harm while they answer.

use std::hint::black_box;

use aimass_sdk::log::{self, Level};
use aimass_sdk::ops;
use aimass_sdk::prelude::*;

const MIB: usize = 1 << 20;

pub(crate) fn spin() -> Result<Outputs> {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

pub(crate) fn take_memory() -> Result<Outputs> {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1u8; 4 * MIB]));
    }
}

pub(crate) fn recurse() -> Result<Outputs> {
    #[expect(unconditional_recursion, reason = "that is what it is for")]
    fn deeper(level: u64) -> u64 {
        let here = black_box([level; 16]);
        deeper(level + 1) + here[3]
    }
    let depth = black_box(deeper as fn(u64) -> u64)(0);
    Err(Error::internal("depth", depth.to_string()))
}

pub(crate) fn logged_panic() -> Result<Outputs> {
    log::panics();
    panic!("as configured, and logged");
}

pub(crate) fn keep_handles() -> Result<Outputs> {
    let mut kept = Vec::new();
    loop {
        kept.push(Tensor::from_f32(&[1], &[0.0])?);
    }
}

pub(crate) fn keep_bytes() -> Result<Outputs> {
    let data = vec![0f32; 2 * MIB];
    let mut kept = Vec::new();
    loop {
        kept.push(Tensor::from_f32(&[data.len() as u64], &data)?);
    }
}

pub(crate) fn call_host(inputs: &Inputs) -> Result<Outputs> {
    let x = inputs.get("x")?;
    loop {
        black_box(x.byte_len());
    }
}

pub(crate) fn copy_much() -> Result<Outputs> {
    let data = vec![0f32; 6 * MIB];
    Ok(Outputs::new().with("y", Tensor::from_f32(&[data.len() as u64], &data)?))
}

pub(crate) fn flood_log(inputs: Inputs) -> Result<Outputs> {
    let line = "flood ".repeat(1000);
    for _ in 0..1000 {
        log::write(Level::Info, &line);
    }
    crate::polite::echo(inputs)
}

/// 64 MiB, of which each host call makes 2.
pub(crate) fn answer_bytes() -> Result<Outputs> {
    let part = Tensor::from_f32(&[MIB as u64 / 2], &vec![0f32; MIB / 2])?;
    let parts = vec![&part; 32];
    let axis = ("axis", aimass_sdk::Parameter::Integer(0));
    Ok(Outputs::new().with("y", ops::run_one("concat", &parts, &[axis])?))
}

pub(crate) fn answer_many(inputs: &Inputs) -> Result<Outputs> {
    let x = inputs.get("x")?;
    let mut outputs = Outputs::new();
    for index in 0..10_000 {
        outputs.push(&format!("y{index}"), x.share()?);
    }
    Ok(outputs)
}

pub(crate) fn wrong_name(mut inputs: Inputs) -> Result<Outputs> {
    Ok(Outputs::new().with("z", inputs.take("x")?))
}

pub(crate) fn twice(inputs: &Inputs) -> Result<Outputs> {
    let x = inputs.get("x")?;
    Ok(Outputs::from([("y", x.share()?), ("y", x.share()?)]))
}

pub(crate) fn wrong_dtype() -> Result<Outputs> {
    Ok(Outputs::new().with("y", Tensor::from_slice(&[1], &[1i64])?))
}

pub(crate) fn wrong_shape() -> Result<Outputs> {
    Ok(Outputs::new().with("y", Tensor::from_f32(&[1, 1], &[1.0])?))
}

pub(crate) fn read_beyond(inputs: &Inputs) -> Result<Outputs> {
    let x = inputs.get("x")?;
    x.read(x.byte_len(), 1)?;
    x.read(u64::MAX, 2)?;
    Ok(Outputs::new())
}

pub(crate) fn short_tensor() -> Result<Outputs> {
    let y = Tensor::create(DType::F32, &[1 << 40], &[0; 4])?;
    Ok(Outputs::new().with("y", y))
}

pub(crate) fn falling_offsets() -> Result<Outputs> {
    let offsets: Vec<u8> = [0u32, 2, 1].iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let y = Tensor::create_strings(&[2], &offsets, b"a")?;
    Ok(Outputs::new().with("y", y))
}

pub(crate) fn unknown_op(inputs: &Inputs) -> Result<Outputs> {
    let y = ops::run_one("no-such-op", &[inputs.get("x")?], &[])?;
    Ok(Outputs::new().with("y", y))
}

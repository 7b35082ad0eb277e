//! Floating-point arithmetic and approximations.

use super::operands::Operand;
use super::{Decoder, Modifiers, Op, Refusal, Type};
use crate::float::Rounding;
use crate::ptx::instruction::{Float, Float1, Float2, FloatMods};

/// The floating-point type that arithmetic on `ty` uses.
pub(super) fn float(ty: Type) -> Result<Float, Refusal> {
    match ty {
        Type::F16 => Ok(Float::F16),
        Type::F16x2 => Ok(Float::F16x2),
        Type::Bf16 => Ok(Float::Bf16),
        Type::Bf16x2 => Ok(Float::Bf16x2),
        Type::F32 => Ok(Float::F32),
        Type::F64 => Ok(Float::F64),
        other => Err(format!("{other:?} is no floating-point type of arithmetic")),
    }
}

fn lanes(ty: Float) -> u16 {
    match ty {
        Float::F16x2 | Float::Bf16x2 => 2,
        Float::F16 | Float::Bf16 | Float::F32 | Float::F64 => 1,
    }
}

fn modifiers(m: &mut Modifiers<'_>) -> FloatMods {
    FloatMods {
        rounding: m.rounding().unwrap_or(Rounding::Nearest),
        ftz: m.take("ftz"),
        sat: m.take("sat"),
        relu: m.take("relu"),
        nan: m.take("NaN"),
        approx: m.take("approx") || m.take("full"),
    }
}

/// Decodes the instruction if it is one of this file's.
pub(super) fn decode(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<bool, Refusal> {
    let one = match root {
        "neg" => Some(Float1::Neg),
        "abs" => Some(Float1::Abs),
        "sqrt" => Some(Float1::Sqrt),
        "rcp" => Some(Float1::Rcp),
        "rsqrt" => Some(Float1::Rsqrt),
        "ex2" => Some(Float1::Ex2),
        "lg2" => Some(Float1::Lg2),
        "sin" => Some(Float1::Sin),
        "cos" => Some(Float1::Cos),
        "tanh" => Some(Float1::Tanh),
        _ => None,
    };
    let two = match root {
        "add" => Some(Float2::Add),
        "sub" => Some(Float2::Sub),
        "mul" => Some(Float2::Mul),
        "div" => Some(Float2::Div),
        "min" => Some(Float2::Min),
        "max" => Some(Float2::Max),
        "copysign" => Some(Float2::Copysign),
        _ => None,
    };
    match (one, two, root) {
        (Some(op), ..) => decode_one(d, op, m, o)?,
        (_, Some(op), _) => decode_two(d, op, m, o)?,
        (_, _, "fma" | "mad") => fma(d, m, o)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn decode_one(
    d: &mut Decoder<'_>,
    op: Float1,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, 2)?;
    let mods = modifiers(m);
    let ty = m.ty()?;
    let (to, a) = (d.destination(&o[0], ty.bytes())?, d.source(&o[1], ty.bytes())?);
    let kind = float(ty)?;
    let flops = if matches!(op, Float1::Neg | Float1::Abs) { 0 } else { lanes(kind) };
    d.emit_counted(Op::Float1(op, kind, mods), [to, a, 0, 0], flops);
    Ok(())
}

fn decode_two(
    d: &mut Decoder<'_>,
    op: Float2,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, 3)?;
    let mods = modifiers(m);
    let ty = m.ty()?;
    let to = d.destination(&o[0], ty.bytes())?;
    let (a, b) = (d.source(&o[1], ty.bytes())?, d.source(&o[2], ty.bytes())?);
    let kind = float(ty)?;
    let flops = if op == Float2::Copysign { 0 } else { lanes(kind) };
    d.emit_counted(Op::Float2(op, kind, mods), [to, a, b, 0], flops);
    Ok(())
}

fn fma(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 4)?;
    let mods = modifiers(m);
    let ty = m.ty()?;
    let to = d.destination(&o[0], ty.bytes())?;
    let (a, b) = (d.source(&o[1], ty.bytes())?, d.source(&o[2], ty.bytes())?);
    let c = d.source(&o[3], ty.bytes())?;
    let kind = float(ty)?;
    d.emit_counted(Op::Fma(kind, mods), [to, a, b, c], 2 * lanes(kind));
    Ok(())
}

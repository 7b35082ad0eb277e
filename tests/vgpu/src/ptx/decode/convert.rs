//! Conversions between types and between address spaces.

use super::operands::Operand;
use super::{Decoder, Modifiers, Op, Refusal, Slot, Space, Type};
use crate::float::Rounding;
use crate::ptx::instruction::Convert;

/// Decodes the instruction if it is one of this file's.
pub(super) fn decode(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<bool, Refusal> {
    match root {
        "cvt" if m.take("pack") => pack(d, m, o)?,
        "cvt" => convert(d, m, o)?,
        "cvta" => address(d, m, o)?,
        "isspacep" => is_space(d, m, o)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn convert(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    let integer = m.choose(&[
        ("rni", Rounding::Nearest),
        ("rzi", Rounding::Zero),
        ("rmi", Rounding::Down),
        ("rpi", Rounding::Up),
    ]);
    let rounding = integer.or_else(|| m.rounding());
    let types = m.types();
    let [to, from] = types[..] else { return Err("expected two types".into()) };
    let to_whole = !to.is_float() && from.is_float();
    let mut convert = Convert {
        to,
        from,
        rounding: rounding.unwrap_or(if to_whole { Rounding::Zero } else { Rounding::Nearest }),
        to_integer: integer.is_some(),
        ftz: m.take("ftz"),
        sat: m.take("sat"),
        finite: m.take("satfinite"),
        relu: m.take("relu"),
        register_bytes: 4,
    };
    let (slot, bytes) = d.destination_register(d.at(o, 0)?)?;
    if (to.bytes() == 8) && bytes != 8 {
        return Err(format!("expected a register of 8 bytes, got {bytes}"));
    }
    convert.register_bytes = bytes as u8;
    if o.len() == 3 {
        let (a, b) = (d.source(&o[1], from.bytes())?, d.source(&o[2], from.bytes())?);
        d.emit(Op::ConvertPair(Box::new(convert)), [slot, a, b, 0]);
        return Ok(());
    }
    d.count(o, 2)?;
    let a = narrowed(d, &o[1], from)?;
    d.emit(Op::Convert(Box::new(convert)), [slot, a, 0, 0]);
    Ok(())
}

/// The source of a conversion; a 64-bit register read as a narrower type gives its lower part.
fn narrowed(d: &mut Decoder<'_>, operand: &Operand<'_>, ty: Type) -> Result<Slot, Refusal> {
    let wide = matches!(d.destination_register(operand), Ok((_, 8)));
    if !wide || ty.bytes() == 8 {
        return d.source(operand, ty.bytes());
    }
    let a = d.source(operand, 8)?;
    let low = d.allocate(4, 1);
    let parts = [low, Slot::MAX].into();
    d.emit(Op::Unpack { parts, part_bytes: 4 }, [0, a, 0, 0]);
    Ok(low)
}

fn pack(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 4)?;
    if !m.take("sat") {
        return Err("expected .sat".into());
    }
    let types = m.types();
    let [to, Type::S32, Type::B32] = types[..] else {
        return Err("expected .TYPE.s32.b32".into());
    };
    if to.bytes() > 2 || to.is_float() {
        return Err(format!("{to:?} is not packed"));
    }
    let slots =
        [d.destination(&o[0], 4)?, d.source(&o[1], 4)?, d.source(&o[2], 4)?, d.source(&o[3], 4)?];
    d.emit(Op::ConvertPack { to }, slots);
    Ok(())
}

const SPACES: &[(&str, Space)] = &[
    ("global", Space::Global),
    ("const", Space::Const),
    ("shared", Space::Shared),
    ("shared::cta", Space::Shared),
    ("local", Space::Local),
    ("param", Space::Param),
];

fn address(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 2)?;
    let to = m.take("to");
    let space = m.need(SPACES)?;
    let bytes = m.ty()?.bytes();
    if space == Space::Param || bytes != 8 {
        return Err("expected 64-bit addresses of memory".into());
    }
    let slots = [d.destination(&o[0], 8)?, d.source(&o[1], 8)?, 0, 0];
    d.emit(if to { Op::FromGeneric(space) } else { Op::ToGeneric(space) }, slots);
    Ok(())
}

fn is_space(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 2)?;
    let space = m.need(SPACES)?;
    let to = u32::from(d.pred_destination(&o[0])?);
    let a = d.source(&o[1], 8)?;
    d.emit(Op::IsSpace(space), [to, a, 0, 0]);
    Ok(())
}

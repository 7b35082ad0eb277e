//! Integer arithmetic, bits, comparisons, selection, predicate logic and moves.

use super::operands::Operand;
use super::{Decoder, Modifiers, NO_PRED, Op, Refusal, Slot, Type};
use crate::ptx::instruction::{
    Bits3, CarryOp, Compare, Float, Int, Int1, Int2, Int3, Logic, Operands, PrmtMode, Relation,
    SetValue,
};

/// The integer type that arithmetic on `ty` uses.
pub(super) fn int(ty: Type) -> Result<Int, Refusal> {
    match ty {
        Type::U16 | Type::B16 => Ok(Int::U16),
        Type::S16 => Ok(Int::S16),
        Type::U32 | Type::B32 => Ok(Int::U32),
        Type::S32 => Ok(Int::S32),
        Type::U64 | Type::B64 => Ok(Int::U64),
        Type::S64 => Ok(Int::S64),
        other => Err(format!("{other:?} is no integer type of arithmetic")),
    }
}

/// Decodes the instruction if it is one of this file's.
pub(super) fn decode(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<bool, Refusal> {
    match root {
        "setp" => compare(d, m, o)?,
        "set" => set(d, m, o)?,
        "selp" => select(d, m, o)?,
        "slct" => select_sign(d, m, o)?,
        "mov" => mov(d, m, o)?,
        "and" | "or" | "xor" | "not" if m.has("pred") => predicate_logic(d, root, m, o)?,
        "addc" | "subc" | "madc" => carry(d, root, m, o)?,
        "add" | "sub" | "mad" if m.has("cc") => carry(d, root, m, o)?,
        "mul" | "mad" if m.has("wide") => wide_product(d, root, m, o)?,
        "lop3" | "prmt" | "shf" | "dp4a" | "dp2a" => bits(d, root, m, o)?,
        "bfi" => insert(d, m, o)?,
        "not" | "cnot" | "popc" | "clz" | "brev" | "bfind" => one(d, root, m, o)?,
        "and" | "or" | "xor" | "shl" | "shr" | "rem" | "mul24" => two(d, root, m, o)?,
        "neg" | "abs" if !is_float(m) => one(d, root, m, o)?,
        "add" | "sub" | "mul" | "div" | "min" | "max" if !is_float(m) => two(d, root, m, o)?,
        "mad" if !is_float(m) => three(d, root, m, o)?,
        "mad24" | "sad" | "bfe" => three(d, root, m, o)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn is_float(m: &Modifiers<'_>) -> bool {
    ["f16", "f16x2", "bf16", "bf16x2", "f32", "f64"].iter().any(|name| m.has(name))
}

fn one(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, 2)?;
    let op = match root {
        "not" => Int1::Not,
        "cnot" => Int1::CNot,
        "neg" => Int1::Neg,
        "abs" => Int1::Abs,
        "popc" => Int1::Popc,
        "clz" => Int1::Clz,
        "brev" => Int1::Brev,
        _ if m.take("shiftamt") => Int1::BfindShift,
        _ => Int1::Bfind,
    };
    let ty = m.ty()?;
    let counts = matches!(op, Int1::Popc | Int1::Clz | Int1::Bfind | Int1::BfindShift);
    let to = d.destination(&o[0], if counts { 4 } else { ty.bytes() })?;
    let a = d.source(&o[1], ty.bytes())?;
    d.emit(Op::Int1(op, int(ty)?), [to, a, 0, 0]);
    Ok(())
}

fn two(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, 3)?;
    let saturate = m.take("sat");
    let op = match (root, saturate) {
        ("add", false) => Int2::Add,
        ("add", true) => Int2::AddSat,
        ("sub", false) => Int2::Sub,
        ("sub", true) => Int2::SubSat,
        ("mul", _) => m.need(&[("lo", Int2::MulLo), ("hi", Int2::MulHi)])?,
        ("mul24", _) => m.need(&[("lo", Int2::Mul24)])?,
        ("div", _) => Int2::Div,
        ("rem", _) => Int2::Rem,
        ("min", _) => Int2::Min,
        ("max", _) => Int2::Max,
        ("and", _) => Int2::And,
        ("or", _) => Int2::Or,
        ("xor", _) => Int2::Xor,
        ("shl", _) => Int2::Shl,
        _ => Int2::Shr,
    };
    let ty = m.ty()?;
    let shift = matches!(op, Int2::Shl | Int2::Shr);
    let to = d.destination(&o[0], ty.bytes())?;
    let a = d.source(&o[1], ty.bytes())?;
    let b = d.source(&o[2], if shift { 4 } else { ty.bytes() })?;
    d.emit(Op::Int2(op, int(ty)?), [to, a, b, 0]);
    Ok(())
}

fn three(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, 4)?;
    let op = match root {
        "mad" => m.need(&[("lo", Int3::MadLo), ("hi", Int3::MadHi)])?,
        "mad24" => m.need(&[("lo", Int3::Mad24)])?,
        "sad" => Int3::Sad,
        _ => Int3::Bfe,
    };
    let ty = m.ty()?;
    let rest = if op == Int3::Bfe { 4 } else { ty.bytes() };
    let to = d.destination(&o[0], ty.bytes())?;
    let slots = [to, d.source(&o[1], ty.bytes())?, d.source(&o[2], rest)?, d.source(&o[3], rest)?];
    d.emit(Op::Int3(op, int(ty)?), slots);
    Ok(())
}

/// `add.cc`, `addc`, `sub.cc`, `subc`, `mad.cc` and `madc`.
fn carry(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    let writes = m.take("cc");
    let op = match root {
        "add" | "addc" => CarryOp::Add,
        "sub" | "subc" => CarryOp::Sub,
        _ => m.need(&[("lo", CarryOp::MadLo), ("hi", CarryOp::MadHi)])?,
    };
    let three = matches!(op, CarryOp::MadLo | CarryOp::MadHi);
    d.count(o, if three { 4 } else { 3 })?;
    let ty = m.ty()?;
    let bytes = ty.bytes();
    let to = d.destination(&o[0], bytes)?;
    let (a, b) = (d.source(&o[1], bytes)?, d.source(&o[2], bytes)?);
    let c = if three { d.source(&o[3], bytes)? } else { 0 };
    d.emit(Op::Carry { op, ty: int(ty)?, reads: root.ends_with('c'), writes }, [to, a, b, c]);
    Ok(())
}

fn wide_product(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    m.take("wide");
    let ty = m.ty()?;
    let (narrow, wide) = (ty.bytes(), ty.bytes() * 2);
    let to = d.destination(d.at(o, 0)?, wide)?;
    let a = d.source(d.at(o, 1)?, narrow)?;
    let b = d.source(d.at(o, 2)?, narrow)?;
    if root == "mul" {
        d.count(o, 3)?;
        d.emit(Op::MulWide(int(ty)?), [to, a, b, 0]);
    } else {
        d.count(o, 4)?;
        let c = d.source(&o[3], wide)?;
        d.emit(Op::MadWide(int(ty)?), [to, a, b, c]);
    }
    Ok(())
}

fn bits(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, if root == "lop3" { 5 } else { 4 })?;
    let op = match root {
        "lop3" => match o[4] {
            Operand::Number(number) => Bits3::Lop3(number.bits(4) as u8),
            ref other => return Err(format!("expected a table of `lop3`, got {other:?}")),
        },
        "prmt" => Bits3::Prmt(m.choose(PRMT).unwrap_or(PrmtMode::Index)),
        "shf" => {
            let left = m.need(&[("l", true), ("r", false)])?;
            let wrap = m.need(&[("wrap", true), ("clamp", false)])?;
            if left { Bits3::ShfLeft { wrap } } else { Bits3::ShfRight { wrap } }
        }
        _ => dot(root, m)?,
    };
    if !m.types().iter().all(|ty| ty.bytes() == 4) {
        return Err("expected types of 32 bits".into());
    }
    let to = d.destination(&o[0], 4)?;
    let slots = [to, d.source(&o[1], 4)?, d.source(&o[2], 4)?, d.source(&o[3], 4)?];
    d.emit(Op::Bits3(op), slots);
    Ok(())
}

const PRMT: &[(&str, PrmtMode)] = &[
    ("f4e", PrmtMode::F4e),
    ("b4e", PrmtMode::B4e),
    ("rc8", PrmtMode::Rc8),
    ("ecl", PrmtMode::Ecl),
    ("ecr", PrmtMode::Ecr),
    ("rc16", PrmtMode::Rc16),
];

fn dot(root: &str, m: &mut Modifiers<'_>) -> Result<Bits3, Refusal> {
    let high = root == "dp2a" && m.need(&[("lo", false), ("hi", true)])?;
    let types = m.types();
    let [a, b] = types[..] else { return Err("expected the types of both operands".into()) };
    let (a_signed, b_signed) = (a.is_signed(), b.is_signed());
    Ok(match root {
        "dp4a" => Bits3::Dp4a { a_signed, b_signed },
        _ => Bits3::Dp2a { a_signed, b_signed, high },
    })
}

fn insert(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 5)?;
    let bytes = m.ty()?.bytes();
    let to = d.destination(&o[0], bytes)?;
    let (a, b) = (d.source(&o[1], bytes)?, d.source(&o[2], bytes)?);
    let (start, length) = (d.source(&o[3], 4)?, d.source(&o[4], 4)?);
    d.emit(Op::Bfi { length, wide: bytes == 8 }, [to, a, b, start]);
    Ok(())
}

const RELATIONS: &[(&str, Relation)] = &[
    ("eq", Relation::Eq),
    ("ne", Relation::Ne),
    ("lt", Relation::Lt),
    ("le", Relation::Le),
    ("gt", Relation::Gt),
    ("ge", Relation::Ge),
    ("lo", Relation::Lt),
    ("ls", Relation::Le),
    ("hi", Relation::Gt),
    ("hs", Relation::Ge),
    ("equ", Relation::Equ),
    ("neu", Relation::Neu),
    ("ltu", Relation::Ltu),
    ("leu", Relation::Leu),
    ("gtu", Relation::Gtu),
    ("geu", Relation::Geu),
    ("num", Relation::Num),
    ("nan", Relation::Nan),
];

const LOGICS: &[(&str, Logic)] = &[("and", Logic::And), ("or", Logic::Or), ("xor", Logic::Xor)];

fn relation(m: &mut Modifiers<'_>) -> Result<Relation, Refusal> {
    m.choose(RELATIONS).ok_or_else(|| "expected a relation".to_owned())
}

/// The comparison of `a` and `b`, with the predicate `c` if there is logic, and their slots.
fn comparison(
    d: &mut Decoder<'_>,
    m: &mut Modifiers<'_>,
    ty: Type,
    o: &[Operand<'_>],
) -> Result<(Compare, [Slot; 2]), Refusal> {
    let relation = relation(m)?;
    let logic = m.choose(LOGICS);
    let ftz = m.take("ftz");
    d.count(o, if logic.is_some() { 3 } else { 2 })?;
    let combine = match logic {
        Some(logic) => {
            let (pred, negate) = d.pred(&o[2])?;
            Some((logic, pred, negate))
        }
        None => None,
    };
    let operands = match super::float::float(ty) {
        Ok(float) => Operands::Float(float),
        Err(_) => Operands::Int(int(ty)?),
    };
    let slots = [d.source(&o[0], ty.bytes())?, d.source(&o[1], ty.bytes())?];
    Ok((Compare { relation, operands, ftz, combine, complement: NO_PRED }, slots))
}

fn compare(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    let ty = m.ty()?;
    let first = d.at(o, 0)?;
    let (mut compare, [a, b]) = comparison(d, m, ty, &o[1..])?;
    let halves = matches!(ty, Type::F16x2 | Type::Bf16x2);
    let to = match first {
        Operand::Pair(p, q) => {
            compare.complement = d.pred_destination(&Operand::Name(q, 0))?;
            d.pred_destination(&Operand::Name(p, 0))?
        }
        other if !halves => d.pred_destination(other)?,
        other => return Err(format!("expected two predicates, got {other:?}")),
    };
    d.emit(Op::Compare(Box::new(compare)), [u32::from(to), a, b, 0]);
    Ok(())
}

fn set(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    let types = m.types();
    let [to_type, ty] = types[..] else { return Err("expected two types".into()) };
    let value = match to_type {
        Type::U32 | Type::S32 | Type::B32 | Type::U16 | Type::S16 => SetValue::Ones,
        Type::F32 => SetValue::OneF32,
        Type::F16 => SetValue::OneF16 { one: 0x3c00 },
        Type::Bf16 => SetValue::OneF16 { one: 0x3f80 },
        Type::F16x2 => SetValue::OneF16x2 { one: 0x3c00 },
        Type::Bf16x2 => SetValue::OneF16x2 { one: 0x3f80 },
        other => return Err(format!("`set` to {other:?} is not supported")),
    };
    let to = d.destination(d.at(o, 0)?, 4)?;
    let (compare, [a, b]) = comparison(d, m, ty, &o[1..])?;
    let pairs = matches!(compare.operands, Operands::Float(Float::F16x2 | Float::Bf16x2));
    if pairs != matches!(value, SetValue::OneF16x2 { .. }) && value != SetValue::Ones {
        return Err("`set` of pairs needs pairs on both sides".into());
    }
    d.emit(Op::Set(Box::new(compare), value), [to, a, b, 0]);
    Ok(())
}

fn select(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 4)?;
    let bytes = m.ty()?.bytes();
    let (pred, negate) = d.pred(&o[3])?;
    let to = d.destination(&o[0], bytes)?;
    let (a, b) = (d.source(&o[1], bytes)?, d.source(&o[2], bytes)?);
    d.emit(Op::Select { pred, negate, wide: bytes == 8 }, [to, a, b, 0]);
    Ok(())
}

fn select_sign(
    d: &mut Decoder<'_>,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, 4)?;
    m.take("ftz");
    let types = m.types();
    let [ty, sign] = types[..] else { return Err("expected two types".into()) };
    let bytes = ty.bytes();
    let to = d.destination(&o[0], bytes)?;
    let (a, b) = (d.source(&o[1], bytes)?, d.source(&o[2], bytes)?);
    let c = d.source(&o[3], 4)?;
    d.emit(Op::SelectSign { float: sign == Type::F32, wide: bytes == 8 }, [to, a, b, c]);
    Ok(())
}

fn predicate_logic(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    m.ty()?;
    d.count(o, if root == "not" { 2 } else { 3 })?;
    let to = u32::from(d.pred_destination(&o[0])?);
    let mut sources = [0; 2];
    for (source, operand) in sources.iter_mut().zip(&o[1..]) {
        let (pred, negate) = d.pred(operand)?;
        if negate {
            return Err("a negated source is not supported here".into());
        }
        *source = u32::from(pred);
    }
    let op = match root {
        "and" => Op::PredLogic(Logic::And),
        "or" => Op::PredLogic(Logic::Or),
        "xor" => Op::PredLogic(Logic::Xor),
        _ => Op::PredNot,
    };
    d.emit(op, [to, sources[0], sources[1], 0]);
    Ok(())
}

fn mov(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 2)?;
    let ty = m.ty()?;
    let bytes = ty.bytes();
    match (&o[0], &o[1]) {
        (to, from) if ty == Type::Pred => {
            let to = u32::from(d.pred_destination(to)?);
            match from {
                Operand::Number(number) => {
                    d.emit(Op::PredConst(number.bits(4) != 0), [to, 0, 0, 0]);
                }
                from => {
                    let (pred, negate) = d.pred(from)?;
                    let op = if negate { Op::PredNot } else { Op::PredMov };
                    d.emit(op, [to, u32::from(pred), 0, 0]);
                }
            }
        }
        (to, Operand::Name("%clock" | "%clock64" | "%globaltimer" | "%globaltimer_lo", 0)) => {
            let to = d.destination(to, bytes)?;
            d.emit(Op::Clock { wide: bytes == 8 }, [to, 0, 0, 0]);
        }
        (Operand::List(parts), from) => {
            let part_bytes = bytes / parts.len() as u32;
            let parts = d.list(&o[0], part_bytes, true)?;
            let a = d.source(from, bytes)?;
            d.emit(Op::Unpack { parts, part_bytes: part_bytes as u8 }, [0, a, 0, 0]);
        }
        (to, Operand::List(parts)) => {
            let part_bytes = bytes / parts.len() as u32;
            let parts = d.list(&o[1], part_bytes, false)?;
            let to = d.destination(to, bytes)?;
            d.emit(Op::Pack { parts, part_bytes: part_bytes as u8 }, [to, 0, 0, 0]);
        }
        (to, from) => {
            let to = d.destination(to, bytes)?;
            let a = d.source(from, bytes)?;
            d.emit(Op::Mov { wide: bytes == 8 }, [to, a, 0, 0]);
        }
    }
    Ok(())
}

//! Loads, stores, atomics, asynchronous copies, fences and hints.

use super::operands::Operand;
use super::{Decoder, Modifiers, Op, Refusal, Slot, Space};
use crate::ptx::instruction::{Access, Atomic, AtomicOp, CopyAsync};

const SPACES: &[(&str, Space)] = &[
    ("global", Space::Global),
    ("const", Space::Const),
    ("shared", Space::Shared),
    ("shared::cta", Space::Shared),
    ("local", Space::Local),
    ("param", Space::Param),
    ("param::entry", Space::Param),
];

/// Scopes and cache operators, which do not change what sequential execution gives.
const HINTS: &[&str] =
    &["cta", "cluster", "gpu", "sys", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "weak"];

/// Decodes the instruction if it is one of this file's.
pub(super) fn decode(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<bool, Refusal> {
    match root {
        "ld" | "ldu" => load(d, m, o)?,
        "st" => store(d, m, o)?,
        "atom" => atomic(d, true, m, o)?,
        "red" => atomic(d, false, m, o)?,
        "cp" if m.take("async") => copy(d, m, o)?,
        "membar" | "fence" | "prefetch" | "prefetchu" | "discard" | "applypriority"
        | "nanosleep" | "pmevent" => {
            m.drain();
            d.emit(Op::Nop, [0; 4]);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Space, order and hints, which loads, stores and atomics share.
fn place(m: &mut Modifiers<'_>) -> (Space, bool) {
    let space = m.choose(SPACES).unwrap_or(Space::Generic);
    let ordered = [("volatile", true), ("relaxed", true), ("acquire", true), ("release", true)];
    let strong = m.choose(&ordered).unwrap_or(false);
    m.take("acq_rel");
    m.drop_all(HINTS);
    m.drop_prefixed("L1::");
    m.drop_prefixed("L2::");
    (space, strong)
}

fn access(
    d: &mut Decoder<'_>,
    m: &mut Modifiers<'_>,
    address: &Operand<'_>,
    value: &Operand<'_>,
    write: bool,
) -> Result<(Access, Slot), Refusal> {
    let (mut space, strong) = place(m);
    if let (Space::Param, Operand::Address(base)) = (space, address)
        && let Operand::Name(name, _) = **base
        && d.variable(name).is_some_and(|(space, _)| space == Space::Local)
    {
        space = Space::Local;
    }
    let count = m.choose(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1);
    let ty = m.ty()?;
    let items = match value {
        Operand::List(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    if items.len() != count {
        return Err(format!("expected {count} registers, got {}", items.len()));
    }
    let mut registers = Vec::with_capacity(count);
    let mut register_bytes = ty.bytes().max(2);
    for item in items {
        match d.destination_register(item) {
            Ok((slot, bytes)) if bytes >= ty.bytes().min(4) || slot == Slot::MAX => {
                register_bytes = if slot == Slot::MAX { register_bytes } else { bytes };
                registers.push(slot);
            }
            _ if write => registers.push(d.source(item, ty.bytes())?),
            _ => return Err(format!("{item:?} cannot hold {ty:?}")),
        }
    }
    let (slot, offset, wide_address) = d.address(address)?;
    let register_bytes = register_bytes as u8;
    let registers = registers.into();
    Ok((Access { space, ty, offset, wide_address, registers, register_bytes, strong }, slot))
}

fn load(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 2)?;
    let (access, slot) = access(d, m, &o[1], &o[0], false)?;
    let op = match access.space {
        Space::Param => Op::LoadParam(Box::new(access)),
        Space::Generic | Space::Global | Space::Const | Space::Shared | Space::Local => {
            Op::Load(Box::new(access))
        }
    };
    d.emit(op, [0, slot, 0, 0]);
    Ok(())
}

fn store(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 2)?;
    let (access, slot) = access(d, m, &o[0], &o[1], true)?;
    if matches!(access.space, Space::Param | Space::Const) {
        return Err(format!("stores to {:?} are not supported", access.space));
    }
    d.emit(Op::Store(Box::new(access)), [0, slot, 0, 0]);
    Ok(())
}

const ATOMICS: &[(&str, AtomicOp)] = &[
    ("add", AtomicOp::Add),
    ("min", AtomicOp::Min),
    ("max", AtomicOp::Max),
    ("and", AtomicOp::And),
    ("or", AtomicOp::Or),
    ("xor", AtomicOp::Xor),
    ("exch", AtomicOp::Exch),
    ("cas", AtomicOp::Cas),
    ("inc", AtomicOp::Inc),
    ("dec", AtomicOp::Dec),
];

fn atomic(
    d: &mut Decoder<'_>,
    returns: bool,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    let (space, _) = place(m);
    m.take("noftz");
    let op = m.need(ATOMICS)?;
    let ty = m.ty()?;
    let first = usize::from(returns);
    d.count(o, first + if op == AtomicOp::Cas { 3 } else { 2 })?;
    let to = if returns { d.destination(&o[0], ty.bytes())? } else { 0 };
    let (slot, offset, wide_address) = d.address(&o[first])?;
    let b = d.source(&o[first + 1], ty.bytes())?;
    let c = if op == AtomicOp::Cas { d.source(&o[first + 2], ty.bytes())? } else { 0 };
    let returns = returns && to != Slot::MAX;
    let atomic = Atomic { space, op, ty, offset, wide_address, returns };
    d.emit(Op::Atomic(Box::new(atomic)), [to, slot, b, c]);
    Ok(())
}

fn copy(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    if m.take("commit_group") {
        d.emit(Op::CopyCommit, [0; 4]);
        return Ok(());
    }
    if m.take("wait_all") {
        d.emit(Op::CopyCommit, [0; 4]);
        d.emit(Op::CopyWait { pending: 0 }, [0; 4]);
        return Ok(());
    }
    if m.take("wait_group") {
        let pending = number(d, o, 0)?;
        d.emit(Op::CopyWait { pending }, [0; 4]);
        return Ok(());
    }
    m.need(&[("shared", ()), ("shared::cta", ())])?;
    m.need(&[("global", ())])?;
    let all_levels = m.need(&[("ca", true), ("cg", false)])?;
    m.drop_prefixed("L2::");
    let bytes = number(d, o, 2)?;
    if !(matches!(bytes, 4 | 8) && all_levels || bytes == 16) {
        return Err(format!("expected 4, 8 (with .ca) or 16 bytes, got {bytes}"));
    }
    let source_bytes = match o.get(3) {
        Some(operand) => Some(d.source(operand, 4)?),
        None => None,
    };
    let (to, to_offset, to_wide) = d.address(&o[0])?;
    let (from, from_offset, from_wide) = d.address(&o[1])?;
    if !from_wide {
        return Err("expected a global address of 64 bits".into());
    }
    let copy = CopyAsync { bytes, source_bytes, to_offset, to_wide, from_offset };
    d.emit(Op::CopyAsync(Box::new(copy)), [0, to, from, 0]);
    Ok(())
}

fn number(d: &Decoder<'_>, o: &[Operand<'_>], index: usize) -> Result<u32, Refusal> {
    match d.at(o, index)? {
        Operand::Number(number) => Ok(number.bits(4) as u32),
        other => Err(format!("expected a number, got {other:?}")),
    }
}

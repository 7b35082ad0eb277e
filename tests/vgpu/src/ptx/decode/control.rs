//! Branches, barriers, and what the lanes of a warp do together.

use super::operands::Operand;
use super::{Decoder, Modifiers, NO_PRED, Op, Refusal, Slot, Type};
use crate::ptx::instruction::{Barrier, Redux, ShuffleMode, Vote};

/// Decodes the instruction if it is one of this file's.
pub(super) fn decode(
    d: &mut Decoder<'_>,
    root: &str,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<bool, Refusal> {
    match root {
        "bra" => branch(d, m, o)?,
        "brx" => branch_index(d, m, o)?,
        "ret" if !d.returns.is_empty() => {
            m.take("uni");
            let target = d.returns.last().map_or(0, |label| *label as u32);
            d.emit(Op::Branch { target }, [0; 4]);
        }
        "ret" | "exit" => {
            m.take("uni");
            d.emit(Op::Exit, [0; 4]);
        }
        "trap" | "brkpt" => d.emit(Op::Trap, [0; 4]),
        "bar" if m.take("warp") => {
            m.take("sync");
            let mask = d.source(d.at(o, 0)?, 4)?;
            d.emit(Op::BarrierWarp { mask }, [0; 4]);
        }
        "bar" | "barrier" => barrier(d, m, o)?,
        "shfl" => shuffle(d, m, o)?,
        "vote" => vote(d, m, o)?,
        "match" => match_lanes(d, m, o)?,
        "redux" => redux(d, m, o)?,
        "activemask" => {
            m.ty()?;
            let to = d.destination(d.at(o, 0)?, 4)?;
            d.emit(Op::ActiveMask, [to, 0, 0, 0]);
        }
        "elect" => {
            m.take("sync");
            let mask = d.source(d.at(o, 1)?, 4)?;
            let (to, pred) = pair(d, &o[0])?;
            d.emit(Op::Elect { mask }, [to, u32::from(pred), 0, 0]);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn branch(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    m.take("uni");
    let Operand::Name(label, 0) = d.at(o, 0)? else {
        return Err(format!("expected a label, got {:?}", o[0]));
    };
    let target = d.label_number(label)? as u32;
    d.emit(Op::Branch { target }, [0; 4]);
    Ok(())
}

fn branch_index(
    d: &mut Decoder<'_>,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    m.take("idx");
    m.take("uni");
    let a = d.source(d.at(o, 0)?, 4)?;
    let Operand::Name(name, 0) = d.at(o, 1)? else {
        return Err(format!("expected a table of labels, got {:?}", o[1]));
    };
    let targets = d.table(name)?;
    d.emit(Op::BranchIndex { targets }, [0, a, 0, 0]);
    Ok(())
}

fn barrier(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    m.take("cta");
    m.take("aligned");
    let kinds = [("sync", Barrier::Sync), ("arrive", Barrier::Arrive), ("red", Barrier::Popc)];
    let mut barrier = m.need(&kinds)?;
    let mut operands = o.to_vec();
    let (mut to, mut pred, mut negate) = (0, NO_PRED, false);
    if barrier == Barrier::Popc {
        let reductions = [("popc", Barrier::Popc), ("and", Barrier::And), ("or", Barrier::Or)];
        barrier = m.need(&reductions)?;
        m.ty()?;
        let first = operands.remove(0);
        to = match barrier {
            Barrier::And | Barrier::Or => u32::from(d.pred_destination(&first)?),
            Barrier::Popc | Barrier::Sync | Barrier::Arrive => d.destination(&first, 4)?,
        };
        let last = operands.pop().ok_or("expected a predicate")?;
        (pred, negate) = d.pred(&last)?;
    }
    let number = d.source(d.at(&operands, 0)?, 4)?;
    let count = match operands.get(1) {
        Some(operand) => d.source(operand, 4)?,
        None if barrier == Barrier::Arrive => return Err("expected a number of threads".into()),
        None => Slot::MAX,
    };
    d.emit(Op::Barrier { barrier, pred, negate }, [to, number, count, 0]);
    Ok(())
}

/// A register and perhaps a predicate behind a bar.
fn pair(d: &Decoder<'_>, operand: &Operand<'_>) -> Result<(Slot, u16), Refusal> {
    match operand {
        Operand::Pair(to, pred) => {
            let to = d.destination(&Operand::Name(to, 0), 4)?;
            Ok((to, d.pred_destination(&Operand::Name(pred, 0))?))
        }
        other => Ok((d.destination(other, 4)?, NO_PRED)),
    }
}

fn need_sync(m: &mut Modifiers<'_>) -> Result<(), Refusal> {
    if m.take("sync") { Ok(()) } else { Err("expected .sync: targets are sm_70 and later".into()) }
}

fn shuffle(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 5)?;
    need_sync(m)?;
    let mode = m.need(&[
        ("up", ShuffleMode::Up),
        ("down", ShuffleMode::Down),
        ("bfly", ShuffleMode::Bfly),
        ("idx", ShuffleMode::Index),
    ])?;
    m.ty()?;
    let (to, valid) = pair(d, &o[0])?;
    let (a, b) = (d.source(&o[1], 4)?, d.source(&o[2], 4)?);
    let (c, mask) = (d.source(&o[3], 4)?, d.source(&o[4], 4)?);
    d.emit(Op::Shuffle { mode, valid, mask }, [to, a, b, c]);
    Ok(())
}

fn vote(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 3)?;
    need_sync(m)?;
    let vote = m.need(&[
        ("all", Vote::All),
        ("any", Vote::Any),
        ("uni", Vote::Uni),
        ("ballot", Vote::Ballot),
    ])?;
    m.ty()?;
    let to = match vote {
        Vote::Ballot => d.destination(&o[0], 4)?,
        Vote::All | Vote::Any | Vote::Uni => u32::from(d.pred_destination(&o[0])?),
    };
    let (pred, negate) = d.pred(&o[1])?;
    let mask = d.source(&o[2], 4)?;
    d.emit(Op::Vote { vote, negate, mask }, [to, u32::from(pred), 0, 0]);
    Ok(())
}

fn match_lanes(
    d: &mut Decoder<'_>,
    m: &mut Modifiers<'_>,
    o: &[Operand<'_>],
) -> Result<(), Refusal> {
    d.count(o, 3)?;
    need_sync(m)?;
    let all = m.need(&[("all", true), ("any", false)])?;
    let bytes = m.ty()?.bytes();
    let (to, valid) = pair(d, &o[0])?;
    let (a, mask) = (d.source(&o[1], bytes)?, d.source(&o[2], 4)?);
    d.emit(Op::Match { all, wide: bytes == 8, valid, mask }, [to, a, 0, 0]);
    Ok(())
}

fn redux(d: &mut Decoder<'_>, m: &mut Modifiers<'_>, o: &[Operand<'_>]) -> Result<(), Refusal> {
    d.count(o, 3)?;
    need_sync(m)?;
    let names = [("add", 0), ("min", 1), ("max", 2), ("and", 3), ("or", 4), ("xor", 5)];
    let name = m.need(&names)?;
    let ty = m.ty()?;
    let redux = match (name, ty) {
        (0, Type::U32 | Type::S32) => Redux::Add,
        (1, Type::S32) => Redux::MinS,
        (2, Type::S32) => Redux::MaxS,
        (1, Type::U32) => Redux::MinU,
        (2, Type::U32) => Redux::MaxU,
        (3, Type::B32) => Redux::And,
        (4, Type::B32) => Redux::Or,
        (5, Type::B32) => Redux::Xor,
        _ => return Err(format!("no such reduction of {ty:?}")),
    };
    let to = d.destination(&o[0], 4)?;
    let (a, mask) = (d.source(&o[1], 4)?, d.source(&o[2], 4)?);
    d.emit(Op::Redux { redux, mask }, [to, a, 0, 0]);
    Ok(())
}

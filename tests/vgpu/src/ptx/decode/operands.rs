//! Operands: as written, and as slots.

use super::{
    Decoder, Lexer, NO_PRED, Pred, PtxError, Refusal, Register, Slot, Space, Special, Word,
};
use crate::ptx::module::{Literal, literal};

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand<'a> {
    /// A register, special register, symbol or label, with an added offset.
    Name(&'a str, i64),
    /// A number.
    Number(Literal),
    /// A negated predicate.
    Not(&'a str),
    /// `a|b`.
    Pair(&'a str, &'a str),
    /// `[base+offset]`; the base may be a number.
    Address(Box<Operand<'a>>),
    /// `{..}`.
    List(Vec<Operand<'a>>),
}

/// Reads operands up to and with the semicolon.
pub(super) fn read<'a>(lexer: &mut Lexer<'a>) -> Result<Vec<Operand<'a>>, PtxError> {
    let mut operands = Vec::new();
    while !lexer.accept(';') {
        operands.push(one(lexer)?);
        lexer.accept(',');
    }
    Ok(operands)
}

fn one<'a>(lexer: &mut Lexer<'a>) -> Result<Operand<'a>, PtxError> {
    if lexer.accept('{') {
        let mut list = Vec::new();
        while !lexer.accept('}') {
            list.push(one(lexer)?);
            lexer.accept(',');
        }
        return Ok(Operand::List(list));
    }
    if lexer.accept('(') {
        let mut list = Vec::new();
        while !lexer.accept(')') {
            list.push(one(lexer)?);
            lexer.accept(',');
        }
        return Ok(Operand::List(list));
    }
    if lexer.accept('[') {
        let base = one(lexer)?;
        lexer.expect(']')?;
        return Ok(Operand::Address(Box::new(base)));
    }
    if lexer.accept('!') {
        return Ok(Operand::Not(lexer.name()?));
    }
    if lexer.accept('-') {
        return negative(lexer);
    }
    let line = lexer.line();
    let name = match lexer.take() {
        Word::Name(name) => name,
        other => return Err(PtxError::syntax(line, format!("expected an operand, got {other:?}"))),
    };
    if let Some(number) = literal(name) {
        return Ok(Operand::Number(number));
    }
    if lexer.accept('|') {
        return Ok(Operand::Pair(name, lexer.name()?));
    }
    let offset = if lexer.accept('+') {
        lexer.integer()?
    } else if lexer.accept('-') {
        -lexer.integer()?
    } else {
        0
    };
    Ok(Operand::Name(name, offset))
}

fn negative<'a>(lexer: &mut Lexer<'a>) -> Result<Operand<'a>, PtxError> {
    let line = lexer.line();
    let name = lexer.name()?;
    let number = match literal(name) {
        Some(Literal::Int(value)) => Literal::Int(value.wrapping_neg()),
        Some(Literal::F32(bits)) => Literal::F32(bits ^ 1 << 31),
        Some(Literal::F64(bits)) => Literal::F64(bits ^ 1 << 63),
        None => return Err(PtxError::syntax(line, format!("expected a number, got `{name}`"))),
    };
    Ok(Operand::Number(number))
}

impl Decoder<'_> {
    /// Operand `index`, which must be there.
    pub(super) fn at<'o, 'a>(
        &self,
        operands: &'o [Operand<'a>],
        index: usize,
    ) -> Result<&'o Operand<'a>, Refusal> {
        operands.get(index).ok_or_else(|| format!("operand {} is missing", index + 1))
    }

    /// Refuses more or fewer than `count` operands.
    pub(super) fn count(&self, operands: &[Operand<'_>], count: usize) -> Result<(), Refusal> {
        if operands.len() == count {
            return Ok(());
        }
        Err(format!("expected {count} operands, got {}", operands.len()))
    }

    fn register(&self, name: &str) -> Option<Register> {
        for scope in self.scopes.iter().rev() {
            if let Some((register, None)) = scope.registers.get(name) {
                return Some(*register);
            }
            let prefix = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
            let Ok(number) = name[prefix.len()..].parse::<u32>() else { continue };
            if let Some((register, Some(count))) = scope.registers.get(prefix) {
                let rows = if register.bytes == 8 { 2 } else { 1 };
                let slot = register.slot + rows * number;
                return (number < *count).then_some(Register { slot, ..*register });
            }
        }
        None
    }

    /// The variable `name` of the entry or of the function that is put into it.
    pub(super) fn variable(&self, name: &str) -> Option<(Space, i64)> {
        self.scopes.iter().rev().find_map(|scope| scope.variables.get(name)).copied()
    }

    /// The predicate register `name`.
    pub(super) fn pred_named(&self, name: &str) -> Result<Pred, Refusal> {
        match self.register(name) {
            Some(Register { slot, bytes: 0 }) => Ok(slot as Pred),
            Some(_) => Err(format!("`{name}` is not a predicate")),
            None => Err(format!("unknown register `{name}`")),
        }
    }

    /// A predicate as source and whether it is negated.
    pub(super) fn pred(&self, operand: &Operand<'_>) -> Result<(Pred, bool), Refusal> {
        match operand {
            Operand::Name(name, 0) => Ok((self.pred_named(name)?, false)),
            Operand::Not(name) => Ok((self.pred_named(name)?, true)),
            other => Err(format!("expected a predicate, got {other:?}")),
        }
    }

    /// A predicate as destination, or none for `_`.
    pub(super) fn pred_destination(&self, operand: &Operand<'_>) -> Result<Pred, Refusal> {
        match operand {
            Operand::Name("_", 0) => Ok(NO_PRED),
            Operand::Name(name, 0) => self.pred_named(name),
            other => Err(format!("expected a predicate, got {other:?}")),
        }
    }

    /// A register as destination, with the bytes it has.
    pub(super) fn destination_register(
        &self,
        operand: &Operand<'_>,
    ) -> Result<(Slot, u32), Refusal> {
        match operand {
            Operand::Name("_", 0) => Ok((Slot::MAX, 4)),
            Operand::Name(name, 0) => match self.register(name) {
                Some(Register { bytes: 0, .. }) => Err(format!("`{name}` is a predicate")),
                Some(register) => Ok((register.slot, register.bytes)),
                None => Err(format!("unknown register `{name}`")),
            },
            other => Err(format!("expected a register, got {other:?}")),
        }
    }

    /// A register of 8 bytes, or of at most 4, as destination.
    pub(super) fn destination(&self, operand: &Operand<'_>, bytes: u32) -> Result<Slot, Refusal> {
        let (slot, got) = self.destination_register(operand)?;
        if (got == 8) != (bytes == 8) {
            return Err(format!("expected a register of {bytes} bytes, got {got}"));
        }
        Ok(slot)
    }

    /// A source of 8 bytes, or of at most 4: a register, number, special register or address.
    pub(super) fn source(&mut self, operand: &Operand<'_>, bytes: u32) -> Result<Slot, Refusal> {
        match operand {
            Operand::Number(number) => Ok(self.constant(number.bits(bytes), bytes == 8)),
            Operand::Name(name, offset) => self.named_source(name, *offset, bytes),
            other => Err(format!("expected a register or a number, got {other:?}")),
        }
    }

    fn named_source(&mut self, name: &str, offset: i64, bytes: u32) -> Result<Slot, Refusal> {
        if let Some(register) = self.register(name) {
            if register.bytes == 0 || (register.bytes == 8) != (bytes == 8) || offset != 0 {
                let got = register.bytes;
                return Err(format!("`{name}`: expected {bytes} bytes, got {got}"));
            }
            return Ok(register.slot);
        }
        if let Some(special) = special(name) {
            return Ok(self.special(special, bytes == 8));
        }
        if name == "WARP_SZ" {
            return Ok(self.constant(32, bytes == 8));
        }
        if let Some((space, place)) = self.variable(name) {
            if space == Space::Shared && place == i64::MAX {
                return Ok(self.symbol("", offset, bytes == 8));
            }
            return Ok(self.constant((place + offset) as u64, bytes == 8));
        }
        if self.module.variables.iter().any(|variable| variable.name == name) {
            return Ok(self.symbol(name, offset, bytes == 8));
        }
        Err(format!("unknown name `{name}`"))
    }

    /// A slot that always holds `bits`.
    pub(super) fn constant(&mut self, bits: u64, wide: bool) -> Slot {
        let bits = if wide { bits } else { bits & 0xffff_ffff };
        if let Some(slot) = self.constants.get(&(bits, wide)) {
            return *slot;
        }
        let slot = self.allocate(if wide { 8 } else { 4 }, 1);
        self.constants.insert((bits, wide), slot);
        slot
    }

    fn symbol(&mut self, name: &str, offset: i64, wide: bool) -> Slot {
        let key = (name.to_owned(), offset, wide);
        if let Some(slot) = self.symbols.get(&key) {
            return *slot;
        }
        let slot = self.allocate(if wide { 8 } else { 4 }, 1);
        self.symbols.insert(key, slot);
        slot
    }

    fn special(&mut self, special: Special, wide: bool) -> Slot {
        if let Some(slot) = self.specials.get(&(special, wide)) {
            return *slot;
        }
        let slot = self.allocate(if wide { 8 } else { 4 }, 1);
        self.specials.insert((special, wide), slot);
        slot
    }

    /// The base of `[..]` as a slot, the constant added to it, and whether the base has 64 bits.
    pub(super) fn address(&mut self, operand: &Operand<'_>) -> Result<(Slot, i64, bool), Refusal> {
        let Operand::Address(base) = operand else {
            return Err(format!("expected an address, got {operand:?}"));
        };
        match &**base {
            Operand::Name(name, offset) => match self.register(name) {
                Some(Register { slot, bytes }) if bytes >= 4 => Ok((slot, *offset, bytes == 8)),
                Some(_) => Err(format!("`{name}` holds no address")),
                None => Ok((self.named_source(name, *offset, 8)?, 0, true)),
            },
            Operand::Number(number) => Ok((self.constant(number.bits(8), true), 0, true)),
            other => Err(format!("expected an address, got {other:?}")),
        }
    }

    /// The registers of a fragment or vector, each of `bytes`.
    pub(super) fn list(
        &mut self,
        operand: &Operand<'_>,
        bytes: u32,
        write: bool,
    ) -> Result<Box<[Slot]>, Refusal> {
        let items = match operand {
            Operand::List(items) => items.as_slice(),
            other => std::slice::from_ref(other),
        };
        let mut slots = Vec::with_capacity(items.len());
        for item in items {
            slots.push(if write {
                self.destination(item, bytes)?
            } else {
                self.source(item, bytes)?
            });
        }
        Ok(slots.into())
    }
}

fn special(name: &str) -> Option<Special> {
    let axis = |of: fn(u8) -> Special| match name.rsplit_once('.').map(|(_, axis)| axis) {
        Some("x") => Some(of(0)),
        Some("y") => Some(of(1)),
        Some("z") => Some(of(2)),
        _ => None,
    };
    match name.split('.').next()? {
        "%tid" => axis(Special::Tid),
        "%ntid" => axis(Special::Ntid),
        "%ctaid" => axis(Special::Ctaid),
        "%nctaid" => axis(Special::Nctaid),
        "%laneid" => Some(Special::LaneId),
        "%warpid" => Some(Special::WarpId),
        "%nwarpid" => Some(Special::NWarpId),
        "%smid" => Some(Special::SmId),
        "%nsmid" => Some(Special::NSmId),
        "%gridid" => Some(Special::GridId),
        "%lanemask_eq" => Some(Special::LaneMaskEq),
        "%lanemask_lt" => Some(Special::LaneMaskLt),
        "%lanemask_le" => Some(Special::LaneMaskLe),
        "%lanemask_gt" => Some(Special::LaneMaskGt),
        "%lanemask_ge" => Some(Special::LaneMaskGe),
        "%dynamic_smem_size" => Some(Special::DynamicSmem),
        "%total_smem_size" => Some(Special::TotalSmem),
        _ => None,
    }
}

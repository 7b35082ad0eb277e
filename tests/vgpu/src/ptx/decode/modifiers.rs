//! The dotted modifiers of an opcode, taken one by one.

use super::super::Type;
use super::Refusal;
use crate::float::Rounding;

/// What is left of an opcode's modifiers.
pub(super) struct Modifiers<'a> {
    root: &'a str,
    rest: Vec<&'a str>,
}

impl<'a> Modifiers<'a> {
    /// Splits `opcode` at its dots.
    pub(super) fn new(opcode: &'a str) -> Self {
        let mut parts = opcode.split('.');
        let root = parts.next().unwrap_or("");
        Self { root, rest: parts.collect() }
    }

    /// The word before the first dot.
    pub(super) fn root(&self) -> &'a str {
        self.root
    }

    /// Takes the modifier `name` if it is there.
    pub(super) fn take(&mut self, name: &str) -> bool {
        let place = self.rest.iter().position(|modifier| *modifier == name);
        if let Some(place) = place {
            self.rest.remove(place);
        }
        place.is_some()
    }

    /// Takes the first of `names` that is there and gives its value.
    pub(super) fn choose<T: Copy>(&mut self, names: &[(&str, T)]) -> Option<T> {
        names.iter().find(|(name, _)| self.take(name)).map(|(_, value)| *value)
    }

    /// Like `choose`, where one of the names must be there.
    pub(super) fn need<T: Copy>(&mut self, names: &[(&str, T)]) -> Result<T, Refusal> {
        self.choose(names).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            format!("expected one of .{}", names.join(", ."))
        })
    }

    /// Takes every type, in order.
    pub(super) fn types(&mut self) -> Vec<Type> {
        let mut types = Vec::new();
        self.rest.retain(|modifier| match Type::named(modifier) {
            Some(ty) => {
                types.push(ty);
                false
            }
            None => true,
        });
        types
    }

    /// Takes the one type.
    pub(super) fn ty(&mut self) -> Result<Type, Refusal> {
        match self.types()[..] {
            [ty] => Ok(ty),
            ref types => Err(format!("expected one type, got {}", types.len())),
        }
    }

    /// Takes modifiers that begin with `prefix`: cache hints and the like.
    pub(super) fn drop_prefixed(&mut self, prefix: &str) {
        self.rest.retain(|modifier| !modifier.starts_with(prefix));
    }

    /// Takes any of `names`, which say nothing to sequential execution.
    pub(super) fn drop_all(&mut self, names: &[&str]) {
        self.rest.retain(|modifier| !names.contains(modifier));
    }

    /// Takes a rounding mode of floating point.
    pub(super) fn rounding(&mut self) -> Option<Rounding> {
        self.choose(&[
            ("rn", Rounding::Nearest),
            ("rna", Rounding::NearestAway),
            ("rz", Rounding::Zero),
            ("rm", Rounding::Down),
            ("rp", Rounding::Up),
        ])
    }

    /// Takes everything that is left.
    pub(super) fn drain(&mut self) -> Vec<&'a str> {
        std::mem::take(&mut self.rest)
    }

    /// Whether the modifier `name` is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.rest.contains(&name)
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.rest[..] {
            [] => Ok(()),
            ref rest => Err(format!("unknown modifiers .{}", rest.join("."))),
        }
    }
}

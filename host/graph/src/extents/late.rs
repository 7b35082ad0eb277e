//! Extents that an op finds while a plan runs, and what follows from them.
//!
//! Before a run each counts as the most that it can be, so that memory is reserved once. What follows
//! from it is bounded the same way: every rule grows with its operands, but for a quotient, whose
//! divisor counts as 1. Once an op has found an extent, rules are evaluated and checks are made as
//! their operands become known, and shapes shrink to what they are.

use super::{Bound, Dimensions, Extent, Extents, UNBOUND, shape};
use crate::dim::{DimCheck, DimRule};
use crate::graph::ValueId;
use crate::{Dim, RunError};
use aimass_tensor::Shape;
use std::collections::HashMap;

/// Which symbols are late, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// By symbol; empty if none is.
    late: Vec<bool>,
    /// Numbers of derived dimensions that follow from a late symbol.
    rules: HashMap<usize, Vec<usize>>,
    checks: HashMap<usize, Vec<usize>>,
    values: HashMap<usize, Vec<usize>>,
}

impl Late {
    pub(super) fn new(
        symbols: &HashMap<Dim, usize>,
        derived: &[(usize, DimRule)],
        checks: &[DimCheck],
        values: &[Dimensions],
    ) -> Late {
        let mut own = Late::default();
        if !derived.iter().any(|(_, rule)| matches!(rule, DimRule::Measured { .. })) {
            return own;
        }
        own.late = vec![false; symbols.len()];
        for (number, (symbol, rule)) in derived.iter().enumerate() {
            own.late[*symbol] = matches!(rule, DimRule::Measured { .. });
            for operand in rule.operands() {
                if let Some(&operand) = symbols.get(operand).filter(|&&operand| own.late[operand]) {
                    own.late[*symbol] = true;
                    own.rules.entry(operand).or_default().push(number);
                }
            }
        }
        for (number, check) in checks.iter().enumerate() {
            for side in [&check.left, &check.right] {
                if let Some(&side) = symbols.get(side).filter(|&&side| own.late[side]) {
                    own.checks.entry(side).or_default().push(number);
                }
            }
        }
        for (number, dims) in values.iter().enumerate() {
            own.add_value(number, dims);
        }
        own
    }

    pub(super) fn is(&self, symbol: usize) -> bool {
        self.late.get(symbol).copied().unwrap_or(false)
    }

    /// What is known when a run starts, by symbol.
    pub(super) fn known(&self) -> Vec<bool> {
        self.late.iter().map(|late| !late).collect()
    }

    pub(super) fn add_value(&mut self, number: usize, dims: &Dimensions) {
        let Dimensions::Bound(extents) = dims else { return };
        for extent in extents {
            if let Extent::Symbol(symbol) = *extent
                && self.is(symbol)
            {
                self.values.entry(symbol).or_default().push(number);
            }
        }
    }
}

impl Bound {
    fn is_known(&self, symbol: usize) -> bool {
        self.known.get(symbol).copied().unwrap_or(true)
    }
}

impl Extents {
    /// Whether some extents of a value are known only while a plan runs.
    pub(crate) fn is_measured(&self, value: ValueId) -> bool {
        match self.values.get(value.index()) {
            Some(Dimensions::Bound(extents)) => extents.iter().any(|extent| match *extent {
                Extent::Symbol(symbol) => self.late.is(symbol),
                Extent::Fixed(_) => false,
            }),
            Some(Dimensions::Known(_)) | None => false,
        }
    }

    /// The most that a rule can give, of which some operands are bounds themselves.
    ///
    /// With `all`, every extent that is not fixed may be a bound.
    pub(super) fn most(&self, rule: &DimRule, extents: &[u64], all: bool) -> Result<u64, RunError> {
        match rule {
            DimRule::Broadcast(a, b) => Ok(self.extent(a, extents).max(self.extent(b, extents))),
            DimRule::Quotient { factor, above, divisor, below } => {
                let known = below.iter().filter(|dim| !all && !self.is_late(dim));
                let below = known.fold(*divisor, |product, dim| {
                    product.saturating_mul(self.extent(dim, extents))
                });
                let above = self.evaluate(&DimRule::Product(*factor, above.clone()), extents)?;
                Ok(above / below.max(1))
            }
            DimRule::Sum(_)
            | DimRule::Product(_, _)
            | DimRule::Strided { .. }
            | DimRule::Window { .. }
            | DimRule::Spread { .. }
            | DimRule::Larger(_, _)
            | DimRule::Measured { .. } => self.evaluate(rule, extents),
        }
    }

    /// Binds the extents of a nested plan to shapes of its inputs. Unless `exact`, these are the most
    /// that they can be, and no check is made.
    ///
    /// # Errors
    /// [`RunError`] if extents that must be equal are not, or too large.
    pub(crate) fn bind_shapes(&self, shapes: &[Shape], exact: bool) -> Result<Bound, RunError> {
        if shapes.len() != self.inputs.len() {
            return Err(RunError::Internal("a region got another number of inputs"));
        }
        let mut extents = vec![UNBOUND; self.symbols.len()];
        for (index, (dims, shape)) in self.inputs.iter().zip(shapes).enumerate() {
            for (extent, &got) in dims.iter().zip(shape.iter()) {
                let got = got as u64;
                let expected = match *extent {
                    Extent::Fixed(extent) => extent,
                    Extent::Symbol(symbol) => {
                        let known = &mut extents[symbol];
                        *known = if *known == UNBOUND { got } else { got.max(*known) };
                        *known
                    }
                };
                if exact && expected != got {
                    return Err(RunError::Extent { op: "region", left: expected, right: got });
                }
            }
            if let Some(offsets) = self.offsets[index] {
                extents[offsets.batch] = (shape[0] as u64).saturating_sub(1);
            }
        }
        if exact {
            return self.derive(extents);
        }
        for (symbol, rule) in &self.derived {
            extents[*symbol] = self.most(rule, &extents, true)?;
        }
        Ok(Bound { extents, known: self.late.known() })
    }

    /// Takes the extents of a value as its op found them, and shrinks what follows from them.
    ///
    /// # Errors
    /// [`RunError`] if extents that must be equal are not, or a derived one cannot be.
    pub(crate) fn measure(
        &self,
        bound: &mut Bound,
        shapes: &mut [Shape],
        value: ValueId,
        found: &Shape,
    ) -> Result<(), RunError> {
        let Some(Dimensions::Bound(extents)) = self.values.get(value.index()) else {
            return Ok(());
        };
        let mut settled = Vec::new();
        for (extent, &found) in extents.iter().zip(found.iter()) {
            let Extent::Symbol(symbol) = *extent else { continue };
            if bound.is_known(symbol) {
                continue;
            }
            if found as u64 > bound.extents[symbol] {
                return Err(RunError::Internal("an op found more than its bound"));
            }
            bound.extents[symbol] = found as u64;
            bound.known[symbol] = true;
            settled.push(symbol);
        }
        while let Some(symbol) = settled.pop() {
            self.settle(symbol, bound, shapes, &mut settled)?;
        }
        Ok(())
    }

    fn settle(
        &self,
        symbol: usize,
        bound: &mut Bound,
        shapes: &mut [Shape],
        settled: &mut Vec<usize>,
    ) -> Result<(), RunError> {
        let list = |of: &HashMap<usize, Vec<usize>>| of.get(&symbol).cloned().unwrap_or_default();
        for number in list(&self.late.checks) {
            let check = &self.checks[number];
            if [&check.left, &check.right].iter().all(|dim| self.has(dim, bound)) {
                self.check(check, &bound.extents)?;
            }
        }
        for number in list(&self.late.rules) {
            let (derived, rule) = &self.derived[number];
            let measured = matches!(rule, DimRule::Measured { .. });
            let ready = || rule.operands().iter().all(|dim| self.has(dim, bound));
            if !measured && !bound.is_known(*derived) && ready() {
                bound.extents[*derived] = self.evaluate(rule, &bound.extents)?;
                bound.known[*derived] = true;
                settled.push(*derived);
            }
        }
        for number in list(&self.late.values) {
            let next = shape(&self.values[number], bound)?;
            if next.elements() > shapes[number].elements() {
                return Err(RunError::Internal("a value grew beyond its bound"));
            }
            shapes[number] = next;
        }
        Ok(())
    }

    fn has(&self, dim: &Dim, bound: &Bound) -> bool {
        self.symbols.get(dim).is_none_or(|&symbol| bound.is_known(symbol))
    }
}

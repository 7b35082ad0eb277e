//! Dimensions, their classes, and what is known about them before a plan runs.

use crate::GraphError;
use aimass_tensor::{DType, RANK_MAX, Shape};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// One dimension of a value. Its class decides what may be batched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A known extent in elements.
    Fixed(u64),
    /// Independent items, one row each; only axis 0.
    Batch,
    /// Rows of sequences one after the other; only axis 0. Names the offsets input.
    Ragged(Arc<str>),
    /// Any extent; equal names are equal extents within one run. Never joined.
    Dynamic(Arc<str>),
}

impl Dim {
    /// Whether calls may be joined along it: `Batch` or `Ragged`.
    pub fn is_rows(&self) -> bool {
        match self {
            Dim::Batch | Dim::Ragged(_) => true,
            Dim::Fixed(_) | Dim::Dynamic(_) => false,
        }
    }

    /// The extent, where it is known.
    pub fn fixed(&self) -> Option<u64> {
        match self {
            Dim::Fixed(extent) => Some(*extent),
            Dim::Batch | Dim::Ragged(_) | Dim::Dynamic(_) => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(extent) => write!(f, "{extent}"),
            Dim::Batch => f.write_str("batch"),
            Dim::Ragged(offsets) => write!(f, "ragged({offsets})"),
            Dim::Dynamic(name) => f.write_str(if name.is_empty() { "?" } else { name }),
        }
    }
}

/// A list of dimensions as errors and listings show it: `[ragged(offsets), 384]`.
pub(crate) struct Dims<'a>(pub(crate) &'a [Dim]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            write!(f, "{}{dim}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// Name, dtype and dimensions of one input or output of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Unique within its list, at most 128 bytes.
    pub name: Arc<str>,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first, at most 8.
    pub dims: Vec<Dim>,
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.name, self.dtype, Dims(&self.dims))
    }
}

/// Inputs and outputs of a graph, in the order of their declaration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// What a run takes. An offsets input is u32 with one anonymous-by-name dynamic dimension.
    pub inputs: Vec<TensorSpec>,
    /// What a run answers.
    pub outputs: Vec<TensorSpec>,
}

/// What the builder inferred about a value.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueSpec {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: Vec<Dim>,
    /// The ragged dimension that this value holds the offsets of.
    pub(crate) offsets: Option<Arc<str>>,
    /// Whether the value is a weight or a constant.
    pub(crate) constant: bool,
}

impl ValueSpec {
    pub(crate) fn new(dtype: DType, dims: Vec<Dim>) -> ValueSpec {
        ValueSpec { dtype, dims, offsets: None, constant: false }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }
}

impl fmt::Display for ValueSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, Dims(&self.dims))
    }
}

/// An extent that follows from others when a run starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DimRule {
    /// `Σ dims`.
    Sum(Vec<Dim>),
    /// `factor * Π dims`.
    Product(u64, Vec<Dim>),
    /// `(factor * Π above) / (divisor * Π below)`, which must be whole.
    Quotient { factor: u64, above: Vec<Dim>, divisor: u64, below: Vec<Dim> },
    /// Elements `start, start + step, ..` below `min(end, dim)`.
    Strided { of: Dim, start: u64, end: u64, step: u64 },
    /// Positions of a window of `span` elements: `(of + pads - span) / stride + 1`.
    Window { of: Dim, span: u64, stride: u64, pads: u64 },
    /// What windows at `of` positions cover: `stride (of - 1) + plus - minus`.
    Spread { of: Dim, stride: u64, plus: u64, minus: u64 },
    /// The common extent of two dimensions of which each may be 1.
    Broadcast(Dim, Dim),
    /// The larger of two extents.
    Larger(Dim, Dim),
    /// What an op finds while a plan runs, at most `most`. Each is a dimension of its own.
    Measured { number: usize, most: Dim },
}

impl DimRule {
    /// The dimensions that the extent follows from; of a measured one, its bound.
    pub(crate) fn operands(&self) -> Vec<&Dim> {
        match self {
            DimRule::Sum(dims) | DimRule::Product(_, dims) => dims.iter().collect(),
            DimRule::Quotient { above, below, .. } => above.iter().chain(below).collect(),
            DimRule::Strided { of, .. }
            | DimRule::Window { of, .. }
            | DimRule::Spread { of, .. } => vec![of],
            DimRule::Broadcast(a, b) | DimRule::Larger(a, b) => vec![a, b],
            DimRule::Measured { most, .. } => vec![most],
        }
    }
}

/// Two extents that must be equal when a run starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DimCheck {
    pub(crate) op: &'static str,
    pub(crate) left: Dim,
    pub(crate) right: Dim,
}

/// Rules of derived dimensions and the checks that wait for a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct DimTable {
    /// Derived dimensions in order; [`DimTable::name`] names them.
    pub(crate) derived: Vec<DimRule>,
    /// Of each derived dimension, whether its extent is known only while a plan runs.
    pub(crate) late: Vec<bool>,
    /// What tells the names of this table from those of a graph around it.
    pub(crate) prefix: String,
    pub(crate) checks: Vec<DimCheck>,
    /// Names that inputs bind.
    pub(crate) bound: HashSet<Arc<str>>,
    /// Whether an input has a batch dimension, or offsets count sequences.
    pub(crate) has_batch: bool,
}

impl DimTable {
    /// How many rules and checks there are.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.derived.len(), self.checks.len())
    }

    /// Forgets what came after [`DimTable::len`] was `before`.
    pub(crate) fn truncate(&mut self, (derived, checks): (usize, usize)) {
        self.derived.truncate(derived);
        self.checks.truncate(checks);
    }

    /// The dimension that a rule gives; equal rules give equal dimensions.
    pub(crate) fn derive(&mut self, rule: DimRule) -> Dim {
        let known = self.derived.iter().rev().take(64).position(|known| *known == rule);
        let index = match known {
            Some(back) => self.derived.len() - 1 - back,
            None => {
                let measured = matches!(rule, DimRule::Measured { .. });
                let late = measured || rule.operands().iter().any(|dim| self.is_late(dim));
                self.derived.push(rule);
                self.late.push(late);
                self.derived.len() - 1
            }
        };
        self.name(index)
    }

    /// The derived dimension of this number.
    pub(crate) fn name(&self, index: usize) -> Dim {
        Dim::Dynamic(format!("%{}{index}", self.prefix).into())
    }

    /// The number of a derived dimension.
    pub(crate) fn index(&self, dim: &Dim) -> Option<usize> {
        let Dim::Dynamic(name) = dim else { return None };
        let index = name.strip_prefix('%')?.strip_prefix(self.prefix.as_str())?.parse().ok()?;
        (index < self.derived.len() && self.name(index) == *dim).then_some(index)
    }

    /// Whether an extent is known only once an op ran.
    pub(crate) fn is_late(&self, dim: &Dim) -> bool {
        self.index(dim).is_some_and(|index| self.late[index])
    }

    /// A dimension that an op measures while a plan runs; `most` bounds it.
    pub(crate) fn measured(&mut self, most: &Dim) -> Dim {
        self.derive(DimRule::Measured { number: self.derived.len(), most: most.clone() })
    }

    /// Requires equal extents, now or when a run starts, and answers the better known one.
    pub(crate) fn same(&mut self, op: &'static str, a: &Dim, b: &Dim) -> Result<Dim, GraphError> {
        if a == b {
            return Ok(a.clone());
        }
        match (a, b) {
            (Dim::Fixed(_), Dim::Fixed(_)) => {
                Err(GraphError::Extent { op, left: a.clone(), right: b.clone() })
            }
            (Dim::Dynamic(_), Dim::Fixed(_) | Dim::Dynamic(_)) => {
                self.check(op, a, b);
                Ok(b.clone())
            }
            (Dim::Fixed(_), Dim::Dynamic(_)) => {
                self.check(op, a, b);
                Ok(a.clone())
            }
            (Dim::Batch | Dim::Ragged(_), _) | (_, Dim::Batch | Dim::Ragged(_)) => {
                Err(GraphError::DimClass { op, dim: a.clone(), other: Some(b.clone()) })
            }
        }
    }

    pub(crate) fn check(&mut self, op: &'static str, a: &Dim, b: &Dim) {
        let check = DimCheck { op, left: a.clone(), right: b.clone() };
        if !self.checks.iter().rev().take(64).any(|known| *known == check) {
            self.checks.push(check);
        }
    }

    /// The dimension of a broadcast of `a` with `b`.
    pub(crate) fn broadcast(
        &mut self,
        op: &'static str,
        a: &Dim,
        b: &Dim,
    ) -> Result<Dim, GraphError> {
        match (a, b) {
            _ if a == b => Ok(a.clone()),
            (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Ok(other.clone()),
            (Dim::Dynamic(_), Dim::Dynamic(_) | Dim::Fixed(_))
            | (Dim::Fixed(_), Dim::Dynamic(_)) => {
                Ok(self.derive(DimRule::Broadcast(a.clone(), b.clone())))
            }
            (Dim::Fixed(_), Dim::Fixed(_)) => {
                Err(GraphError::Extent { op, left: a.clone(), right: b.clone() })
            }
            (Dim::Batch | Dim::Ragged(_), _) | (_, Dim::Batch | Dim::Ragged(_)) => {
                Err(GraphError::DimClass { op, dim: a.clone(), other: Some(b.clone()) })
            }
        }
    }

    /// Numpy broadcast of two lists of dimensions, aligned at the last axis.
    pub(crate) fn broadcast_all(
        &mut self,
        op: &'static str,
        a: &[Dim],
        b: &[Dim],
    ) -> Result<Vec<Dim>, GraphError> {
        let rank = a.len().max(b.len());
        let one = Dim::Fixed(1);
        let mut dims = Vec::with_capacity(rank);
        for i in 0..rank {
            let pick = |list: &[Dim]| (i + list.len()).checked_sub(rank).map(|j| list[j].clone());
            let (x, y) = (pick(a), pick(b));
            dims.push(self.broadcast(
                op,
                x.as_ref().unwrap_or(&one),
                y.as_ref().unwrap_or(&one),
            )?);
        }
        Ok(dims)
    }

    /// The sum of extents, known now or when a run starts.
    pub(crate) fn sum(&mut self, op: &'static str, dims: &[Dim]) -> Result<Dim, GraphError> {
        if let Some(dim) = dims.iter().find(|dim| dim.is_rows()) {
            return Err(GraphError::DimClass { op, dim: dim.clone(), other: None });
        }
        let fixed: Option<Vec<u64>> = dims.iter().map(Dim::fixed).collect();
        match fixed {
            Some(extents) => extents
                .into_iter()
                .try_fold(0u64, u64::checked_add)
                .map(Dim::Fixed)
                .ok_or(GraphError::Elements { op }),
            None => Ok(self.derive(DimRule::Sum(dims.to_vec()))),
        }
    }

    /// How many elements a strided slice of an extent has.
    pub(crate) fn strided(&mut self, of: &Dim, start: u64, end: u64, step: u64) -> Dim {
        match of {
            Dim::Fixed(extent) => Dim::Fixed(strided_len(*extent, start, end, step)),
            Dim::Batch | Dim::Ragged(_) | Dim::Dynamic(_) => {
                self.derive(DimRule::Strided { of: of.clone(), start, end, step })
            }
        }
    }
}

/// Elements `start, start + step, ..` below `min(end, extent)`.
pub(crate) fn strided_len(extent: u64, start: u64, end: u64, step: u64) -> u64 {
    end.min(extent).saturating_sub(start).div_ceil(step.max(1))
}

/// Checks a list of dimensions by itself: rank, class only on axis 0, elements countable.
pub(crate) fn check_dims(op: &'static str, dims: &[Dim]) -> Result<(), GraphError> {
    if dims.len() > RANK_MAX {
        return Err(GraphError::Rank { op, expected: "at most 8", got: dims.len() });
    }
    if let Some(dim) = dims.iter().skip(1).find(|dim| dim.is_rows()) {
        return Err(GraphError::DimClass { op, dim: dim.clone(), other: None });
    }
    let mut known = [1usize; RANK_MAX];
    for (slot, dim) in known.iter_mut().zip(dims) {
        *slot =
            usize::try_from(dim.fixed().unwrap_or(1)).map_err(|_| GraphError::Elements { op })?;
    }
    Shape::new(&known[..dims.len()]).map(drop).map_err(|_| GraphError::Elements { op })
}

/// Checks what enters or leaves a plan: rows of it are cut between bytes.
pub(crate) fn check_boundary(
    op: &'static str,
    dtype: DType,
    dims: &[Dim],
) -> Result<(), GraphError> {
    let packed = matches!(dtype, DType::I4 | DType::U4) && !dims.iter().any(Dim::is_rows);
    if dtype.size().is_some() || packed {
        return Ok(());
    }
    let expected = "elements of whole bytes, or i4 and u4 without batch or ragged dimensions";
    Err(GraphError::DType { op, expected, got: dtype })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dynamic(name: &str) -> Dim {
        Dim::Dynamic(name.into())
    }

    #[test]
    fn classes_broadcast_with_one_and_themselves_only() {
        let mut table = DimTable::default();
        let cases: [(Dim, Dim, Option<Dim>); 7] = [
            (Dim::Batch, Dim::Fixed(1), Some(Dim::Batch)),
            (Dim::Batch, Dim::Batch, Some(Dim::Batch)),
            (Dim::Batch, Dim::Fixed(3), None),
            (Dim::Batch, Dim::Ragged("o".into()), None),
            (Dim::Ragged("o".into()), Dim::Ragged("p".into()), None),
            (Dim::Batch, dynamic("n"), None),
            (Dim::Fixed(4), Dim::Fixed(5), None),
        ];
        for (a, b, expected) in cases {
            assert_eq!(table.broadcast("add", &a, &b).ok(), expected, "{a} with {b}");
            assert_eq!(table.broadcast("add", &b, &a).ok(), expected, "{b} with {a}");
        }
        assert_eq!(table.broadcast("add", &dynamic("n"), &dynamic("m")).unwrap(), dynamic("%0"));
    }

    #[test]
    fn equal_rules_give_equal_dimensions() {
        let mut table = DimTable::default();
        let a = table.sum("concat", &[dynamic("n"), Dim::Fixed(2)]).unwrap();
        let b = table.sum("concat", &[dynamic("n"), Dim::Fixed(2)]).unwrap();
        let c = table.sum("concat", &[dynamic("n"), Dim::Fixed(3)]).unwrap();
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(table.sum("concat", &[Dim::Fixed(1), Dim::Fixed(2)]).unwrap(), Dim::Fixed(3));
        assert!(table.sum("concat", &[Dim::Fixed(u64::MAX), Dim::Fixed(2)]).is_err());
    }

    #[test]
    fn derived_dimensions_are_known_once_a_rule_gives_them() {
        let mut table = DimTable::default();
        assert!(table.index(&dynamic("%0")).is_none());
        let before = table.len();
        table.sum("concat", &[dynamic("n"), Dim::Fixed(2)]).unwrap();
        for (name, known) in
            [("%0", true), ("%1", false), ("%00", false), ("%+0", false), ("%", false)]
        {
            assert_eq!(table.index(&dynamic(name)).is_some(), known, "{name}");
        }
        table.truncate(before);
        assert!(table.index(&dynamic("%0")).is_none());
    }

    #[test]
    fn strided_lengths() {
        for (extent, start, end, step, expected) in [
            (10, 0, 10, 1, 10),
            (10, 2, 9, 3, 3),
            (10, 8, 99, 1, 2),
            (3, 5, 9, 1, 0),
            (0, 0, 0, 1, 0),
        ] {
            assert_eq!(strided_len(extent, start, end, step), expected);
        }
    }

    #[test]
    fn a_row_class_beyond_axis_0_is_refused() {
        assert!(check_dims("x", &[Dim::Batch, Dim::Fixed(3)]).is_ok());
        assert!(check_dims("x", &[Dim::Fixed(3), Dim::Batch]).is_err());
        assert!(check_dims("x", &[Dim::Fixed(u64::MAX), Dim::Fixed(2)]).is_err());
    }
}

//! Extents at run time: inputs bind the named ones, rules give the derived ones, and a few are
//! found by ops on the way.

mod late;

use crate::dim::{DimCheck, DimRule, DimTable, Dims, strided_len};
use crate::graph::Graph;
use crate::op::{spread_extent, window_count};
use crate::{Dim, RunError, Signature};
use aimass_tensor::{RANK_MAX, Shape, Tensor};
use late::Late;
use std::collections::HashMap;
use std::sync::Arc;

/// An extent that nothing has bound yet.
const UNBOUND: u64 = u64::MAX;

/// Where an extent is found when a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Fixed(u64),
    Symbol(usize),
}

/// The extents of every value of a graph, as functions of the inputs.
#[derive(Debug)]
pub(crate) struct Extents {
    symbols: HashMap<Dim, usize>,
    derived: Vec<(usize, DimRule)>,
    checks: Vec<DimCheck>,
    inputs: Vec<Vec<Extent>>,
    offsets: Vec<Option<OffsetsInput>>,
    values: Vec<Dimensions>,
    /// What is known only while a plan runs.
    late: Late,
}

/// Dimensions of one value.
#[derive(Debug)]
enum Dimensions {
    Known(Shape),
    Bound(Vec<Extent>),
}

#[derive(Debug, Clone, Copy)]
struct OffsetsInput {
    ragged: usize,
    batch: usize,
}

/// Symbols with their extents in one run; of late ones that no op has found yet, the most that
/// they can be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bound {
    extents: Vec<u64>,
    /// By symbol; empty if all are known before the run.
    known: Vec<bool>,
}

impl Extents {
    /// Collects the symbols of a graph.
    pub(crate) fn new(graph: &Graph) -> Extents {
        let mut symbols = HashMap::new();
        let inputs = graph.signature.inputs.iter();
        let inputs = inputs.map(|input| listed(&mut symbols, &input.dims)).collect();
        let mut offsets = vec![None; graph.signature.inputs.len()];
        for value in &graph.values {
            if let (crate::graph::Origin::Input(index), Some(name)) =
                (&value.origin, &value.spec.offsets)
            {
                let ragged = symbol(&mut symbols, &Dim::Ragged(name.clone()));
                let batch = symbol(&mut symbols, &Dim::Batch);
                offsets[*index] = Some(OffsetsInput { ragged, batch });
            }
        }
        let DimTable { derived, checks, .. } = &graph.dims;
        let named = |(i, rule): (usize, &DimRule)| {
            (symbol(&mut symbols, &graph.dims.name(i)), rule.clone())
        };
        let derived: Vec<_> = derived.iter().enumerate().map(named).collect();
        let values = graph.values.iter().map(|value| dimensions(&mut symbols, &value.spec.dims));
        let values: Vec<Dimensions> = values.collect();
        let late = Late::new(&symbols, &derived, checks, &values);
        let checks = checks.clone();
        Extents { symbols, derived, checks, inputs, offsets, values, late }
    }

    /// Puts input `i` to place `moved(i)`. Extents bind in any order.
    pub(crate) fn reorder(&mut self, moved: &dyn Fn(usize) -> usize) {
        let (mut inputs, mut offsets) = (self.inputs.clone(), self.offsets.clone());
        for index in 0..self.inputs.len() {
            inputs[moved(index)] = self.inputs[index].clone();
            offsets[moved(index)] = self.offsets[index];
        }
        (self.inputs, self.offsets) = (inputs, offsets);
    }

    /// Adds a value that the compiler made.
    pub(crate) fn push(&mut self, dims: &[Dim]) {
        let dims = dimensions(&mut self.symbols, dims);
        self.late.add_value(self.values.len(), &dims);
        self.values.push(dims);
    }

    /// Checks inputs against the signature and binds every extent.
    pub(crate) fn bind(&self, signature: &Signature, inputs: &[Tensor]) -> Result<Bound, RunError> {
        let (expected, got) = (signature.inputs.len(), inputs.len());
        if expected != got {
            return Err(RunError::InputCount { expected, got });
        }
        let mut extents = vec![UNBOUND; self.symbols.len()];
        for (index, (spec, tensor)) in signature.inputs.iter().zip(inputs).enumerate() {
            if tensor.dtype() != spec.dtype {
                let (expected, got) = (spec.dtype, tensor.dtype());
                return Err(RunError::InputDType { input: spec.name.clone(), expected, got });
            }
            let fits = tensor.shape().rank() == spec.dims.len()
                && self.inputs[index].iter().zip(tensor.shape().iter()).all(|(extent, &got)| {
                    match *extent {
                        Extent::Fixed(extent) => extent == got as u64,
                        Extent::Symbol(symbol) => unify(&mut extents[symbol], got as u64),
                    }
                });
            if !fits {
                return Err(self.wrong_shape(signature, index, tensor, &extents));
            }
            if let Some(offsets) = self.offsets[index] {
                let (rows, sequences) = check_offsets(&spec.name, tensor)?;
                if !unify(&mut extents[offsets.ragged], rows) {
                    let expected = extents[offsets.ragged];
                    return Err(RunError::Offsets {
                        input: spec.name.clone(),
                        reason: format!("expected to end at the {expected} rows, got {rows}"),
                    });
                }
                if !unify(&mut extents[offsets.batch], sequences) {
                    return Err(self.wrong_shape(signature, index, tensor, &extents));
                }
            }
        }
        self.derive(extents)
    }

    fn derive(&self, mut extents: Vec<u64>) -> Result<Bound, RunError> {
        for (symbol, rule) in &self.derived {
            extents[*symbol] = match self.late.is(*symbol) {
                true => self.most(rule, &extents, false)?,
                false => self.evaluate(rule, &extents)?,
            };
        }
        for check in &self.checks {
            let late = [&check.left, &check.right].map(|dim| self.is_late(dim));
            if late == [false; 2] {
                self.check(check, &extents)?;
            }
        }
        Ok(Bound { extents, known: self.late.known() })
    }

    fn check(&self, check: &DimCheck, extents: &[u64]) -> Result<(), RunError> {
        let DimCheck { op, left, right } = check;
        let (left, right) = (self.extent(left, extents), self.extent(right, extents));
        if left == right { Ok(()) } else { Err(RunError::Extent { op, left, right }) }
    }

    fn is_late(&self, dim: &Dim) -> bool {
        self.symbols.get(dim).is_some_and(|&symbol| self.late.is(symbol))
    }

    fn extent(&self, dim: &Dim, extents: &[u64]) -> u64 {
        match dim {
            Dim::Fixed(extent) => *extent,
            Dim::Batch | Dim::Ragged(_) | Dim::Dynamic(_) => {
                self.symbols.get(dim).map_or(UNBOUND, |&symbol| extents[symbol])
            }
        }
    }

    fn evaluate(&self, rule: &DimRule, extents: &[u64]) -> Result<u64, RunError> {
        let wrong = |reason| RunError::Dims { what: "a derived extent".to_owned(), reason };
        let product = |factor: u64, dims: &[Dim]| {
            let mut all = dims.iter().map(|dim| self.extent(dim, extents));
            all.try_fold(factor, u64::checked_mul)
        };
        let too_large = || wrong("does not fit 63 bits");
        let extent = match rule {
            DimRule::Sum(dims) => {
                let mut all = dims.iter().map(|dim| self.extent(dim, extents));
                all.try_fold(0u64, u64::checked_add).ok_or_else(too_large)?
            }
            DimRule::Product(factor, dims) => product(*factor, dims).ok_or_else(too_large)?,
            DimRule::Quotient { factor, above, divisor, below } => {
                let above = product(*factor, above).ok_or_else(too_large)?;
                let below = product(*divisor, below).ok_or_else(too_large)?;
                if below == 0 || !above.is_multiple_of(below) {
                    return Err(wrong(
                        "reshape: the elements do not divide into the other extents",
                    ));
                }
                above / below
            }
            DimRule::Strided { of, start, end, step } => {
                strided_len(self.extent(of, extents), *start, *end, *step)
            }
            DimRule::Window { of, span, stride, pads } => {
                window_count(self.extent(of, extents), *span, *stride, *pads)
                    .ok_or_else(|| wrong("a window is larger than the extent with its pads"))?
            }
            DimRule::Spread { of, stride, plus, minus } => {
                spread_extent(self.extent(of, extents), *stride, *plus, *minus)
                    .ok_or_else(|| wrong("transposed windows cover less than the pads cut off"))?
            }
            DimRule::Broadcast(a, b) => match (self.extent(a, extents), self.extent(b, extents)) {
                (a, b) if a == b => a,
                (1, other) | (other, 1) => other,
                (left, right) => {
                    return Err(RunError::Extent { op: "broadcast", left, right });
                }
            },
            DimRule::Larger(a, b) => self.extent(a, extents).max(self.extent(b, extents)),
            DimRule::Measured { most, .. } => self.extent(most, extents),
        };
        if extent > i64::MAX as u64 { Err(too_large()) } else { Ok(extent) }
    }

    /// The shapes of all values in one run.
    pub(crate) fn shapes(&self, bound: &Bound) -> Result<Vec<Shape>, RunError> {
        self.values.iter().map(|dims| shape(dims, bound)).collect()
    }

    /// The extent of a named dimension in one run; 1 if no input has it.
    pub(crate) fn extent_of(&self, dim: &Dim, bound: &Bound) -> u64 {
        match self.extent(dim, &bound.extents) {
            UNBOUND => 1,
            extent => extent,
        }
    }

    fn wrong_shape(
        &self,
        signature: &Signature,
        index: usize,
        tensor: &Tensor,
        extents: &[u64],
    ) -> RunError {
        let spec = &signature.inputs[index];
        let mut expected = Dims(&spec.dims).to_string();
        for dim in spec.dims.iter().filter(|dim| dim.fixed().is_none()) {
            match self.extent(dim, extents) {
                UNBOUND => {}
                extent => expected.push_str(&format!(" with {dim} = {extent}")),
            }
        }
        RunError::InputShape { input: spec.name.clone(), expected, got: *tensor.shape() }
    }
}

fn symbol(symbols: &mut HashMap<Dim, usize>, dim: &Dim) -> usize {
    let next = symbols.len();
    *symbols.entry(dim.clone()).or_insert(next)
}

fn listed(symbols: &mut HashMap<Dim, usize>, dims: &[Dim]) -> Vec<Extent> {
    let one = |dim: &Dim| match dim.fixed() {
        Some(extent) => Extent::Fixed(extent),
        None => Extent::Symbol(symbol(symbols, dim)),
    };
    dims.iter().map(one).collect()
}

fn dimensions(symbols: &mut HashMap<Dim, usize>, dims: &[Dim]) -> Dimensions {
    let known: Option<Vec<usize>> = dims
        .iter()
        .map(|dim| dim.fixed().and_then(|extent| usize::try_from(extent).ok()))
        .collect();
    match known.map(|known| Shape::new(&known)) {
        Some(Ok(shape)) => Dimensions::Known(shape),
        Some(Err(_)) | None => Dimensions::Bound(listed(symbols, dims)),
    }
}

fn shape(dims: &Dimensions, bound: &Bound) -> Result<Shape, RunError> {
    let extents = match dims {
        Dimensions::Known(shape) => return Ok(*shape),
        Dimensions::Bound(extents) => extents,
    };
    let mut out = [0usize; RANK_MAX];
    for (slot, extent) in out.iter_mut().zip(extents) {
        *slot = match *extent {
            Extent::Fixed(extent) => extent as usize,
            Extent::Symbol(symbol) => bound.extents[symbol] as usize,
        };
    }
    Shape::new(&out[..extents.len()]).map_err(|_| RunError::Dims {
        what: format!("shape {:?}", &out[..extents.len()]),
        reason: "has too many elements",
    })
}

fn unify(slot: &mut u64, extent: u64) -> bool {
    if *slot == UNBOUND {
        *slot = extent;
    }
    *slot == extent
}

/// Rows and sequences of valid offsets.
fn check_offsets(name: &Arc<str>, tensor: &Tensor) -> Result<(u64, u64), RunError> {
    let wrong = |reason: String| RunError::Offsets { input: name.clone(), reason };
    let offsets = tensor.as_slice::<u32>().map_err(|error| wrong(error.to_string()))?;
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
        return Err(wrong("expected at least one element, got none".to_owned()));
    };
    if first != 0 {
        return Err(wrong(format!("expected to start at 0, got {first}")));
    }
    if let Some(at) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        let (from, to) = (offsets[at], offsets[at + 1]);
        return Err(wrong(format!("expected never to fall, got {from} then {to} at {at}")));
    }
    Ok((u64::from(last), offsets.len() as u64 - 1))
}

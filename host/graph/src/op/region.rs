//! A sub-graph as the ops of control flow hold it, and what follows from its dimensions.

use super::Infer;
use crate::dim::{DimRule, DimTable};
use crate::graph::Graph;
use crate::nested::Nested;
use crate::plan::Plan;
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_tensor::{DType, Shape};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A closed region: its graph, whose inputs are captures and then params, and once it is compiled
/// its plan.
#[derive(Clone)]
pub(crate) struct SubGraph {
    pub(crate) graph: Arc<Graph>,
    pub(crate) plan: Option<Arc<Plan>>,
    /// Nodes, or values where these are more, of the graph and of all regions in it.
    pub(crate) expanded: usize,
}

impl PartialEq for SubGraph {
    fn eq(&self, other: &SubGraph) -> bool {
        Arc::ptr_eq(&self.graph, &other.graph)
    }
}

/// The key of its plan: what names a plan by content reads this.
impl fmt::Debug for SubGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.plan.as_ref().map(|plan| plan.key());
        write!(f, "Region({key:?})")
    }
}

impl SubGraph {
    /// Dtypes and dimensions of its inputs, captures first.
    pub(crate) fn inputs(&self) -> impl ExactSizeIterator<Item = (DType, &[Dim])> {
        self.graph.signature.inputs.iter().map(|input| (input.dtype, &input.dims[..]))
    }

    /// Dtypes and dimensions of its outputs, in its own names.
    pub(crate) fn outputs(&self) -> impl ExactSizeIterator<Item = (DType, &[Dim])> {
        let outputs = self.graph.outputs.iter();
        outputs.map(|&output| (self.graph.spec(output).dtype, &self.graph.spec(output).dims[..]))
    }

    /// Memory of its plan for inputs of these shapes.
    pub(crate) fn nested(&self, shapes: &[Shape]) -> Result<Nested<'_>, RunError> {
        Nested::new(self.compiled()?, shapes)
    }

    /// Bytes that its plan takes for inputs of these shapes, or of at most these.
    pub(crate) fn bytes(&self, shapes: &[Shape], exact: bool) -> Result<u64, RunError> {
        self.compiled()?.nested_bytes(shapes, exact)
    }

    /// Floating-point operations of one run for inputs of at most these shapes.
    pub(crate) fn flops(&self, shapes: &[Shape]) -> u64 {
        self.plan.as_ref().map_or(0, |plan| plan.nested_flops(shapes))
    }

    /// Bytes of weights that its plan holds.
    pub(crate) fn weights_bytes(&self) -> u64 {
        self.plan.as_ref().map_or(0, |plan| plan.weights_bytes())
    }

    fn compiled(&self) -> Result<&Plan, RunError> {
        self.plan.as_deref().ok_or(RunError::Internal("a region was not compiled"))
    }
}

/// Dimensions of a region as dimensions of the graph around it.
pub(crate) struct Outside<'a> {
    table: &'a DimTable,
    names: HashMap<Dim, Dim>,
    /// Whether the region may not run: then what can fail is bounded instead.
    maybe: bool,
}

impl<'a> Outside<'a> {
    /// Requires arguments to be what the inputs of a region are, and names its dimensions by theirs.
    ///
    /// # Errors
    /// [`GraphError`] on another number, dtype, rank, extent or class.
    pub(crate) fn bind(
        cx: &mut Infer<'_>,
        region: &'a SubGraph,
        arguments: &[ValueSpec],
        maybe: bool,
    ) -> Result<Outside<'a>, GraphError> {
        let inputs = region.inputs();
        if inputs.len() != arguments.len() {
            let (expected, got) = (format!("{} values", inputs.len()), arguments.len());
            return Err(cx.argument("arguments of a region", &expected, &got));
        }
        let mut names: HashMap<Dim, Dim> = HashMap::new();
        for ((dtype, dims), argument) in inputs.zip(arguments) {
            let mismatch = || GraphError::Shape {
                op: cx.op,
                expected: ValueSpec::new(dtype, dims.to_vec()).to_string(),
                got: argument.to_string(),
            };
            if dtype != argument.dtype {
                return Err(GraphError::DTypes { op: cx.op, left: dtype, right: argument.dtype });
            }
            if dims.len() != argument.rank() {
                return Err(mismatch());
            }
            for (own, given) in dims.iter().zip(&argument.dims) {
                match (own, given) {
                    (Dim::Dynamic(_), Dim::Dynamic(_) | Dim::Fixed(_)) => {
                        let known = names.entry(own.clone()).or_insert_with(|| given.clone());
                        cx.dims.same(cx.op, &known.clone(), given)?;
                    }
                    (Dim::Fixed(_), Dim::Dynamic(_)) => cx.dims.check(cx.op, own, given),
                    _ if own == given => {}
                    (Dim::Fixed(_), Dim::Fixed(_)) => return Err(mismatch()),
                    (Dim::Batch | Dim::Ragged(_), _) | (_, Dim::Batch | Dim::Ragged(_)) => {
                        let (dim, other) = (given.clone(), Some(own.clone()));
                        return Err(GraphError::DimClass { op: cx.op, dim, other });
                    }
                }
            }
        }
        Ok(Outside { table: &region.graph.dims, names, maybe })
    }

    /// These dimensions of the region, outside.
    pub(crate) fn dims(&mut self, cx: &mut Infer<'_>, dims: &[Dim]) -> Vec<Dim> {
        self.name_rules(cx, dims);
        dims.iter().map(|dim| self.dim(dim)).collect()
    }

    fn dim(&self, dim: &Dim) -> Dim {
        self.names.get(dim).unwrap_or(dim).clone()
    }

    /// Repeats outside what derived dimensions follow from.
    fn name_rules(&mut self, cx: &mut Infer<'_>, dims: &[Dim]) {
        let mut needed = vec![false; self.table.derived.len()];
        let index = |dim: &Dim| self.table.index(dim);
        dims.iter().filter_map(index).for_each(|index| needed[index] = true);
        for number in (0..needed.len()).rev() {
            if needed[number] {
                let operands = self.table.derived[number].operands();
                operands.into_iter().filter_map(index).for_each(|index| needed[index] = true);
            }
        }
        for (number, rule) in self.table.derived.iter().enumerate() {
            let own = self.table.name(number);
            if !needed[number] || self.names.contains_key(&own) {
                continue;
            }
            let all = |dims: &[Dim]| dims.iter().map(|dim| self.dim(dim)).collect::<Vec<Dim>>();
            let outside = match rule {
                DimRule::Sum(dims) => DimRule::Sum(all(dims)),
                DimRule::Product(factor, dims) => DimRule::Product(*factor, all(dims)),
                DimRule::Quotient { factor, above, .. } if self.maybe => {
                    DimRule::Product(*factor, all(above))
                }
                DimRule::Quotient { factor, above, divisor, below } => DimRule::Quotient {
                    factor: *factor,
                    above: all(above),
                    divisor: *divisor,
                    below: all(below),
                },
                DimRule::Strided { of, start, end, step } => {
                    DimRule::Strided { of: self.dim(of), start: *start, end: *end, step: *step }
                }
                DimRule::Window { of, span, stride, pads } => {
                    let (of, span, stride, pads) = (self.dim(of), *span, *stride, *pads);
                    DimRule::Window { of, span, stride, pads }
                }
                DimRule::Spread { of, stride, plus, minus } => {
                    let (of, stride, plus, minus) = (self.dim(of), *stride, *plus, *minus);
                    DimRule::Spread { of, stride, plus, minus }
                }
                DimRule::Broadcast(a, b) if self.maybe => DimRule::Larger(self.dim(a), self.dim(b)),
                DimRule::Broadcast(a, b) => DimRule::Broadcast(self.dim(a), self.dim(b)),
                DimRule::Larger(a, b) => DimRule::Larger(self.dim(a), self.dim(b)),
                DimRule::Measured { most, .. } => {
                    let dim = cx.dims.measured(&self.dim(most));
                    self.names.insert(own, dim);
                    continue;
                }
            };
            let bounds =
                self.maybe && matches!(rule, DimRule::Quotient { .. } | DimRule::Broadcast(_, _));
            let mut dim = cx.dims.derive(outside);
            if bounds {
                dim = cx.dims.measured(&dim);
            }
            self.names.insert(own, dim);
        }
    }
}

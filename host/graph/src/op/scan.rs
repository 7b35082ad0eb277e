//! A region that is run for every index of axis 0.

use super::region::{Outside, SubGraph};
use super::while_loop::{Carried, carries, copy, read};
use super::{Call, Infer, OpRule, region_arguments};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_tensor::Shape;

/// Runs `body` for every index of axis 0 of what is scanned (ONNX `Scan-11`, forward, axis 0).
///
/// | value    | shape                                             | dtype      |
/// |----------|---------------------------------------------------|------------|
/// | carried  | any; as `body` answers them first                 | any        |
/// | scanned  | `[n, ..]`, the params of `body` without `n`       | whole bytes |
/// | captures | those of `body`                                   | any        |
/// | outputs  | carried values, then `[n, ..]` of what else `body` answers | as `body` has them |
///
/// Over rows nothing is carried and nothing with rows is captured: they would be mixed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scan {
    pub(crate) body: SubGraph,
    pub(crate) carried: usize,
    pub(crate) scanned: usize,
}

impl Scan {
    /// Inputs of the body: captures, carried values, then elements of what is scanned.
    pub(crate) fn arguments<T: Clone>(&self, x: &[T], element: impl Fn(&T) -> T) -> Vec<T> {
        let params = (self.carried + self.scanned).min(x.len());
        let (carried, scanned) = x[..params].split_at(self.carried.min(params));
        let scanned = scanned.iter().map(element);
        x[params..].iter().chain(carried).cloned().chain(scanned).collect()
    }

    fn element_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        // Fewer axes of the same extents are a shape.
        let element = |shape: &Shape| Shape::new(&shape[1..]).unwrap_or(Shape::SCALAR);
        self.arguments(inputs, element)
    }

    fn steps(&self, inputs: &[Shape]) -> usize {
        inputs.get(self.carried).map_or(0, |shape| shape[0])
    }

    /// The axis that is scanned.
    fn axis(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Dim, GraphError> {
        let mut axis: Option<Dim> = None;
        for x in &x[self.carried..self.carried + self.scanned] {
            cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
            cx.rank_at_least(x, 1, "at least 1")?;
            axis = Some(match axis {
                Some(axis) => cx.dims.same(cx.op, &axis, &x.dims[0])?,
                None => x.dims[0].clone(),
            });
        }
        let axis = axis.ok_or_else(|| cx.argument("scanned", "at least one value", &0))?;
        if axis.is_rows() {
            let others = x[..self.carried].iter().chain(&x[self.carried + self.scanned..]);
            let mixed = |x: &&&ValueSpec| x.dims.first().is_some_and(Dim::is_rows);
            if self.carried > 0 || others.into_iter().any(|x| mixed(&x)) {
                return Err(GraphError::DimClass { op: cx.op, dim: axis, other: None });
            }
        }
        Ok(axis)
    }
}

impl OpRule for Scan {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let axis = self.axis(cx, x)?;
        carries(cx, &self.body, self.carried, self.carried + self.scanned)?;
        let all: Vec<ValueSpec> = x.iter().map(|x| (*x).clone()).collect();
        let element = |x: &ValueSpec| ValueSpec::new(x.dtype, x.dims[1..].to_vec());
        let arguments = self.arguments(&all, element);
        let mut outside = Outside::bind(cx, &self.body, &arguments, false)?;
        let carried = all.iter().take(self.carried);
        let mut outputs: Vec<ValueSpec> =
            carried.map(|x| ValueSpec::new(x.dtype, x.dims.clone())).collect();
        for (dtype, dims) in self.body.outputs().skip(self.carried) {
            if dtype.size().is_none() {
                let expected = "elements of whole bytes";
                return Err(GraphError::DType { op: cx.op, expected, got: dtype });
            }
            if let Some(dim) = dims.iter().find(|dim| self.body.graph.dims.is_late(dim)) {
                let expected = "extents that are equal in every iteration";
                return Err(cx.argument("output of the body", expected, dim));
            }
            let mut stacked = vec![axis.clone()];
            stacked.extend(outside.dims(cx, dims));
            outputs.push(ValueSpec::new(dtype, stacked));
        }
        Ok(outputs)
    }

    fn regions(&self) -> Vec<&SubGraph> {
        vec![&self.body]
    }

    fn regions_mut(&mut self) -> Vec<&mut SubGraph> {
        vec![&mut self.body]
    }

    fn prepared_bytes(&self) -> u64 {
        self.regions().iter().map(|region| region.weights_bytes()).sum()
    }

    fn scratch_bytes(&self, inputs: &[Shape], exact: bool) -> Result<u64, RunError> {
        let own = self.body.bytes(&self.element_shapes(inputs), exact && self.steps(inputs) > 0)?;
        // Carried values exist twice: what an iteration reads and what it writes.
        let captures = self.body.inputs().len() - self.carried - self.scanned;
        let carried = self.body.inputs().skip(captures).take(self.carried);
        let bytes = carried.zip(inputs).map(|((dtype, _), shape)| {
            dtype.bytes_for(shape.elements()).map_or(u64::MAX, |bytes| bytes as u64)
        });
        Ok(bytes.fold(own, |sum, bytes| sum.saturating_add(bytes.saturating_mul(2))))
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        let once = self.body.flops(&self.element_shapes(inputs));
        once.saturating_mul(self.steps(inputs) as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (shapes, bytes) = region_arguments(call.inputs)?;
        let steps = self.steps(&shapes);
        let mut carried = Carried::new(&bytes[..self.carried]);
        if steps > 0 {
            let mut body = self.body.nested(&self.element_shapes(&shapes))?;
            for step in 0..steps {
                let inputs = [&read(&carried.now)[..], &bytes[self.carried..]].concat();
                // Every scanned value holds as many elements of its own size.
                let inputs = self.arguments(&inputs, |bytes| {
                    let size = bytes.len() / steps;
                    &bytes[step * size..][..size]
                });
                body.run(call.team, &inputs)?;
                for (index, next) in carried.next.iter_mut().enumerate() {
                    copy(body.output(index, &inputs)?.0, next.as_mut_slice())?;
                }
                for (index, out) in call.outputs.iter_mut().enumerate().skip(self.carried) {
                    let size = out.bytes.len() / steps;
                    copy(body.output(index, &inputs)?.0, &mut out.bytes[step * size..][..size])?;
                }
                carried.turn();
            }
            body.end();
        }
        for (out, value) in call.outputs.iter_mut().zip(&carried.now) {
            copy(value.as_slice(), out.bytes)?;
        }
        Ok(())
    }
}

//! The graph of a stage: what enters it, and what it leaves for the next ones.

use super::Emitter;
use crate::content::int_vector;
use crate::value::{Extent, Form, Part, R, Stop, T, TensorValue, unsupported};
use aimass_sdk::graph::{Builder, Graph};
use aimass_sdk::{Dim, Error};
use std::rc::Rc;

/// Bytes of a constant in the contract.
const CONSTANT_BYTES_MAX: usize = 1 << 20;
/// Outputs of a graph in the contract.
const OUTPUTS_MAX: usize = 64;
/// Values that one concat joins.
const PARTS_MAX: usize = 512;
/// Nodes after which a stage is ended; the contract allows 100,000.
const NODES_MAX: usize = 60_000;

impl Emitter {
    pub(super) fn builder(&mut self) -> R<&Builder> {
        Ok(self.builder.get_or_insert_with(Builder::new))
    }

    /// Whether the stage should end before another node is lowered.
    pub(crate) fn is_full(&self) -> bool {
        self.nodes > NODES_MAX
    }

    /// A tensor of the stage that is always the same, for a stage that has to end.
    pub(crate) fn mark(&mut self) -> R<T> {
        let value = self.place(&int_vector(&[0]))?;
        self.computed(value)
    }

    /// The tensor as a value of the graph under construction.
    pub(crate) fn place(&mut self, x: &T) -> R<u32> {
        if let Some((stage, value)) = x.placed.get()
            && stage == self.stage
            && self.builder.is_some()
        {
            return Ok(value);
        }
        let form = x.form.borrow().clone();
        self.nodes += 1;
        let value = match form {
            Form::Bytes { .. } => {
                let bytes = self.content(x)?;
                self.place_bytes(x, &bytes)?
            }
            Form::File { file, offset, .. } => {
                let shape = x.shape()?;
                self.builder()?;
                self.file(&file)?;
                let builder = self.builder.as_ref().ok_or_else(no_builder)?;
                builder.weight(&file, x.dtype, &shape, &self.files[&file], offset)?
            }
            Form::Named(name) => self.place_named(x, name)?,
            Form::Strings(_) => return Err(unsupported("texts cannot enter a tensor operator")),
            Form::Node => {
                return Err(Error::internal("stale-value", "a value of an earlier stage").into());
            }
        };
        x.placed.set(Some((self.stage, value)));
        Ok(value)
    }

    /// A value of the host, or the part of one.
    fn place_named(&mut self, x: &T, name: String) -> R<u32> {
        let part = x.part.get();
        let input = match self.inputs.get(&name) {
            Some(&input) => input,
            None => {
                let dims = match part {
                    Some(part) => vec![Dim::Fixed(part.of)],
                    None => x.contract_dims(),
                };
                let input = self.builder()?.input(&name, x.dtype, &dims)?;
                self.inputs.insert(name, input);
                input
            }
        };
        let Some(part) = part else { return Ok(input) };
        let (dims, elements) = (x.contract_dims(), x.elements()?);
        let builder = self.builder()?;
        let flat = builder.slice(input, 0, part.start, part.start + elements, 1)?;
        Ok(builder.reshape(flat, &dims)?)
    }

    /// A constant; one beyond the contract's limit comes in parts.
    fn place_bytes(&mut self, x: &T, bytes: &[u8]) -> R<u32> {
        let shape = x.shape()?;
        let builder = self.builder()?;
        let Some(size) = x.dtype.element_bytes().filter(|_| bytes.len() > CONSTANT_BYTES_MAX)
        else {
            return Ok(builder.constant(x.dtype, &shape, bytes)?);
        };
        let mut parts = Vec::new();
        for part in bytes.chunks(CONSTANT_BYTES_MAX) {
            parts.push(builder.constant(x.dtype, &[part.len() as u64 / size], part)?);
        }
        let whole = builder.concat(&parts, 0)?;
        let dims: Vec<Dim> = shape.iter().map(|&extent| Dim::Fixed(extent)).collect();
        Ok(builder.reshape(whole, &dims)?)
    }

    /// A tensor for a value that the graph computes.
    pub(super) fn computed(&mut self, value: u32) -> R<T> {
        self.nodes += 1;
        let (dtype, dims) = self.builder()?.describe(value)?;
        let dims = dims.into_iter().map(extent).collect::<R<Vec<Extent>>>()?;
        let tensor = TensorValue::new(dtype, dims, Form::Node);
        tensor.placed.set(Some((self.stage, value)));
        self.computed.push(Rc::downgrade(&tensor));
        Ok(tensor)
    }

    /// Makes a tensor a value of its own, so that the host can hand it out.
    pub(crate) fn unpack(&mut self, x: &T) -> R<()> {
        if x.part.get().is_some() && matches!(&*x.form.borrow(), Form::Named(_)) {
            self.place(x)?;
            x.part.set(None);
            *x.form.borrow_mut() = Form::Node;
            self.computed.push(Rc::downgrade(x));
        }
        Ok(())
    }

    /// Ends the graph: every computed tensor that is still needed gets a name and becomes an output, or
    /// a part of one where there are too many. Those of `alone` are outputs in any case.
    pub(crate) fn cut(&mut self, alone: &[T]) -> R<Option<Graph>> {
        // What only a memory holds is needed no more.
        self.origins.clear();
        let live: Vec<T> = self.computed.drain(..).filter_map(|weak| weak.upgrade()).collect();
        let Some(builder) = self.builder.take() else { return Ok(None) };
        let is_alone = |x: &T| alone.iter().any(|other| Rc::ptr_eq(x, other));
        if live.len() <= OUTPUTS_MAX {
            self.name_each(&builder, &live)?;
        } else {
            let (single, mut packed): (Vec<T>, Vec<T>) = live.iter().cloned().partition(is_alone);
            self.name_each(&builder, &single)?;
            while let Some(first) = packed.first() {
                let dtype = first.dtype;
                let (group, rest) = packed.into_iter().partition(|x: &T| x.dtype == dtype);
                self.name_packed(&builder, group)?;
                packed = rest;
            }
        }
        self.stage += 1;
        self.nodes = 0;
        self.inputs.clear();
        Ok(if live.is_empty() { None } else { Some(builder.build()?) })
    }

    fn fresh_name(&mut self) -> String {
        self.named += 1;
        format!("{}{}", self.prefix, self.named - 1)
    }

    fn name_each(&mut self, builder: &Builder, tensors: &[T]) -> R<()> {
        for tensor in tensors {
            let Some((_, value)) = tensor.placed.get() else { continue };
            let name = self.fresh_name();
            builder.output(&name, value)?;
            *tensor.form.borrow_mut() = Form::Named(name);
            tensor.placed.set(None);
        }
        Ok(())
    }

    /// All of these, of one dtype, as one output.
    fn name_packed(&mut self, builder: &Builder, tensors: Vec<T>) -> R<()> {
        let (mut values, mut starts, mut of) = (Vec::new(), Vec::new(), 0u64);
        for tensor in &tensors {
            let Some((_, value)) = tensor.placed.get() else { continue };
            let elements = tensor.elements()?;
            values.push(builder.reshape(value, &[Dim::Fixed(elements)])?);
            starts.push((tensor, of));
            of = of.saturating_add(elements);
        }
        while values.len() > 1 {
            let mut joined = Vec::new();
            for part in values.chunks(PARTS_MAX) {
                joined.push(builder.concat(part, 0)?);
            }
            values = joined;
        }
        let Some(&whole) = values.first() else { return Ok(()) };
        let name = self.fresh_name();
        builder.output(&name, whole)?;
        for (tensor, start) in starts {
            *tensor.form.borrow_mut() = Form::Named(name.clone());
            tensor.part.set(Some(Part { start, of }));
            tensor.placed.set(None);
        }
        Ok(())
    }

    /// Ends the last graph with these outputs.
    pub(crate) fn finish(&mut self, outputs: &[(String, T)]) -> R<Option<Graph>> {
        if outputs.is_empty() {
            return Ok(None);
        }
        for (name, tensor) in outputs {
            let value = self.place(tensor)?;
            self.builder()?.output(name, value)?;
        }
        let builder = self.builder.take().ok_or_else(no_builder)?;
        Ok(Some(builder.build()?))
    }

    /// Whether values of the graph under construction are needed to know the content of `x`.
    pub(crate) fn is_computed_here(&self, x: &T) -> bool {
        matches!(&*x.form.borrow(), Form::Node)
    }
}

fn no_builder() -> Stop {
    Error::internal("no-builder", "no graph is under construction").into()
}

fn extent(dim: Dim) -> R<Extent> {
    match dim {
        Dim::Fixed(extent) => Ok(Extent::Fixed(extent)),
        Dim::Batch => Ok(Extent::Batch),
        Dim::Ragged(_) | Dim::Dynamic(_) => {
            Err(Error::internal("open-extent", "the host left an extent open").into())
        }
    }
}

//! Operators of the contract on traced tensors: computed at once where all elements are known and
//! few, else a node of the graph under construction.

mod ops;
mod origin;
mod size;
mod stage;

use crate::constant::Constants;
use crate::content::{floats_of, ints_of};
use crate::value::{Form, R, Stop, T, TensorValue, invalid};
use aimass_sdk::files::File;
use aimass_sdk::graph::Builder;
use aimass_sdk::{DType, Error, Parameter, Tensor, ops as host};
use origin::Origin;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

/// Elements up to which known tensors are computed while tracing; above, the host folds them.
const EAGER_ELEMENTS_MAX: u64 = 4096;
/// Elements that may come of it.
const EAGER_OUTPUT_MAX: u64 = 1 << 16;
/// Bytes of a file that the plugin looks at itself.
const CONTENT_BYTES_MAX: u64 = 32 << 20;
/// Bytes of all such content.
const CONTENTS_BYTES_MAX: u64 = 96 << 20;

/// The graph under construction, and what stands around it.
pub(crate) struct Emitter {
    builder: Option<Builder>,
    /// Number of the stage, from 0.
    stage: u32,
    inputs: HashMap<String, u32>,
    computed: Vec<Weak<TensorValue>>,
    /// By value of the graph under construction, what it was moved from.
    origins: HashMap<u32, Origin>,
    /// Nodes of the graph under construction, about.
    nodes: usize,
    /// Values named by this trace so far, and what their names start with.
    named: u32,
    prefix: String,
    /// Bytes of files that are held here.
    contents: u64,
    /// What the lowering of the current node keeps for when it runs again.
    kept: Vec<Vec<T>>,
    /// How many of them this run has taken.
    taken: usize,
    files: HashMap<String, File>,
    pub(crate) constants: Constants,
    /// The file that the model was read from.
    pub(crate) model_file: String,
    /// The first input whose axis 0 is `batch`, if any number of rows is served.
    rows: Option<T>,
    /// Whether all that was observed so far was small and no text.
    pub(crate) reusable: bool,
}

impl Emitter {
    /// For the model in this file; `prefix` starts no name of its inputs and outputs.
    pub(crate) fn new(rows: Option<T>, model_file: &str, prefix: &str) -> Emitter {
        Emitter {
            builder: None,
            stage: 0,
            inputs: HashMap::new(),
            computed: Vec::new(),
            origins: HashMap::new(),
            nodes: 0,
            named: 0,
            prefix: prefix.to_owned(),
            contents: 0,
            kept: Vec::new(),
            taken: 0,
            files: HashMap::new(),
            constants: Constants::default(),
            model_file: model_file.to_owned(),
            rows,
            reusable: true,
        }
    }

    /// Whether the graph serves any number of rows.
    pub(crate) fn is_batched(&self) -> bool {
        self.rows.is_some()
    }

    /// Starts a lowering; the first run for a node, or another one after its content was observed.
    pub(crate) fn start_lowering(&mut self) {
        self.taken = 0;
    }

    /// Ends a lowering.
    pub(crate) fn end_lowering(&mut self) {
        self.kept.clear();
    }

    /// Tensors that a lowering computes in order to look at them: the same ones when it runs again.
    pub(crate) fn keep(&mut self, make: impl FnOnce(&mut Emitter) -> R<Vec<T>>) -> R<Vec<T>> {
        if let Some(kept) = self.kept.get(self.taken) {
            self.taken += 1;
            return Ok(kept.clone());
        }
        let made = make(self)?;
        self.kept.push(made.clone());
        self.taken = self.kept.len();
        Ok(made)
    }

    /// A file of the package, opened once.
    pub(crate) fn file(&mut self, name: &str) -> R<&File> {
        if !self.files.contains_key(name) {
            let file = File::open(name).map_err(|error| {
                let message = format!("external data: {}", error.message);
                Error::new(error.family, &error.code, message)
            })?;
            self.files.insert(name.to_owned(), file);
        }
        Ok(&self.files[name])
    }

    /// The bytes of a tensor's elements.
    ///
    /// # Errors
    /// [`Stop::Observe`] if the host has to compute or hand them out first.
    pub(crate) fn content(&mut self, x: &T) -> R<Rc<Vec<u8>>> {
        let form = x.form.borrow().clone();
        match form {
            Form::Bytes { bytes, batch: None } => Ok(bytes),
            Form::Bytes { batch: Some(_), .. } => {
                Err(Stop::NotBatchable("the number of rows enters a computation".to_owned()))
            }
            Form::File { file, offset, len } => {
                self.contents = self.contents.saturating_add(len);
                if len > CONTENT_BYTES_MAX || self.contents > CONTENTS_BYTES_MAX {
                    let message = format!(
                        "expected at most {CONTENT_BYTES_MAX} bytes of one constant, and \
                         {CONTENTS_BYTES_MAX} of all, that decide what the graph is"
                    );
                    return Err(Error::limit("onnx-content", message).into());
                }
                let bytes = Rc::new(self.file(&file)?.read(offset, len)?);
                x.become_form(Form::Bytes { bytes: bytes.clone(), batch: None });
                Ok(bytes)
            }
            Form::Strings(_) => Err(invalid("expected numbers, got texts")),
            Form::Node | Form::Named(_) => Err(Stop::Observe(vec![x.clone()])),
        }
    }

    /// Asks for the content of all of these at once.
    ///
    /// # Errors
    /// [`Stop::Observe`] with those that are not known.
    pub(crate) fn observe(&mut self, xs: &[&T]) -> R<()> {
        let unknown: Vec<T> = xs.iter().filter(|x| !x.is_known()).map(|x| (*x).clone()).collect();
        if unknown.is_empty() { Ok(()) } else { Err(Stop::Observe(unknown)) }
    }

    /// Elements as whole numbers; as [`Emitter::content`].
    pub(crate) fn ints(&mut self, x: &T) -> R<Vec<i64>> {
        let bytes = self.content(x)?;
        ints_of(x.dtype, &bytes)
    }

    /// Elements as numbers; as [`Emitter::content`].
    pub(crate) fn floats(&mut self, x: &T) -> R<Vec<f64>> {
        let bytes = self.content(x)?;
        floats_of(x.dtype, &bytes)
    }

    /// The one element of a tensor as a whole number.
    pub(crate) fn int(&mut self, x: &T) -> R<i64> {
        match self.ints(x)?.as_slice() {
            [value] => Ok(*value),
            many => Err(invalid(format!("expected one number, got {}", many.len()))),
        }
    }

    /// The one element of a tensor as a number.
    pub(crate) fn float(&mut self, x: &T) -> R<f64> {
        match self.floats(x)?.as_slice() {
            [value] => Ok(*value),
            many => Err(invalid(format!("expected one number, got {}", many.len()))),
        }
    }

    /// Elements as texts.
    pub(crate) fn strings(&mut self, x: &T) -> R<Rc<Vec<Vec<u8>>>> {
        match &*x.form.borrow() {
            Form::Strings(strings) => Ok(strings.clone()),
            Form::Node | Form::Named(_) => Err(Stop::Observe(vec![x.clone()])),
            Form::Bytes { .. } | Form::File { .. } => {
                Err(invalid(format!("expected texts, got {}", x.dtype.name())))
            }
        }
    }

    /// Elements that may stand for the number of rows: whole numbers, and which of them do.
    pub(crate) fn extents(&mut self, x: &T) -> R<Vec<(i64, bool)>> {
        let form = x.form.borrow().clone();
        if let Form::Bytes { bytes, batch: Some(batch) } = form {
            let ints = ints_of(x.dtype, &bytes)?;
            return Ok(ints.into_iter().zip(batch.iter().copied()).collect());
        }
        Ok(self.ints(x)?.into_iter().map(|extent| (extent, false)).collect())
    }

    /// As [`Emitter::extents`] of a tensor that is known and small; none of any other.
    pub(crate) fn extents_if_known(&mut self, x: &T) -> Option<Vec<(i64, bool)>> {
        let small = x.rank() <= 1 && x.dtype == DType::I64 && x.is_known();
        if small { self.extents(x).ok() } else { None }
    }

    /// An op: computed now if `attributes` says how and all of `inputs` are known and few.
    pub(crate) fn op(
        &mut self,
        name: &'static str,
        inputs: &[&T],
        attributes: Option<&[(&str, Parameter)]>,
        build: impl FnOnce(&Builder, &[u32]) -> Result<Vec<u32>, Error>,
    ) -> R<Vec<T>> {
        if let Some(attributes) = attributes
            && self.is_eager(inputs)
            && size::output_elements(name, inputs, attributes) <= EAGER_OUTPUT_MAX
        {
            return self.eager(name, inputs, attributes);
        }
        let mut values = Vec::with_capacity(inputs.len());
        for input in inputs {
            values.push(self.place(input)?);
        }
        let outputs = build(self.builder()?, &values)?;
        outputs.into_iter().map(|value| self.computed(value)).collect()
    }

    /// An op with one output.
    pub(crate) fn one(
        &mut self,
        name: &'static str,
        inputs: &[&T],
        attributes: Option<&[(&str, Parameter)]>,
        build: impl FnOnce(&Builder, &[u32]) -> Result<u32, Error>,
    ) -> R<T> {
        let build = |b: &Builder, values: &[u32]| build(b, values).map(|value| vec![value]);
        let mut outputs = self.op(name, inputs, attributes, build)?;
        outputs.pop().ok_or_else(|| Error::internal("no-output", name).into())
    }

    fn is_eager(&self, inputs: &[&T]) -> bool {
        let few = |x: &&T| {
            let elements = x.elements().unwrap_or(u64::MAX);
            x.is_known() && x.dtype.element_bytes().is_some() && elements <= EAGER_ELEMENTS_MAX
        };
        !inputs.is_empty() && inputs.iter().all(few)
    }

    /// Runs the op in the host at once.
    fn eager(
        &mut self,
        name: &'static str,
        inputs: &[&T],
        attributes: &[(&str, Parameter)],
    ) -> R<Vec<T>> {
        let marked = |x: &&T| matches!(&*x.form.borrow(), Form::Bytes { batch: Some(_), .. });
        if inputs.iter().any(marked) {
            return self.eager_marked(name, inputs, attributes);
        }
        let tensors = inputs.iter().map(|x| self.tensor(x)).collect::<R<Vec<Tensor>>>()?;
        let outputs = host::run(name, &tensors.iter().collect::<Vec<_>>(), attributes)?;
        outputs.iter().map(known).collect()
    }

    /// As [`Emitter::eager`] for ops that only move elements: the marks move with them.
    fn eager_marked(
        &mut self,
        name: &'static str,
        inputs: &[&T],
        attributes: &[(&str, Parameter)],
    ) -> R<Vec<T>> {
        const MOVES: [&str; 8] =
            ["reshape", "transpose", "slice", "gather", "concat", "broadcast", "reverse", "select"];
        if let ("cast", [x]) = (name, inputs) {
            return self.cast_marked(x, attributes);
        }
        if !MOVES.contains(&name) {
            return Err(Stop::NotBatchable(format!("{name} of the number of rows")));
        }
        // The last inputs of `gather` and the first of `select` do not end up in the output.
        let chooses =
            |index: usize| (name == "gather" && index == 1) || (name == "select" && index == 0);
        let (mut values, mut marks) = (Vec::new(), Vec::new());
        for (index, x) in inputs.iter().enumerate() {
            let form = x.form.borrow().clone();
            let shape = x.shape()?;
            let (bytes, flags) = match form {
                Form::Bytes { bytes, batch: Some(batch) } if !chooses(index) => {
                    let flags = batch.iter().map(|&flag| i64::from(flag)).collect();
                    (bytes, flags)
                }
                _ => (self.content(x)?, vec![0; x.elements()? as usize]),
            };
            let value = Tensor::create(x.dtype, &shape, &bytes)?;
            marks.push(if chooses(index) {
                value.share()?
            } else {
                Tensor::from_slice(&shape, &flags)?
            });
            values.push(value);
        }
        let values = host::run_one(name, &values.iter().collect::<Vec<_>>(), attributes)?;
        let marks = host::run_one(name, &marks.iter().collect::<Vec<_>>(), attributes)?;
        let flags: Vec<bool> = marks.to_vec::<i64>()?.into_iter().map(|flag| flag != 0).collect();
        let output = known(&values)?;
        if flags.contains(&true)
            && let Form::Bytes { batch, .. } = &mut *output.form.borrow_mut()
        {
            *batch = Some(Rc::new(flags));
        }
        Ok(vec![output])
    }

    /// A cast to other whole numbers: what stands for the number of rows still does.
    fn cast_marked(&mut self, x: &T, attributes: &[(&str, Parameter)]) -> R<Vec<T>> {
        let Form::Bytes { bytes, batch } = x.form.borrow().clone() else {
            return Err(Error::internal("no-marks", "a tensor without known elements").into());
        };
        let value = Tensor::create(x.dtype, &x.shape()?, &bytes)?;
        let output = known(&host::run_one("cast", &[&value], attributes)?)?;
        if !matches!(output.dtype, DType::I32 | DType::I64) {
            let message = format!("cast of the number of rows to {}", output.dtype.name());
            return Err(Stop::NotBatchable(message));
        }
        if let Form::Bytes { batch: marks, .. } = &mut *output.form.borrow_mut() {
            *marks = batch;
        }
        Ok(vec![output])
    }

    /// Declares an input with rows, so that values of as many rows can be made of constants.
    pub(crate) fn declare_rows(&mut self) -> R<()> {
        match self.rows.clone() {
            Some(input) => self.place(&input).map(drop),
            None => Ok(()),
        }
    }

    /// A known tensor in the host's memory.
    pub(crate) fn tensor(&mut self, x: &T) -> R<Tensor> {
        let shape = x.shape()?;
        if let Form::Strings(strings) = &*x.form.borrow() {
            return Ok(Tensor::strings(&shape, strings.iter())?);
        }
        let bytes = self.content(x)?;
        Ok(Tensor::create(x.dtype, &shape, &bytes)?)
    }
}

/// A tensor that the host computed, as a known one.
pub(crate) fn known(tensor: &Tensor) -> R<T> {
    let shape = tensor.shape();
    if tensor.dtype() == DType::Bytes {
        let strings = tensor.as_strings()?.iter().map(<[u8]>::to_vec).collect();
        return Ok(TensorValue::of_strings(&shape, strings));
    }
    Ok(TensorValue::of_bytes(tensor.dtype(), &shape, tensor.to_bytes()?))
}

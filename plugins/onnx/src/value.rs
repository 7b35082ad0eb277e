//! What a name of an ONNX graph stands for while it is traced.

use aimass_sdk::{DType, Dim, Error};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A value of an ONNX graph.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Tensor(T),
    /// Lists live in the plugin only; their elements may be values of the host.
    Sequence(Rc<Vec<Value>>),
    /// An optional with its element, or without one.
    Optional(Option<Rc<Value>>),
}

/// A tensor that operators share.
pub(crate) type T = Rc<TensorValue>;

/// A tensor whose dtype and extents are known; its elements may or may not be.
#[derive(Debug)]
pub(crate) struct TensorValue {
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<Extent>,
    pub(crate) form: RefCell<Form>,
    /// The value of the graph under construction that holds it: number of the stage, and handle.
    pub(crate) placed: Cell<Option<(u32, u32)>>,
    /// If it is named: the part of that value that it is.
    pub(crate) part: Cell<Option<Part>>,
    /// Bytes of its elements that are counted in [`held_bytes`].
    held: Cell<u64>,
}

/// Consecutive elements of a vector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) start: u64,
    /// Elements of the vector.
    pub(crate) of: u64,
}

/// One extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Extent {
    Fixed(u64),
    /// Any number of independent rows; axis 0 only.
    Batch,
}

/// Where a tensor's elements are.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Here, row-major and little-endian. `batch` marks elements that stand for the number of rows.
    Bytes { bytes: Rc<Vec<u8>>, batch: Option<Rc<Vec<bool>>> },
    /// Here.
    Strings(Rc<Vec<Vec<u8>>>),
    /// In a file of the package.
    File { file: String, offset: u64, len: u64 },
    /// In the host, computed by the graph of this stage.
    Node,
    /// In the host, under this name.
    Named(String),
}

/// Why tracing does not go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The model cannot be served so.
    Error(Error),
    /// The content of these tensors decides what comes next.
    Observe(Vec<T>),
    /// The model does something across rows; it has to be traced for a known number of them.
    NotBatchable(String),
}

/// The result of a step of tracing.
pub(crate) type R<V> = Result<V, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl TensorValue {
    pub(crate) fn new(dtype: DType, dims: Vec<Extent>, form: Form) -> T {
        let (placed, part, held) = (Cell::new(None), Cell::new(None), Cell::new(0));
        let tensor = TensorValue { dtype, dims, form: RefCell::new(form), placed, part, held };
        tensor.count();
        Rc::new(tensor)
    }

    /// Gives it another form.
    pub(crate) fn become_form(&self, form: Form) {
        *self.form.borrow_mut() = form;
        self.count();
    }

    /// Counts what its elements take here.
    fn count(&self) {
        let bytes = match &*self.form.borrow() {
            Form::Bytes { bytes, .. } => bytes.len() as u64,
            Form::Strings(strings) => {
                strings.iter().map(|string| string.len() as u64 + TEXT_BYTES).sum()
            }
            Form::File { .. } | Form::Node | Form::Named(_) => 0,
        };
        let before = self.held.replace(bytes);
        HELD.with(|held| held.set((held.get() + bytes).saturating_sub(before)));
    }

    /// A tensor of known content.
    pub(crate) fn of_bytes(dtype: DType, shape: &[u64], bytes: Vec<u8>) -> T {
        let dims = shape.iter().map(|&extent| Extent::Fixed(extent)).collect();
        TensorValue::new(dtype, dims, Form::Bytes { bytes: Rc::new(bytes), batch: None })
    }

    /// A tensor of known texts.
    pub(crate) fn of_strings(shape: &[u64], strings: Vec<Vec<u8>>) -> T {
        let dims = shape.iter().map(|&extent| Extent::Fixed(extent)).collect();
        TensorValue::new(DType::Bytes, dims, Form::Strings(Rc::new(strings)))
    }

    pub(crate) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The extents, if none of them is `batch`.
    pub(crate) fn fixed(&self) -> Option<Vec<u64>> {
        self.dims
            .iter()
            .map(|extent| match extent {
                Extent::Fixed(extent) => Some(*extent),
                Extent::Batch => None,
            })
            .collect()
    }

    /// The extents.
    ///
    /// # Errors
    /// [`Stop::NotBatchable`] if axis 0 is `batch`.
    pub(crate) fn shape(&self) -> R<Vec<u64>> {
        self.fixed().ok_or_else(|| Stop::NotBatchable("an operator needs the extent".to_owned()))
    }

    /// Number of elements, as [`TensorValue::shape`].
    pub(crate) fn elements(&self) -> R<u64> {
        Ok(self.shape()?.iter().fold(1, |product, &extent| product.saturating_mul(extent)))
    }

    /// An extent that is no batch.
    pub(crate) fn extent(&self, axis: usize) -> R<u64> {
        match self.dims.get(axis) {
            Some(Extent::Fixed(extent)) => Ok(*extent),
            Some(Extent::Batch) => {
                Err(Stop::NotBatchable("an operator needs the extent of the batch".to_owned()))
            }
            None => Err(invalid(format!("expected an axis {axis}, got rank {}", self.rank()))),
        }
    }

    /// Whether the content is known without the host's help.
    pub(crate) fn is_known(&self) -> bool {
        match &*self.form.borrow() {
            Form::Bytes { .. } | Form::Strings(_) | Form::File { .. } => true,
            Form::Node | Form::Named(_) => false,
        }
    }

    /// Dimensions as the contract writes them.
    pub(crate) fn contract_dims(&self) -> Vec<Dim> {
        self.dims.iter().map(|extent| extent.dim()).collect()
    }
}

impl Drop for TensorValue {
    fn drop(&mut self) {
        HELD.with(|held| held.set(held.get().saturating_sub(self.held.get())));
    }
}

thread_local! {
    static HELD: Cell<u64> = const { Cell::new(0) };
}

/// Bytes that a text takes beside its own.
const TEXT_BYTES: u64 = 24;

/// Bytes of the elements of all tensors that are known here.
pub(crate) fn held_bytes() -> u64 {
    HELD.with(Cell::get)
}

impl Extent {
    pub(crate) fn dim(self) -> Dim {
        match self {
            Extent::Fixed(extent) => Dim::Fixed(extent),
            Extent::Batch => Dim::Batch,
        }
    }
}

impl From<T> for Value {
    fn from(tensor: T) -> Value {
        Value::Tensor(tensor)
    }
}

/// Characters of a name that a message shows: a name may have a million bytes, the reason comes after it.
const SHOWN_CHARS: usize = 64;

/// A name of the file as messages show it.
pub(crate) fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN_CHARS) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

/// The error of a model that breaks the rules of ONNX.
pub(crate) fn invalid(message: impl Into<String>) -> Stop {
    Stop::Error(Error::input("onnx-model", message))
}

/// The error of something that this plugin has no code for.
pub(crate) fn unsupported(message: impl Into<String>) -> Stop {
    Stop::Error(Error::unsupported("onnx-op", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_while_a_tensor_lives() {
        let before = held_bytes();
        let x = TensorValue::of_bytes(DType::U8, &[10], vec![0; 10]);
        let texts = TensorValue::of_strings(&[1], vec![vec![0; 6]]);
        assert_eq!(held_bytes(), before + 10 + 6 + TEXT_BYTES);
        x.become_form(Form::Node);
        drop(texts);
        assert_eq!(held_bytes(), before);
    }
}

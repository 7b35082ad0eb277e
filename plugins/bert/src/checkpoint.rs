//! The tensors of a model, whichever of its safetensors files they lie in.

use std::collections::BTreeMap;

use aimass_sdk::files::{File, FileInfo};
use aimass_sdk::graph::{Builder, Value};
use aimass_sdk::prelude::*;

use crate::architecture::Extents;
use crate::safetensors::{TensorInfo, read_header};

/// What comes before every tensor's name, depending on which class saved it.
const PREFIXES: [&str; 3] = ["", "bert.", "model."];

/// The tensor that every BERT has.
const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";

/// Weights and biases of a layer norm are called differently in files converted from TensorFlow.
const OLD_NAMES: [(&str, &str); 2] =
    [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")];

/// The tensors of a model.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    files: Vec<File>,
    /// Which of `files`, and where in it.
    tensors: BTreeMap<String, (usize, TensorInfo)>,
    prefix: &'static str,
}

impl Checkpoint {
    /// Of all safetensors files of the package.
    ///
    /// # Errors
    /// `not-found/file` if there is none; `input/safetensors` if one is malformed, a tensor comes twice
    /// or there are no word embeddings.
    pub(crate) fn open(files: &[FileInfo]) -> Result<Self> {
        let mut checkpoint = Checkpoint { files: Vec::new(), tensors: BTreeMap::new(), prefix: "" };
        for info in files.iter().filter(|info| info.name.ends_with(".safetensors")) {
            checkpoint.add(info)?;
        }
        if checkpoint.files.is_empty() {
            let names: Vec<_> = files.iter().map(|info| info.name.as_str()).collect();
            let message = format!("expected a file *.safetensors, got {names:?}");
            return Err(Error::not_found("file", message));
        }
        let names_words =
            |prefix: &&str| checkpoint.tensors.contains_key(&format!("{prefix}{WORD_EMBEDDINGS}"));
        checkpoint.prefix = PREFIXES.into_iter().find(names_words).ok_or_else(|| {
            let message = format!("expected a tensor {WORD_EMBEDDINGS}: this is no BERT");
            Error::input("safetensors", message)
        })?;
        Ok(checkpoint)
    }

    fn add(&mut self, info: &FileInfo) -> Result<()> {
        let file = File::open(&info.name)?;
        let in_file = |mut error: Error| {
            error.message = format!("{}: {}", info.name, error.message);
            error
        };
        for (name, tensor) in read_header(&file).map_err(in_file)? {
            if self.tensors.contains_key(&name) {
                let message = format!("{}: tensor {name} is in another file, too", info.name);
                return Err(Error::input("safetensors", message));
            }
            self.tensors.insert(name, (self.files.len(), tensor));
        }
        self.files.push(file);
        Ok(())
    }

    /// Hidden size and number of layers.
    ///
    /// # Errors
    /// `input/safetensors` if the word embeddings are no matrix.
    pub(crate) fn extents(&self) -> Result<Extents> {
        let hidden = match self.shape(WORD_EMBEDDINGS) {
            Some(&[_, hidden]) => hidden,
            other => {
                let message = format!("{WORD_EMBEDDINGS}: expected 2 dimensions, got {other:?}");
                return Err(Error::input("safetensors", message));
            }
        };
        let has_layer = |layer: &u64| {
            self.shape(&format!("encoder.layer.{layer}.output.dense.weight")).is_some()
        };
        Ok(Extents { hidden, layers: (0..).take_while(has_layer).count() as u64 })
    }

    /// Shape of a tensor, if it exists. Names go without prefix.
    pub(crate) fn shape(&self, name: &str) -> Option<&[u64]> {
        self.find(name).map(|(_, info)| info.shape.as_slice())
    }

    /// A tensor of exactly this shape as a weight of the graph, in f32.
    ///
    /// # Errors
    /// `input/safetensors` if it is missing or has another shape; `unsupported/dtype` if it is no float.
    pub(crate) fn weight(&self, graph: &Builder, name: &str, shape: &[u64]) -> Result<Value> {
        let (file, info) = self.get(name)?;
        if info.shape != shape {
            let message = format!("{name}: expected shape {shape:?}, got {:?}", info.shape);
            return Err(Error::input("safetensors", message));
        }
        as_f32(graph, name, shape, (file, info))
    }

    /// Row 0 of a matrix with rows of `extent` elements, in f32.
    ///
    /// # Errors
    /// As [`Checkpoint::weight`].
    pub(crate) fn first_row(&self, graph: &Builder, name: &str, extent: u64) -> Result<Value> {
        let (file, info) = self.get(name)?;
        match info.shape[..] {
            [rows, columns] if rows > 0 && columns == extent => {
                as_f32(graph, name, &[extent], (file, info))
            }
            _ => {
                let message = format!("{name}: expected shape [_, {extent}], got {:?}", info.shape);
                Err(Error::input("safetensors", message))
            }
        }
    }

    fn get(&self, name: &str) -> Result<(&File, &TensorInfo)> {
        self.find(name).ok_or_else(|| {
            let message = format!("expected a tensor {}{name}, which is missing", self.prefix);
            Error::input("safetensors", message)
        })
    }

    fn find(&self, name: &str) -> Option<(&File, &TensorInfo)> {
        let prefixed = |name: &str| self.tensors.get(&format!("{}{name}", self.prefix));
        let old = || {
            let (new, old) = OLD_NAMES.iter().find(|(new, _)| name.ends_with(new))?;
            prefixed(&format!("{}{old}", name.strip_suffix(new)?))
        };
        let (file, info) = prefixed(name).or_else(old).or_else(|| self.tensors.get(name))?;
        Some((self.files.get(*file)?, info))
    }
}

fn as_f32(
    graph: &Builder,
    name: &str,
    shape: &[u64],
    (file, info): (&File, &TensorInfo),
) -> Result<Value> {
    if !matches!(info.dtype, DType::F32 | DType::F16 | DType::Bf16 | DType::F64) {
        let message = format!("{name}: expected f32, f16, bf16 or f64, got {}", info.dtype);
        return Err(Error::unsupported("dtype", message));
    }
    let stored = graph.weight(name, info.dtype, shape, file, info.offset)?;
    if info.dtype == DType::F32 {
        return Ok(stored);
    }
    graph.cast(stored, DType::F32)
}

//! Packed weight matrices, shared by content between all plans of the process.

use crate::PlanError;
use crate::weight::WeightRef;
use aimass_cpu::cast::{bf16_to_f32, f16_to_f32};
use aimass_cpu::conv::{pack_filters, pack_spread};
use aimass_cpu::matmul::{Int8Weights, PackedInt8, PackedMatrix};
use aimass_tensor::{DType, Tensor};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Constant content of a value.
#[derive(Debug, Clone)]
pub(crate) enum Constant {
    Weight(WeightRef),
    Tensor(Tensor),
}

impl Constant {
    pub(crate) fn load(&self) -> Result<Tensor, PlanError> {
        match self {
            Constant::Tensor(tensor) => Ok(tensor.clone()),
            Constant::Weight(weight) => weight
                .load()
                .map_err(|source| PlanError::Weight { name: weight.name.clone(), source }),
        }
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        match self {
            Constant::Weight(weight) => weight.digest(),
            Constant::Tensor(tensor) => {
                let mut hash = Sha256::new();
                hash.update(format!("{} {}", tensor.dtype(), tensor.shape()));
                hash.update(tensor.bytes());
                hash.finalize().into()
            }
        }
    }
}

/// A weight matrix that becomes columns of a packed one.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) weight: Constant,
    /// `[n, k]` instead of `[k, n]`.
    pub(crate) transposed: bool,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Of weights in 8 bits, which are multiplied as such.
    pub(crate) int8: Option<Int8Scaling>,
}

/// What 8-bit weights stand for: `(weight - zero) * scale`, with one for all or one a column.
#[derive(Debug, Clone)]
pub(crate) struct Int8Scaling {
    pub(crate) scale: Constant,
    pub(crate) zero: Option<Constant>,
}

/// Packed weights of a layer.
pub(crate) enum Matrix {
    F32(PackedMatrix),
    Int8(PackedInt8),
}

impl Matrix {
    /// Length of the sums.
    pub(crate) fn k(&self) -> usize {
        match self {
            Matrix::F32(matrix) => matrix.k(),
            Matrix::Int8(matrix) => matrix.k(),
        }
    }

    /// Columns.
    pub(crate) fn n(&self) -> usize {
        match self {
            Matrix::F32(matrix) => matrix.n(),
            Matrix::Int8(matrix) => matrix.n(),
        }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Matrix::F32(matrix) => matrix.bytes(),
            Matrix::Int8(matrix) => matrix.bytes(),
        }
    }
}

/// What is packed to a matrix.
#[derive(Debug, Clone)]
pub(crate) enum MatrixSource {
    /// Matrices side by side.
    Parts(Vec<Part>),
    /// Filters of a convolution of images, or (`spread`) of a transposed one.
    Filters { weight: Constant, channels: usize, filters: usize, taps: usize, spread: bool },
}

type Key = [u8; 32];

static CACHE: Mutex<Option<HashMap<Key, Weak<Matrix>>>> = Mutex::new(None);

/// The packed matrix of a source; packs only what no living plan has packed.
pub(crate) fn packed(source: &MatrixSource) -> Result<Arc<Matrix>, PlanError> {
    let mut hash = Sha256::new();
    match source {
        MatrixSource::Parts(parts) => {
            for part in parts {
                hash.update(part.weight.digest());
                hash.update([u8::from(part.transposed)]);
                if let Some(Int8Scaling { scale, zero }) = &part.int8 {
                    hash.update("int8");
                    hash.update(scale.digest());
                    hash.update(zero.as_ref().map_or([0; 32], Constant::digest));
                }
            }
        }
        MatrixSource::Filters { weight, spread, .. } => {
            hash.update(weight.digest());
            hash.update(if *spread { "spread" } else { "filters" });
        }
    }
    let key: Key = hash.finalize().into();
    let find = || {
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get_or_insert_default().get(&key).and_then(Weak::upgrade)
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    let matrix = Arc::new(match source {
        MatrixSource::Parts(parts) if parts[0].int8.is_some() => Matrix::Int8(pack_int8(parts)?),
        MatrixSource::Parts(parts) => Matrix::F32(pack(parts)?),
        MatrixSource::Filters { weight, channels, filters, taps, spread } => {
            let tensor = weight.load()?;
            let weights = as_f32(&tensor)?;
            Matrix::F32(match spread {
                true => pack_spread(&weights, *channels, *filters, *taps),
                false => pack_filters(&weights, *filters, *channels, *taps),
            })
        }
    });
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = cache.get_or_insert_default();
    if let Some(found) = cache.get(&key).and_then(Weak::upgrade) {
        return Ok(found);
    }
    cache.retain(|_, matrix| matrix.strong_count() > 0);
    cache.insert(key, Arc::downgrade(&matrix));
    Ok(matrix)
}

fn pack(parts: &[Part]) -> Result<PackedMatrix, PlanError> {
    let mut tensors = Vec::with_capacity(parts.len());
    for part in parts {
        tensors.push(part.weight.load()?);
    }
    let mut matrices = Vec::with_capacity(parts.len());
    for tensor in &tensors {
        matrices.push(as_f32(tensor)?);
    }
    let k = parts[0].k;
    if let ([part], [matrix]) = (parts, matrices.as_slice()) {
        return Ok(match part.transposed {
            true => PackedMatrix::pack_transposed(k, part.n, matrix),
            false => PackedMatrix::pack(k, part.n, matrix),
        });
    }
    let slices: Vec<&[f32]> = matrices.iter().map(|matrix| &**matrix).collect();
    Ok(PackedMatrix::pack_parts(k, &slices, parts[0].transposed))
}

fn pack_int8(parts: &[Part]) -> Result<PackedInt8, PlanError> {
    const DEFECT: PlanError = PlanError::Internal("weights of a dynamic layer are no i8");
    let mut tensors = Vec::with_capacity(parts.len());
    for part in parts {
        let int8 = part.int8.as_ref().ok_or(DEFECT)?;
        let zero = int8.zero.as_ref().map(Constant::load).transpose()?;
        tensors.push((part.weight.load()?, int8.scale.load()?, zero));
    }
    let mut weights = Vec::with_capacity(parts.len());
    for (part, (w, scale, zero)) in parts.iter().zip(&tensors) {
        weights.push(Int8Weights {
            n: part.n,
            weights: w.bytes(),
            signed: w.dtype() == DType::I8,
            zeros: zero.as_ref().map_or(&[], |zero| zero.bytes()),
            scales: scale.as_slice().map_err(|_| DEFECT)?,
        });
    }
    PackedInt8::pack(parts[0].k, &weights).ok_or(DEFECT)
}

fn as_f32(tensor: &Tensor) -> Result<Cow<'_, [f32]>, PlanError> {
    let halves = |convert: fn(u16) -> f32| {
        let pairs = tensor.bytes().chunks_exact(2);
        Cow::Owned(pairs.map(|pair| convert(u16::from_le_bytes([pair[0], pair[1]]))).collect())
    };
    match tensor.dtype() {
        DType::F16 => Ok(halves(f16_to_f32)),
        DType::Bf16 => Ok(halves(bf16_to_f32)),
        _ => tensor
            .as_slice::<f32>()
            .map(Cow::Borrowed)
            .map_err(|_| PlanError::Internal("a linear weight is no float")),
    }
}

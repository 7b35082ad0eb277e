//! Packed weight matrices, shared by content between all plans of the process.

use crate::PlanError;
use crate::weight::WeightRef;
use aimass_cpu::cast::{bf16_to_f32, f16_to_f32};
use aimass_cpu::conv::{pack_filters, pack_spread};
use aimass_cpu::matmul::PackedMatrix;
use aimass_tensor::{DType, Shape, Tensor};
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

    /// The same elements in another shape.
    ///
    /// # Errors
    /// [`PlanError::Internal`] if the shape has another number of elements.
    pub(crate) fn reshaped(&self, shape: Shape) -> Result<Constant, PlanError> {
        let wrong = PlanError::Internal("a constant has another number of elements than its view");
        Ok(match self {
            Constant::Tensor(tensor) => {
                Constant::Tensor(tensor.reshaped(shape).map_err(|_| wrong)?)
            }
            Constant::Weight(weight) if weight.shape.elements() == shape.elements() => {
                Constant::Weight(WeightRef { shape, ..weight.clone() })
            }
            Constant::Weight(_) => return Err(wrong),
        })
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

static CACHE: Mutex<Option<HashMap<Key, Weak<PackedMatrix>>>> = Mutex::new(None);

/// The packed matrix of a source; packs only what no living plan has packed.
pub(crate) fn packed(source: &MatrixSource) -> Result<Arc<PackedMatrix>, PlanError> {
    let mut hash = Sha256::new();
    match source {
        MatrixSource::Parts(parts) => {
            for part in parts {
                hash.update(part.weight.digest());
                hash.update(format!("{} {} {}", part.transposed, part.k, part.n));
            }
        }
        MatrixSource::Filters { weight, channels, filters, taps, spread } => {
            hash.update(weight.digest());
            let layout = if *spread { "spread" } else { "filters" };
            hash.update(format!("{layout} {channels} {filters} {taps}"));
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
        MatrixSource::Parts(parts) => pack(parts)?,
        MatrixSource::Filters { weight, channels, filters, taps, spread } => {
            let tensor = weight.load()?;
            let weights = as_f32(&tensor)?;
            match spread {
                true => pack_spread(&weights, *channels, *filters, *taps),
                false => pack_filters(&weights, *filters, *channels, *taps),
            }
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

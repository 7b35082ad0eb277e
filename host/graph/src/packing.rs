//! Packed weight matrices, shared by content between all plans of the process.

use crate::PlanError;
use crate::weight::WeightRef;
use aimass_cpu::cast::{bf16_to_f32, f16_to_f32};
use aimass_cpu::conv::{pack_filters, pack_spread, pack_tiles, tile_rows};
use aimass_cpu::matmul::{Int8Weights, PackedInt8, PackedMatrix};
use aimass_tensor::{Buffer, DType, Tensor};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
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

    /// Says that what was loaded has been copied.
    pub(crate) fn release(&self) {
        match self {
            Constant::Weight(weight) => weight.release(),
            Constant::Tensor(_) => {}
        }
    }

    pub(crate) fn dtype(&self) -> DType {
        match self {
            Constant::Weight(weight) => weight.dtype,
            Constant::Tensor(tensor) => tensor.dtype(),
        }
    }

    /// The name of a weight; what was folded or given by value has none.
    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        match self {
            Constant::Weight(weight) => Some(&weight.name),
            Constant::Tensor(_) => None,
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
    /// Filters of a convolution of images.
    Filters { weight: Constant, channels: usize, filters: usize, taps: usize, form: FilterForm },
}

/// What filters are packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterForm {
    /// Windows as rows of a product.
    Windows,
    /// Tiles of outputs.
    Tiles,
    /// A transposed convolution.
    Spread,
}

impl MatrixSource {
    /// Names of the weights that are packed.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        match self {
            MatrixSource::Parts(parts) => {
                parts.iter().filter_map(|part| part.weight.name().cloned()).collect()
            }
            MatrixSource::Filters { weight, .. } => weight.name().cloned().into_iter().collect(),
        }
    }
}

type Key = [u8; 32];

static CACHE: Mutex<Option<HashMap<Key, Weak<Matrix>>>> = Mutex::new(None);

/// Keeps packed weights between starts of the process.
///
/// Keys name content, layout and instructions; what was put under one is what belongs there for ever.
pub trait PackedStore: Send + Sync {
    /// The bytes of an entry, aligned to 64 bytes; none if there is no whole one.
    fn get(&self, key: &[u8; 32]) -> Option<Buffer>;

    /// Keeps an entry, if possible.
    fn put(&self, key: &[u8; 32], bytes: &[u8]);
}

impl fmt::Debug for dyn PackedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PackedStore")
    }
}

/// Changes with the layout of packed matrices.
const LAYOUT: &str = "aimass-packed-1";
/// Bytes of the smallest matrix that is kept: others are packed faster than found.
const STORED_BYTES_MIN: usize = 64 << 10;

impl MatrixSource {
    fn key(&self) -> Key {
        let mut hash = Sha256::new();
        hash.update(format!("{LAYOUT} {:?}", aimass_cpu::level()));
        match self {
            MatrixSource::Parts(parts) => {
                for part in parts {
                    hash.update(part.weight.digest());
                    hash.update(format!("{} {} {}", part.transposed, part.k, part.n));
                    if let Some(Int8Scaling { scale, zero }) = &part.int8 {
                        hash.update("int8");
                        hash.update(scale.digest());
                        hash.update(zero.as_ref().map_or([0; 32], Constant::digest));
                    }
                }
            }
            MatrixSource::Filters { weight, channels, filters, taps, form } => {
                hash.update(weight.digest());
                hash.update(format!("filters {channels} {filters} {taps} {form:?}"));
            }
        }
        hash.finalize().into()
    }

    /// Rows and columns of the packed matrix.
    fn extents(&self) -> (usize, usize) {
        match self {
            MatrixSource::Parts(parts) => (parts[0].k, parts.iter().map(|part| part.n).sum()),
            MatrixSource::Filters { channels, filters, taps, form, .. } => match form {
                FilterForm::Windows => (channels * taps, *filters),
                FilterForm::Tiles => (tile_rows(*channels, *taps), *filters),
                FilterForm::Spread => (*channels, filters * taps),
            },
        }
    }

    fn pack(&self) -> Result<PackedMatrix, PlanError> {
        match self {
            MatrixSource::Parts(parts) => {
                let packed = pack(parts)?;
                parts.iter().for_each(|part| part.weight.release());
                Ok(packed)
            }
            MatrixSource::Filters { weight, channels, filters, taps, form } => {
                let tensor = weight.load()?;
                let weights = as_f32(&tensor)?;
                let packed = match form {
                    FilterForm::Windows => pack_filters(&weights, *filters, *channels, *taps),
                    FilterForm::Tiles => pack_tiles(&weights, *filters, *channels, *taps),
                    FilterForm::Spread => pack_spread(&weights, *channels, *filters, *taps),
                };
                weight.release();
                Ok(packed)
            }
        }
    }

    /// The matrix of the store, or a new one that is put there.
    fn stored(&self, key: &Key, store: &dyn PackedStore) -> Result<PackedMatrix, PlanError> {
        let (k, n) = self.extents();
        let bytes = PackedMatrix::bytes_of(k, n);
        if bytes < STORED_BYTES_MIN {
            return self.pack();
        }
        if let Some(found) = store.get(key).filter(|found| found.as_slice().len() == bytes) {
            return Ok(PackedMatrix::from_buffer(k, n, found));
        }
        let packed = self.pack()?;
        if (packed.k(), packed.n()) == (k, n) {
            store.put(key, packed.buffer().as_slice());
        }
        Ok(packed)
    }
}

/// The packed matrix of a source; packs only what neither a living plan nor the store has.
pub(crate) fn packed(
    source: &MatrixSource,
    store: Option<&dyn PackedStore>,
) -> Result<Arc<Matrix>, PlanError> {
    let key = source.key();
    let find = || {
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get_or_insert_default().get(&key).and_then(Weak::upgrade)
    };
    if let Some(found) = find() {
        return Ok(found);
    }
    let matrix = Arc::new(match (source, store) {
        // As many bytes as the store would be read for.
        (MatrixSource::Parts(parts), _) if parts[0].int8.is_some() => {
            Matrix::Int8(pack_int8(parts)?)
        }
        (_, Some(store)) => Matrix::F32(source.stored(&key, store)?),
        (_, None) => Matrix::F32(source.pack()?),
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
    let packed = PackedInt8::pack(parts[0].k, &weights).ok_or(DEFECT)?;
    parts.iter().for_each(|part| part.weight.release());
    Ok(packed)
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

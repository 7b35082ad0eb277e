//! Scaled dot-product attention, `softmax(scale q kᵀ + mask) v` for every head, without ever holding
//! the scores in memory (arXiv:2205.14135 §3.1).
//!
//! f32 is computed in f32. f16 and bf16 are multiplied by tensor cores into f32, where the softmax is;
//! its weights are rounded once to the type before they meet the values. A query that sees no key
//! gives zeros. A sequence gives the same bits alone and in any batch.

use crate::attention_decode::{self, Decode};
use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Address, Form, Grid};
use crate::memory::Slice;
use crate::parameters;
use crate::queue::Queue;

/// What is the same for all sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: u32,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: u32,
    /// Elements of one head.
    pub head_dim: u32,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Whether query `i` sees only keys `j <= i + keys - queries`.
    pub causal: bool,
}

/// How rows belong to sequences.
#[derive(Clone, Copy, Debug)]
pub enum Sequences<'m> {
    /// Sequences of one length, one after the other.
    Equal {
        /// Number of sequences.
        count: u32,
        /// Queries of each.
        queries: u32,
        /// Keys of each.
        keys: u32,
    },
    /// Sequence `s` is rows `offsets[s]..offsets[s + 1]` of queries and keys alike.
    Ragged {
        /// `[count + 1]` u32, rising; rows beyond `rows` are left out.
        offsets: Slice<'m>,
        /// Number of sequences.
        count: u32,
        /// Rows of all sequences.
        rows: u32,
    },
}

/// Rows that lie in a matrix, perhaps among other columns: a part of a merged QKV product serves.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'m> {
    /// From the first element of the first row on.
    pub slice: Slice<'m>,
    /// Elements from one row to the next.
    pub row: u32,
}

/// Numbers of the operands' type that are added to the scores; `-inf` hides a key.
///
/// The number of sequence `s`, head `h`, query `i` and key `j` is element
/// `s sequence + h head + i query + j key`; 0 where they share it. Not for ragged sequences.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "strides, described together")]
pub struct Mask<'m> {
    pub slice: Slice<'m>,
    pub sequence: u32,
    pub head: u32,
    pub query: u32,
    pub key: u32,
}

/// What attention reads and writes; all of one type.
#[derive(Clone, Copy, Debug)]
pub struct AttentionOperands<'m> {
    /// `[queries of all, heads head_dim]`.
    pub q: Columns<'m>,
    /// `[keys of all, kv_heads head_dim]`.
    pub k: Columns<'m>,
    /// `[keys of all, kv_heads head_dim]`.
    pub v: Columns<'m>,
    /// Only with [`Sequences::Equal`].
    pub mask: Option<Mask<'m>>,
    /// The result, as `q`; apart from every other operand.
    pub y: Columns<'m>,
    /// [`attention_scratch`] bytes, 4-byte aligned.
    pub scratch: Slice<'m>,
}

/// Largest head that the kernels with tiles, and those of one query a sequence, take.
pub const HEAD_MAX: u32 = 256;

impl Columns<'_> {
    /// The address of `rows` rows of `width` elements of `size` bytes.
    pub(crate) fn rows(&self, rows: u64, width: u64, size: usize) -> Result<Address, DeviceError> {
        let before = rows.saturating_sub(1).checked_mul(self.row.into());
        let all = match rows {
            0 => Some(0),
            _ => before.and_then(|before| before.checked_add(width)),
        };
        self.slice.elements(all.unwrap_or(u64::MAX), size)
    }

    /// Whether each head of each row begins at a multiple of 16 bytes.
    pub(crate) fn has_vectors(&self, size: usize) -> bool {
        self.slice.is_aligned(16) && (self.row as usize * size).is_multiple_of(16)
    }
}

impl Mask<'_> {
    /// The address, if there is a number for everyone.
    pub(crate) fn address(
        &self,
        shape: &AttentionShape,
        [count, queries, keys]: [u32; 3],
        size: usize,
    ) -> Result<Address, DeviceError> {
        let axes = [
            (count, self.sequence),
            (shape.heads, self.head),
            (queries, self.query),
            (keys, self.key),
        ];
        let mut end = 1u64;
        for (extent, stride) in axes {
            if extent == 0 {
                return self.slice.elements(0, size);
            }
            end = end.saturating_add(u64::from(extent - 1) * u64::from(stride));
        }
        self.slice.elements(end, size)
    }
}

impl AttentionShape {
    /// Elements of a row of queries, and of keys.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] for heads that do not fit together.
    pub(crate) fn widths(&self) -> Result<(u64, u64), DeviceError> {
        if self.kv_heads == 0 || self.heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return Err(DeviceError::Defect("heads that are no multiple of the heads of keys"));
        }
        let width = |heads: u32| match heads.checked_mul(self.head_dim) {
            Some(width) => Ok(u64::from(width)),
            None => Err(DeviceError::Defect("attention over rows of 2^32 elements or more")),
        };
        Ok((width(self.heads)?, width(self.kv_heads)?))
    }
}

/// Whether the keys of a query are split over blocks: where there is but one query a sequence.
fn decodes(shape: &AttentionShape, sequences: &Sequences<'_>) -> Option<(u32, u32)> {
    match *sequences {
        Sequences::Equal { count, queries: 1, keys } if shape.head_dim <= HEAD_MAX => {
            Some((count, keys))
        }
        Sequences::Equal { .. } | Sequences::Ragged { .. } => None,
    }
}

/// Bytes of scratch memory that [`attention`] needs.
pub fn attention_scratch(shape: &AttentionShape, sequences: &Sequences<'_>) -> usize {
    match decodes(shape, sequences) {
        Some((count, keys)) => attention_decode::decode_scratch(shape, count, keys),
        None => 0,
    }
}

/// Attention of every query to the keys of its own sequence.
///
/// Heads of any extent; those up to 256 take tiles of 32, 64, 128 or 256 columns, so that just above
/// one of these costs as much as the next.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short for its shape, or a refused launch.
pub fn attention(
    queue: &mut Queue<'_>,
    form: Form,
    shape: &AttentionShape,
    sequences: &Sequences<'_>,
    operands: &AttentionOperands<'_>,
) -> Result<(), DeviceError> {
    if let Some((count, keys)) = decodes(shape, sequences) {
        let AttentionOperands { q, k, v, mask, y, scratch } = *operands;
        let (lengths, pages) = (Slice::none(), None);
        let decode = Decode { sequences: count, keys, q, k, v, mask, y, lengths, pages, scratch };
        return attention_decode::attention_decode(queue, form, shape, &decode);
    }
    let job = Job::new(form, shape, sequences, operands)?;
    if job.shape.sequences == 0 || job.shape.queries == 0 || job.width == 0 {
        return Ok(());
    }
    job.launch(queue, form)
}

/// A checked call.
struct Job {
    shape: parameters::AttentionShape,
    width: u64,
    ragged: bool,
    q: Address,
    k: Address,
    v: Address,
    mask: Address,
    offsets: Address,
    y: Address,
}

impl Job {
    fn new(
        form: Form,
        shape: &AttentionShape,
        sequences: &Sequences<'_>,
        operands: &AttentionOperands<'_>,
    ) -> Result<Job, DeviceError> {
        let (width, kv_width) = shape.widths()?;
        let AttentionOperands { q, k, v, mask, y, .. } = operands;
        let size = form.bytes();
        let (ragged, offsets) = match sequences {
            Sequences::Equal { .. } => (false, Address(0)),
            Sequences::Ragged { offsets, count, .. } => {
                (true, offsets.elements(u64::from(*count) + 1, 4)?)
            }
        };
        let (count, queries, keys, copies) = match *sequences {
            Sequences::Equal { count, queries, keys } => (count, queries, keys, count),
            Sequences::Ragged { count, rows, .. } => (count, rows, rows, 1),
        };
        let all = |rows: u32| u64::from(rows) * u64::from(copies);
        if all(queries) > 1 && u64::from(y.row) < width {
            return Err(DeviceError::Defect("rows of the result of attention overlap"));
        }
        let mask_at = match mask {
            None => Address(0),
            Some(_) if ragged => {
                return Err(DeviceError::Defect("a mask for ragged sequences"));
            }
            Some(mask) => mask.address(shape, [count, queries, keys], size)?,
        };
        let vectors = (shape.head_dim as usize * size).is_multiple_of(16)
            && [q, k, v, y].iter().all(|own| own.has_vectors(size));
        let stride = |of: fn(&Mask<'_>) -> u32| mask.as_ref().map_or(0, of);
        let shape = parameters::AttentionShape {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            sequences: count,
            queries,
            keys,
            q_row: q.row,
            k_row: k.row,
            v_row: v.row,
            y_row: y.row,
            mask_sequence: stride(|mask| mask.sequence),
            mask_head: stride(|mask| mask.head),
            mask_query: stride(|mask| mask.query),
            mask_key: stride(|mask| mask.key),
            causal: shape.causal.into(),
            vectors: vectors.into(),
            scale: shape.scale,
        };
        Ok(Job {
            shape,
            width,
            ragged,
            q: q.rows(all(queries), width, size)?,
            k: k.rows(all(keys), kv_width, size)?,
            v: v.rows(all(keys), kv_width, size)?,
            mask: mask_at,
            offsets,
            y: y.rows(all(queries), width, size)?,
        })
    }

    /// Blocks of `rows` queries each, as the kernels count them.
    fn grid(&self, rows: u32, threads: u32, shared: u32) -> Result<Grid, DeviceError> {
        let shape = &self.shape;
        let tiles = match self.ragged {
            true => u64::from(shape.queries / rows) + u64::from(shape.sequences),
            false => u64::from(shape.queries.div_ceil(rows)) * u64::from(shape.sequences),
        };
        match tiles.checked_mul(shape.heads.into()).filter(|&blocks| blocks < 1 << 31) {
            Some(blocks) => Ok(Grid { shared, ..Grid::linear(blocks as u32, threads) }),
            None => Err(DeviceError::Defect("attention over more than 2^31 tiles")),
        }
    }

    fn launch(&self, queue: &mut Queue<'_>, form: Form) -> Result<(), DeviceError> {
        let Job { shape, q, k, v, mask, offsets, y, .. } = *self;
        // The extents and counts of the kernels' templates.
        macro_rules! tiles {
            ($kernel:ident, $rows:expr, $threads:expr, $shared:expr) => {{
                let kernel = entries::$kernel { q, k, v, mask, offsets, y, shape };
                queue.launch(&kernel, form, self.grid($rows, $threads, $shared)?)
            }};
        }
        match (form, shape.head_dim) {
            (Form::F32, ..=32) => tiles!(AttentionExact32, 64, 256, exact_shared(32, 64, 64)),
            (Form::F32, ..=64) => tiles!(AttentionExact64, 64, 256, exact_shared(64, 64, 64)),
            (Form::F32, ..=128) => tiles!(AttentionExact128, 64, 256, exact_shared(128, 64, 32)),
            (Form::F32, ..=HEAD_MAX) => {
                tiles!(AttentionExact256, 32, 256, exact_shared(256, 32, 16))
            }
            (Form::F16 | Form::Bf16, ..=32) => tiles!(Attention32, 128, 128, shared(32, 128)),
            (Form::F16 | Form::Bf16, ..=64) => tiles!(Attention64, 128, 128, shared(64, 128)),
            (Form::F16 | Form::Bf16, ..=128) => tiles!(Attention128, 128, 128, shared(128, 160)),
            (Form::F16 | Form::Bf16, ..=HEAD_MAX) => {
                tiles!(Attention256, 64, 128, shared(256, 96))
            }
            (_, _) => tiles!(AttentionWide, 1, 128, 0),
        }
    }
}

/// Bytes of a tile of queries, one of keys or values, and one of weights, each row padded.
const fn exact_shared(columns: u32, rows: u32, keys: u32) -> u32 {
    4 * ((rows + keys) * (columns + 4) + rows * (keys + 4))
}

/// Bytes of `rows` rows of 16-bit elements, each padded.
const fn shared(columns: u32, rows: u32) -> u32 {
    2 * rows * (columns + 8)
}

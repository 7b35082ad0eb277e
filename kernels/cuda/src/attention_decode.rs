//! Attention of one query a sequence: the step of text generation, with keys in place or in the pages of
//! a cache.
//!
//! Each block of the grid takes 256 keys of a head, or of up to four heads that share them; a second
//! pass joins the parts in order.

use crate::attention::{AttentionShape, Columns, HEAD_MAX, Mask};
use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Address, Form, Grid};
use crate::memory::Slice;
use crate::parameters::DecodeShape;
use crate::queue::Queue;

/// Keys of one block of the grid.
const SPLIT: u32 = 256;
const THREADS: u32 = 128;

/// A cache whose keys lie in pages (arXiv:2309.06180 §4.3).
#[derive(Clone, Copy, Debug)]
pub struct Pages<'m> {
    /// `[sequences, pages]` u32: key `j` of sequence `s` is row
    /// `table[s, j / keys] keys + j % keys` of the cache. Keys whose row is beyond it are not seen.
    pub table: Slice<'m>,
    /// Columns of the table.
    pub pages: u32,
    /// Keys of a page.
    pub keys: u32,
    /// Rows of the cache.
    pub rows: u32,
}

/// What a step reads and writes; all of one type but lengths and tables.
#[derive(Clone, Copy, Debug)]
pub struct Decode<'m> {
    /// Number of sequences.
    pub sequences: u32,
    /// Keys of each sequence, at most.
    pub keys: u32,
    /// `[sequences, heads head_dim]`.
    pub q: Columns<'m>,
    /// `[sequences keys, kv_heads head_dim]`, or the rows of the cache.
    pub k: Columns<'m>,
    /// As `k`.
    pub v: Columns<'m>,
    /// Strides of queries are not used.
    pub mask: Option<Mask<'m>>,
    /// The result, as `q`; apart from every other operand.
    pub y: Columns<'m>,
    /// `[sequences]` u32, keys of each; nothing if all have `keys`.
    pub lengths: Slice<'m>,
    /// Where the keys lie, if not one after the other.
    pub pages: Option<Pages<'m>>,
    /// [`decode_scratch`] bytes, 4-byte aligned.
    pub scratch: Slice<'m>,
}

fn splits(keys: u32) -> u32 {
    keys.div_ceil(SPLIT).max(1)
}

/// Bytes of scratch memory that [`attention_decode`] needs.
pub fn decode_scratch(shape: &AttentionShape, sequences: u32, keys: u32) -> usize {
    match splits(keys) {
        1 => 0,
        splits => {
            let parts = sequences as usize * shape.heads as usize * splits as usize;
            parts * (shape.head_dim as usize + 2) * 4
        }
    }
}

/// Attention of one query a sequence; `shape.causal` changes nothing, as the query is the last.
///
/// # Errors
/// [`DeviceError::Defect`] for heads of more than 256 elements or an operand that is too short, or a
/// refused launch.
pub fn attention_decode(
    queue: &mut Queue<'_>,
    form: Form,
    shape: &AttentionShape,
    decode: &Decode<'_>,
) -> Result<(), DeviceError> {
    if shape.head_dim > HEAD_MAX {
        return Err(DeviceError::Defect("decoding with heads of more than 256 elements"));
    }
    let (width, _) = shape.widths()?;
    let own = decode.shape(form, shape)?;
    let Operands { q, k, v, mask, lengths, table, y, partial } = decode.operands(form, shape)?;
    if decode.sequences == 0 || width == 0 {
        return Ok(());
    }
    let group = shape.heads / shape.kv_heads;
    let parts = if group == 1 { 1 } else { group.div_ceil(4) };
    let rows = u64::from(decode.sequences) * u64::from(shape.heads);
    let blocks = u64::from(decode.sequences) * u64::from(shape.kv_heads * parts);
    let blocks = blocks.checked_mul(own.splits.into()).filter(|&blocks| blocks < 1 << 31);
    let Some(blocks) = blocks.filter(|_| rows < 1 << 31) else {
        return Err(DeviceError::Defect("attention over more than 2^31 parts"));
    };
    let grid = Grid::linear(blocks as u32, THREADS);
    let shape = own;
    if group == 1 {
        let kernel = entries::AttentionDecode { q, k, v, mask, lengths, table, y, partial, shape };
        queue.launch(&kernel, form, grid)?;
    } else {
        #[rustfmt::skip]
        let kernel = entries::AttentionDecodeGrouped {
            q, k, v, mask, lengths, table, y, partial, shape,
        };
        queue.launch(&kernel, form, grid)?;
    }
    if own.splits == 1 {
        return Ok(());
    }
    let join = entries::AttentionJoin {
        partial,
        y,
        heads: own.heads,
        head_dim: own.head_dim,
        splits: own.splits,
        y_row: own.y_row,
    };
    queue.launch(&join, form, Grid::linear(rows as u32, THREADS))
}

/// Checked addresses; absent ones are 0.
struct Operands {
    q: Address,
    k: Address,
    v: Address,
    mask: Address,
    lengths: Address,
    table: Address,
    y: Address,
    partial: Address,
}

impl Decode<'_> {
    /// Rows of keys in memory.
    fn rows(&self) -> Result<u32, DeviceError> {
        let rows = match self.pages {
            Some(pages) => Some(pages.rows),
            None => self.sequences.checked_mul(self.keys),
        };
        rows.ok_or(DeviceError::Defect("attention over 2^32 keys or more"))
    }

    fn operands(&self, form: Form, shape: &AttentionShape) -> Result<Operands, DeviceError> {
        let (size, (width, kv_width)) = (form.bytes(), shape.widths()?);
        let rows = self.rows()?.into();
        if self.sequences > 1 && u64::from(self.y.row) < width {
            return Err(DeviceError::Defect("rows of the result of attention overlap"));
        }
        let mask = match &self.mask {
            None => Address(0),
            Some(mask) => mask.address(shape, [self.sequences, 1, self.keys], size)?,
        };
        let table = match &self.pages {
            None => Address(0),
            Some(Pages { table, pages, keys, .. }) => {
                if *keys == 0 || u64::from(*pages) * u64::from(*keys) < self.keys.into() {
                    return Err(DeviceError::Defect("a table of fewer pages than keys take"));
                }
                table.elements(u64::from(self.sequences) * u64::from(*pages), 4)?
            }
        };
        let lengths = match self.lengths.bytes() {
            0 => Address(0),
            _ => self.lengths.elements(self.sequences.into(), 4)?,
        };
        let partial = match decode_scratch(shape, self.sequences, self.keys) as u64 {
            0 => Address(0),
            bytes => self.scratch.elements(bytes / 4, 4)?,
        };
        Ok(Operands {
            q: self.q.rows(self.sequences.into(), width, size)?,
            k: self.k.rows(rows, kv_width, size)?,
            v: self.v.rows(rows, kv_width, size)?,
            mask,
            lengths,
            table,
            y: self.y.rows(self.sequences.into(), width, size)?,
            partial,
        })
    }

    fn shape(&self, form: Form, shape: &AttentionShape) -> Result<DecodeShape, DeviceError> {
        let size = form.bytes();
        let vectors = (shape.head_dim as usize * size).is_multiple_of(16)
            && shape.head_dim.is_multiple_of(8)
            && [self.q, self.k, self.v].iter().all(|own| own.has_vectors(size));
        let stride = |of: fn(&Mask<'_>) -> u32| self.mask.as_ref().map_or(0, of);
        Ok(DecodeShape {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            keys: self.keys,
            splits: splits(self.keys),
            q_row: self.q.row,
            k_row: self.k.row,
            v_row: self.v.row,
            y_row: self.y.row,
            mask_sequence: stride(|mask| mask.sequence),
            mask_head: stride(|mask| mask.head),
            mask_key: stride(|mask| mask.key),
            block: self.pages.map_or(1, |pages| pages.keys),
            blocks: self.pages.map_or(0, |pages| pages.pages),
            rows: self.rows()?,
            lanes: shape.head_dim.div_ceil(8).max(1).next_power_of_two(),
            vectors: vectors.into(),
            scale: shape.scale,
        })
    }
}

//! Attention of one query a sequence to keys and values that stay in the pages of a cache.

use super::indexed::indices;
use super::{Case, FLOATS, floats, graph, tensor};
use crate::{
    AttentionOptions, AttentionValues, Dim, GraphBuilder, GraphError, ScatterMode, ValueId,
};
use aimass_tensor::DType;

const SEQUENCES: usize = 3;
const PAGES: usize = 33;

/// How many pages a sequence has, and of how many keys; heads, those that share them, and their size.
struct Extents {
    each: usize,
    page: usize,
    heads: u32,
    kv_heads: u32,
    size: usize,
}

pub(super) fn all() -> Vec<Case> {
    // Keys of one block of the grid and of two; heads that are read by vectors and that are not.
    let extents = [
        Extents { each: 5, page: 8, heads: 3, kv_heads: 3, size: 20 },
        Extents { each: 40, page: 8, heads: 2, kv_heads: 2, size: 64 },
        Extents { each: 3, page: 16, heads: 6, kv_heads: 2, size: 16 },
        Extents { each: 24, page: 16, heads: 8, kv_heads: 1, size: 32 },
    ];
    let types = [DType::I64, DType::U32, DType::I32, DType::I64];
    let each =
        |dtype| extents.iter().zip(types).map(move |(extents, own)| case(dtype, extents, own));
    FLOATS.into_iter().flat_map(each).collect()
}

/// Both caches are written before: the second would take the memory of the first, were that not kept until
/// attention has read it.
fn case(dtype: DType, extents: &Extents, table: DType) -> Case {
    let Extents { each, page, heads, kv_heads, size } = *extents;
    let (keys, width) = (each * page, kv_heads as usize * size);
    let places = [3i64, 1, 7, 2].map(i64::to_le_bytes).concat();
    let inputs = vec![
        floats(dtype, &[SEQUENCES, 1, heads as usize * size], 1),
        floats(dtype, &[PAGES, page, width], 2),
        floats(dtype, &[PAGES, page, width], 3),
        indices(table, &[SEQUENCES, each], &[PAGES]),
        tensor(DType::I64, &[2, 2], &places),
        floats(dtype, &[2, width], 4),
        floats(dtype, &[SEQUENCES, 1, 1, keys], 5),
    ];
    let options = AttentionOptions { heads, kv_heads, scale: None, causal: false, window: None };
    let name =
        format!("attention in pages({dtype}, {keys} keys of {page}, {heads} heads of {size})");
    let case = graph(&name, inputs, 64.0, move |builder, values| {
        let [q, k, v, table, places, row, mask] = values[..] else { return Ok(values[0]) };
        let rows = |builder: &mut GraphBuilder, cache: ValueId| -> Result<ValueId, GraphError> {
            let cache = builder.scatter_nd(cache, places, row, ScatterMode::Replace)?;
            let own = builder.gather(cache, table, 0)?;
            builder.reshape(own, &[SEQUENCES, keys, width].map(|n| Dim::Fixed(n as u64)))
        };
        let (k, v) = (rows(builder, k)?, rows(builder, v)?);
        builder.attention(AttentionValues { q, k, v }, Some(mask), options)
    });
    Case { step: Some("attention(paged)"), ..case }
}

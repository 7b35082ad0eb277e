// What the forms of attention share: where a block works, which keys a query sees, tiles of rows.
#pragma once
#include "kernel.cuh"

namespace attention_ {

// Rows of one sequence and head that a block computes; `rows` is 0 where there is nothing to do.
struct Tile {
    u32 head, sequence;
    u32 queries, keys;
    u32 first, rows;
    u64 q_start, k_start;
};

DEVICE u32 smaller(u32 a, u32 b) { return a < b ? a : b; }

// Sequences of one length: blocks go over tiles (the last, which sees most, first), heads, sequences.
template <u32 ROWS> DEVICE Tile batched_tile(const AttentionShape &shape) {
    u32 tiles = (shape.queries + ROWS - 1) / ROWS;
    u32 rest = blockIdx.x / tiles;
    Tile tile;
    tile.head = rest % shape.heads;
    tile.sequence = rest / shape.heads;
    tile.queries = shape.queries;
    tile.keys = shape.keys;
    tile.first = (tiles - 1 - blockIdx.x % tiles) * ROWS;
    tile.rows = smaller(ROWS, shape.queries - tile.first);
    tile.q_start = (u64)tile.sequence * shape.queries;
    tile.k_start = (u64)tile.sequence * shape.keys;
    return tile;
}

// Sequence s has the blocks of a head from offsets[s] / ROWS + s on: never fewer than its tiles, so
// that the grid follows from the number of rows and sequences alone.
template <u32 ROWS> DEVICE Tile ragged_tile(const AttentionShape &shape, const u32 *offsets) {
    u32 blocks = shape.queries / ROWS + shape.sequences;
    u32 block = blockIdx.x % blocks;
    u32 low = 0, high = shape.sequences;
    while (high - low > 1) {
        u32 middle = low + (high - low) / 2;
        if (smaller(offsets[middle], shape.queries) / ROWS + middle <= block) low = middle;
        else high = middle;
    }
    u32 start = smaller(offsets[low], shape.queries);
    u32 end = smaller(offsets[low + 1], shape.queries);
    u32 length = end > start ? end - start : 0;
    Tile tile;
    tile.head = blockIdx.x / blocks;
    tile.sequence = low;
    tile.queries = tile.keys = length;
    u32 before = start / ROWS + low;
    tile.first = block < before ? length : smaller((block - before) * ROWS, length);
    tile.rows = smaller(ROWS, length - tile.first);
    tile.q_start = tile.k_start = start;
    return tile;
}

template <u32 ROWS> DEVICE Tile find_tile(const AttentionShape &shape, const u32 *offsets) {
    return offsets ? ragged_tile<ROWS>(shape, offsets) : batched_tile<ROWS>(shape);
}

// Keys that query `query` of the sequence sees are those before this.
DEVICE u32 keys_seen(const AttentionShape &shape, u32 query, u32 queries, u32 keys) {
    if (!shape.causal) return keys;
    u32 end = query + 1 + keys;
    return smaller(keys, end > queries ? end - queries : 0);
}

// Where the mask of a head's query begins.
template <class T>
DEVICE const T *mask_row(const AttentionShape &shape, const T *mask, u32 sequence, u32 head, u32 query) {
    return mask + (u64)sequence * shape.mask_sequence + (u64)head * shape.mask_head +
           (u64)query * shape.mask_query;
}

// What exponents are taken against: where every key is hidden so far, anything but -inf.
DEVICE f32 reference(f32 largest) { return largest == -F32_INFINITY ? 0.0f : largest; }

// Operands of one query of one head: its own rows, the first of those that it sees, its mask.
template <class T> struct Query {
    const T *q, *k, *v, *mask;
    T *y;
    u32 seen;
};
template <class T>
DEVICE Query<T> query_of(const Tile &tile, u32 query, const T *q, const T *k, const T *v, const T *mask,
                         T *y, const AttentionShape &shape) {
    u32 column = tile.head / (shape.heads / shape.kv_heads) * shape.head_dim;
    u64 row = tile.q_start + query;
    Query<T> own;
    own.q = q + row * shape.q_row + tile.head * shape.head_dim;
    own.k = k + tile.k_start * shape.k_row + column;
    own.v = v + tile.k_start * shape.v_row + column;
    own.mask = mask ? mask_row(shape, mask, tile.sequence, tile.head, query) : mask;
    own.y = y + row * shape.y_row + tile.head * shape.head_dim;
    own.seen = keys_seen(shape, query, tile.queries, tile.keys);
    return own;
}

// One query by a whole block of at least 128 threads, for any extent of a head: scores of 128 keys at
// a time, then columns `first` + thread and so on.
template <class T> DEVICE void wide_columns(const Query<T> &own, u32 first, const AttentionShape &shape) {
    constexpr u32 KEYS = 128, COLUMNS = 8;
    __shared__ f32 weights[KEYS];
    __shared__ f32 scratch[32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    f32 sums[COLUMNS] = {}, largest = -F32_INFINITY, total = 0.0f;
    for (u32 start = 0; start < own.seen; start += KEYS) {
        u32 count = smaller(KEYS, own.seen - start);
        __syncthreads();
        for (u32 key = warp; key < count; key += warps) {
            const T *k = own.k + (u64)(start + key) * shape.k_row;
            f32 sum = 0.0f;
            for (u32 d = lane; d < shape.head_dim; d += 32) sum = fmaf(to_f32(own.q[d]), to_f32(k[d]), sum);
            sum = warp_sum(sum) * shape.scale;
            if (own.mask) sum += to_f32(own.mask[(u64)(start + key) * shape.mask_key]);
            if (lane == 0) weights[key] = sum;
        }
        __syncthreads();
        f32 x = threadIdx.x < count ? weights[threadIdx.x] : -F32_INFINITY;
        f32 most = fmaxf(largest, block_max(x, scratch));
        f32 base = reference(most), shrink = expf(largest - base), weight = expf(x - base);
        largest = most;
        total = fmaf(total, shrink, block_sum(weight, scratch));
        if (threadIdx.x < count) weights[threadIdx.x] = weight;
        __syncthreads();
#pragma unroll
        for (u32 j = 0; j < COLUMNS; j++) {
            u32 column = first + threadIdx.x + j * blockDim.x;
            if (column >= shape.head_dim) break;
            const T *v = own.v + (u64)start * shape.v_row + column;
            f32 sum = sums[j] * shrink;
            for (u32 key = 0; key < count; key++) sum = fmaf(weights[key], to_f32(v[(u64)key * shape.v_row]), sum);
            sums[j] = sum;
        }
    }
    f32 factor = total == 0.0f ? 0.0f : 1.0f / total;
#pragma unroll
    for (u32 j = 0; j < COLUMNS; j++) {
        u32 column = first + threadIdx.x + j * blockDim.x;
        if (column < shape.head_dim) store(sums[j] * factor, own.y + column);
    }
}
template <class T> DEVICE void wide(const Query<T> &own, const AttentionShape &shape) {
    for (u32 first = 0; first < shape.head_dim; first += 8 * blockDim.x) wide_columns(own, first, shape);
}

}  // namespace attention_

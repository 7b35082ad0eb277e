// Attention of one query a sequence to many keys: the keys of a head are split over blocks, whose
// results a second pass joins in order. Keys may lie in blocks of a paged cache.
#include "attention.cuh"

namespace attention_decode_ {

using attention_::reference;
using attention_::smaller;

// Keys of a block: a constant, so that a sequence gives the same bits alone and in any batch.
constexpr u32 THREADS = 128, SPLIT = 256, WIDTH = 8, UNROLL = 4;

// Eight elements of a head from `column` on; zeros beyond its extent.
template <class T> DEVICE void load_columns(f32 (&to)[WIDTH], const T *from, u32 column, const DecodeShape &shape) {
    if (shape.vectors && column < shape.head_dim) {
        struct alignas(16) Vector { T at[16 / sizeof(T)]; };
#pragma unroll
        for (u32 i = 0; i < sizeof(T) * WIDTH / 16; i++) {
            Vector x = ((const Vector *)(from + column))[i];
#pragma unroll
            for (u32 j = 0; j < 16 / sizeof(T); j++) to[i * (16 / sizeof(T)) + j] = to_f32(x.at[j]);
        }
        return;
    }
#pragma unroll
    for (u32 i = 0; i < WIDTH; i++) to[i] = column + i < shape.head_dim ? to_f32(from[column + i]) : 0.0f;
}

// Row of a sequence's key, or one that is beyond the cache if the table says so.
DEVICE u64 row_of(const DecodeShape &shape, const u32 *table, u32 sequence, u32 key) {
    if (!table) return (u64)sequence * shape.keys + key;
    u32 block = table[(u64)sequence * shape.blocks + key / shape.block];
    return (u64)block * shape.block + key % shape.block;
}

// Running softmax of HEADS heads that share keys; `lanes` neighbors have a key, eight columns each.
template <class T, u32 HEADS> struct Decode {
    const DecodeShape &shape;
    u32 sequence, head, heads, kv_head;
    u32 slot, slots, column;
    f32 q[HEADS][WIDTH], sums[HEADS][WIDTH], largest[HEADS], total[HEADS];

    // Keys `start` + slot, + slots .. + 3 slots, as far as they are before `stop`.
    __device__ __forceinline__ void add(const T *k, const T *v, const T *mask, const u32 *table, u32 start, u32 stop) {
        f32 values[UNROLL][WIDTH], scores[UNROLL][HEADS];
#pragma unroll
        for (u32 u = 0; u < UNROLL; u++) {
            u32 key = start + u * slots + slot;
            f32 own[WIDTH] = {};
#pragma unroll
            for (u32 i = 0; i < WIDTH; i++) values[u][i] = 0.0f;
            u64 row = key < stop ? row_of(shape, table, sequence, key) : ~0ull;
            bool seen = row < shape.rows;
            if (seen) {
                load_columns(own, k + row * shape.k_row + kv_head * shape.head_dim, column, shape);
                load_columns(values[u], v + row * shape.v_row + kv_head * shape.head_dim, column, shape);
            }
#pragma unroll
            for (u32 h = 0; h < HEADS; h++) {
                f32 sum = 0.0f;
#pragma unroll
                for (u32 i = 0; i < WIDTH; i++) sum = fmaf(q[h][i], own[i], sum);
                for (u32 step = shape.lanes / 2; step > 0; step >>= 1) sum += __shfl_xor_sync(FULL_WARP, sum, step);
                sum *= shape.scale;
                if (mask && seen && h < heads)
                    sum += to_f32(mask[(u64)sequence * shape.mask_sequence + (u64)(head + h) * shape.mask_head +
                                       (u64)key * shape.mask_key]);
                scores[u][h] = seen ? sum : -F32_INFINITY;
            }
        }
#pragma unroll
        for (u32 h = 0; h < HEADS; h++) {
            f32 most = largest[h];
#pragma unroll
            for (u32 u = 0; u < UNROLL; u++) most = fmaxf(most, scores[u][h]);
            f32 base = reference(most), shrink = expf(largest[h] - base);
            largest[h] = most;
            total[h] *= shrink;
#pragma unroll
            for (u32 i = 0; i < WIDTH; i++) sums[h][i] *= shrink;
#pragma unroll
            for (u32 u = 0; u < UNROLL; u++) {
                f32 weight = expf(scores[u][h] - base);
                total[h] += weight;
#pragma unroll
                for (u32 i = 0; i < WIDTH; i++) sums[h][i] = fmaf(weight, values[u][i], sums[h][i]);
            }
        }
    }

    // Joins what the slots of the block have, in their order.
    __device__ __forceinline__ void join(T *y, f32 *partial, u32 split) {
        __shared__ f32 all_sums[HEADS][THREADS * WIDTH];
        __shared__ f32 all_largest[HEADS][THREADS], all_total[HEADS][THREADS];
        u32 width = shape.lanes * WIDTH;
#pragma unroll
        for (u32 h = 0; h < HEADS; h++) {
#pragma unroll
            for (u32 i = 0; i < WIDTH; i++) all_sums[h][slot * width + column + i] = sums[h][i];
            if (column == 0) all_largest[h][slot] = largest[h], all_total[h][slot] = total[h];
        }
        __syncthreads();
#pragma unroll 1
        for (u32 h = 0; h < heads; h++) {
            f32 most = -F32_INFINITY;
            for (u32 s = 0; s < slots; s++) most = fmaxf(most, all_largest[h][s]);
            f32 base = reference(most);
            u64 place = ((u64)sequence * shape.heads + head + h) * shape.splits + split;
            for (u32 d = threadIdx.x; d < shape.head_dim; d += THREADS) {
                f32 sum = 0.0f, weights = 0.0f;
                for (u32 s = 0; s < slots; s++) {
                    f32 factor = expf(all_largest[h][s] - base);
                    sum = fmaf(factor, all_sums[h][s * width + d], sum);
                    weights = fmaf(factor, all_total[h][s], weights);
                }
                if (!partial) {
                    f32 x = weights == 0.0f ? 0.0f : sum * (1.0f / weights);
                    store(x, y + (u64)sequence * shape.y_row + (head + h) * shape.head_dim + d);
                    continue;
                }
                f32 *to = partial + place * (shape.head_dim + 2);
                to[2 + d] = sum;
                if (d == 0) to[0] = most, to[1] = weights;
            }
        }
    }
};

template <class T, u32 HEADS>
DEVICE void decode(const T *q, const T *k, const T *v, const T *mask, const u32 *lengths, const u32 *table, T *y,
                   f32 *partial, const DecodeShape &shape) {
    u32 group = shape.heads / shape.kv_heads, parts = (group + HEADS - 1) / HEADS;
    u32 split = blockIdx.x % shape.splits, rest = blockIdx.x / shape.splits;
    u32 part = rest % parts;
    rest /= parts;
    Decode<T, HEADS> own{shape};
    own.kv_head = rest % shape.kv_heads;
    own.sequence = rest / shape.kv_heads;
    own.head = own.kv_head * group + part * HEADS;
    own.heads = smaller(HEADS, group - part * HEADS);
    own.slots = THREADS / shape.lanes;
    own.slot = threadIdx.x / shape.lanes;
    own.column = threadIdx.x % shape.lanes * WIDTH;
#pragma unroll
    for (u32 h = 0; h < HEADS; h++) {
        own.largest[h] = -F32_INFINITY;
        own.total[h] = 0.0f;
#pragma unroll
        for (u32 i = 0; i < WIDTH; i++) own.sums[h][i] = own.q[h][i] = 0.0f;
        if (h < own.heads)
            load_columns(own.q[h], q + (u64)own.sequence * shape.q_row + (own.head + h) * shape.head_dim,
                         own.column, shape);
    }
    u32 keys = lengths ? smaller(lengths[own.sequence], shape.keys) : shape.keys;
    u32 stop = smaller(keys, (split + 1) * SPLIT);
    for (u32 start = split * SPLIT; start < stop; start += UNROLL * own.slots)
        own.add(k, v, mask, table, start, stop);
    own.join(y, partial, split);
}

// One head of one sequence a block: y = Σ e^(m - max) sums / Σ e^(m - max) total, over the splits.
template <class T> DEVICE void attention_join(const f32 *partial, T *y, u32 heads, u32 head_dim, u32 splits, u32 y_row) {
    const f32 *own = partial + (u64)blockIdx.x * splits * (head_dim + 2);
    f32 most = -F32_INFINITY;
    for (u32 s = 0; s < splits; s++) most = fmaxf(most, own[(u64)s * (head_dim + 2)]);
    f32 base = reference(most);
    u32 sequence = blockIdx.x / heads, head = blockIdx.x % heads;
    for (u32 d = threadIdx.x; d < head_dim; d += blockDim.x) {
        f32 sum = 0.0f, weights = 0.0f;
        for (u32 s = 0; s < splits; s++) {
            const f32 *from = own + (u64)s * (head_dim + 2);
            f32 factor = expf(from[0] - base);
            sum = fmaf(factor, from[2 + d], sum);
            weights = fmaf(factor, from[1], weights);
        }
        store(weights == 0.0f ? 0.0f : sum * (1.0f / weights), y + (u64)sequence * y_row + head * head_dim + d);
    }
}

template <class T>
DEVICE void attention_decode(const T *q, const T *k, const T *v, const T *mask, const u32 *lengths,
                             const u32 *table, T *y, f32 *partial, const DecodeShape &shape) {
    decode<T, 1>(q, k, v, mask, lengths, table, y, partial, shape);
}
template <class T>
DEVICE void attention_decode_grouped(const T *q, const T *k, const T *v, const T *mask, const u32 *lengths,
                                     const u32 *table, T *y, f32 *partial, const DecodeShape &shape) {
    decode<T, 4>(q, k, v, mask, lengths, table, y, partial, shape);
}

KERNEL_FLOATS(attention_decode, 128,
              (const T *q, const T *k, const T *v, const T *mask, const u32 *lengths, const u32 *table, T *y,
               f32 *partial, DecodeShape shape),
              (q, k, v, mask, lengths, table, y, partial, shape))
KERNEL_FLOATS(attention_decode_grouped, 128,
              (const T *q, const T *k, const T *v, const T *mask, const u32 *lengths, const u32 *table, T *y,
               f32 *partial, DecodeShape shape),
              (q, k, v, mask, lengths, table, y, partial, shape))
KERNEL_FLOATS(attention_join, 128,
              (const f32 *partial, T *y, u32 heads, u32 head_dim, u32 splits, u32 y_row),
              (partial, y, heads, head_dim, splits, y_row))

}  // namespace attention_decode_

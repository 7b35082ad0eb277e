// Attention of f32, exact to the rounding of f32: tiles of queries and keys in shared memory, products
// by fused multiply-adds.
#include "attention.cuh"

namespace attention_ {

DYNAMIC_SHARED(exact_shared)

template <int N> struct alignas(4 * N) Floats { f32 at[N]; };

// Copies `rows` rows of a head into a tile of ROWS rows that are D + 4 elements apart; zeros beyond.
template <int ROWS, int D> DEVICE void load_floats(f32 *to, const f32 *from, u32 row, u32 rows,
                                                   const AttentionShape &shape) {
#pragma unroll 4
    for (u32 i = threadIdx.x; i < ROWS * D / 4; i += 256) {
        u32 r = i / (D / 4), c = i % (D / 4) * 4;
        const f32 *source = from + (u64)r * row + c;
        Floats<4> x = {};
        if (r < rows && shape.vectors) {
            if (c < shape.head_dim) x = *(const Floats<4> *)source;
        } else if (r < rows) {
            for (u32 j = 0; j < 4; j++)
                if (c + j < shape.head_dim) x.at[j] = source[j];
        }
        *(Floats<4> *)(to + r * (D + 4) + c) = x;
    }
}

// 16 by 16 threads. Thread (y, x) has rows y + 16 i; of scores columns x + 16 j, of weighted sums the
// columns W x .. W x + W of every 16 W. Half a warp has whole rows.
template <int D, int RM, int RN> struct Exact {
    static constexpr int ROWS = 16 * RM, KEYS = 16 * RN, PITCH = D + 4;
    static constexpr int W = D >= 64 ? 4 : D / 16, GROUPS = D / 16 / W;

    const AttentionShape &shape;
    const Tile tile;
    f32 *queries, *keys, *weights;
    u32 x, y;
    f32 sums[RM][GROUPS][W];
    f32 largest[RM], total[RM];

    __device__ __forceinline__ Exact(const AttentionShape &shape, const Tile &tile)
        : shape(shape), tile(tile) {
        queries = (f32 *)exact_shared;
        keys = queries + ROWS * PITCH;
        weights = keys + KEYS * PITCH;
        x = threadIdx.x % 16;
        y = threadIdx.x / 16;
#pragma unroll
        for (int i = 0; i < RM; i++) {
            largest[i] = -F32_INFINITY, total[i] = 0.0f;
            for (int c = 0; c < GROUPS; c++)
                for (int e = 0; e < W; e++) sums[i][c][e] = 0.0f;
        }
    }

    __device__ __forceinline__ void score(f32 (&scores)[RM][RN]) const {
#pragma unroll
        for (int i = 0; i < RM; i++)
            for (int j = 0; j < RN; j++) scores[i][j] = 0.0f;
#pragma unroll 4
        for (int d = 0; d < D; d += 4) {
            Floats<4> a[RM], b[RN];
#pragma unroll
            for (int i = 0; i < RM; i++) a[i] = *(const Floats<4> *)(queries + (y + 16 * i) * PITCH + d);
#pragma unroll
            for (int j = 0; j < RN; j++) b[j] = *(const Floats<4> *)(keys + (x + 16 * j) * PITCH + d);
#pragma unroll
            for (int e = 0; e < 4; e++)
#pragma unroll
                for (int i = 0; i < RM; i++)
#pragma unroll
                    for (int j = 0; j < RN; j++) scores[i][j] = fmaf(a[i].at[e], b[j].at[e], scores[i][j]);
        }
    }

    // Scores to weights in shared memory; what was summed before shrinks by the rise of the maximum.
    __device__ __forceinline__ void weigh(f32 (&scores)[RM][RN], const f32 *mask, u32 start) {
#pragma unroll
        for (int i = 0; i < RM; i++) {
            u32 query = tile.first + y + 16 * i;
            u32 seen = query < tile.queries ? keys_seen(shape, query, tile.queries, tile.keys) : 0;
            const f32 *own = mask;
            if (mask && seen) own = mask_row(shape, mask, tile.sequence, tile.head, query);
            f32 most = largest[i];
#pragma unroll
            for (int j = 0; j < RN; j++) {
                u32 key = start + x + 16 * j;
                f32 score = scores[i][j] * shape.scale;
                if (mask && key < seen) score += own[(u64)key * shape.mask_key];
                scores[i][j] = key < seen ? score : -F32_INFINITY;
                most = fmaxf(most, scores[i][j]);
            }
            for (int step = 8; step > 0; step >>= 1)
                most = fmaxf(most, __shfl_xor_sync(FULL_WARP, most, step));
            f32 base = reference(most), shrink = expf(largest[i] - base), sum = 0.0f;
#pragma unroll
            for (int j = 0; j < RN; j++) {
                f32 weight = expf(scores[i][j] - base);
                weights[(y + 16 * i) * (KEYS + 4) + x + 16 * j] = weight;
                sum += weight;
            }
            largest[i] = most;
            total[i] = fmaf(total[i], shrink, sum);
#pragma unroll
            for (int c = 0; c < GROUPS; c++)
                for (int e = 0; e < W; e++) sums[i][c][e] *= shrink;
        }
    }

    __device__ __forceinline__ void add_values() {
#pragma unroll 2
        for (int key = 0; key < KEYS; key += 4) {
            Floats<4> a[RM];
#pragma unroll
            for (int i = 0; i < RM; i++)
                a[i] = *(const Floats<4> *)(weights + (y + 16 * i) * (KEYS + 4) + key);
#pragma unroll
            for (int e = 0; e < 4; e++)
#pragma unroll
                for (int c = 0; c < GROUPS; c++) {
                    Floats<W> b = *(const Floats<W> *)(keys + (key + e) * PITCH + (16 * c + x) * W);
#pragma unroll
                    for (int i = 0; i < RM; i++)
#pragma unroll
                        for (int w = 0; w < W; w++)
                            sums[i][c][w] = fmaf(a[i].at[e], b.at[w], sums[i][c][w]);
                }
        }
    }

    __device__ __forceinline__ void finish(f32 *out) const {
        out += tile.q_start * shape.y_row + tile.head * shape.head_dim;
#pragma unroll
        for (int i = 0; i < RM; i++) {
            f32 sum = total[i];
            for (int step = 8; step > 0; step >>= 1) sum += __shfl_xor_sync(FULL_WARP, sum, step);
            f32 factor = sum == 0.0f ? 0.0f : 1.0f / sum;
            u32 query = tile.first + y + 16 * i;
            if (query >= tile.queries) continue;
            f32 *line = out + (u64)query * shape.y_row;
#pragma unroll
            for (int c = 0; c < GROUPS; c++)
#pragma unroll
                for (int w = 0; w < W; w++) {
                    u32 column = (16 * c + x) * W + w;
                    if (column < shape.head_dim) line[column] = sums[i][c][w] * factor;
                }
        }
    }

    __device__ __forceinline__ void run(const f32 *q, const f32 *k, const f32 *v, const f32 *mask, f32 *out) {
        u32 column = tile.head / (shape.heads / shape.kv_heads) * shape.head_dim;
        k += tile.k_start * shape.k_row + column;
        v += tile.k_start * shape.v_row + column;
        q += (tile.q_start + tile.first) * shape.q_row + tile.head * shape.head_dim;
        load_floats<ROWS, D>(queries, q, shape.q_row, tile.rows, shape);
        u32 end = keys_seen(shape, tile.first + tile.rows - 1, tile.queries, tile.keys);
        for (u32 start = 0; start < end; start += KEYS) {
            u32 count = smaller(KEYS, end - start);
            load_floats<KEYS, D>(keys, k + (u64)start * shape.k_row, shape.k_row, count, shape);
            __syncthreads();
            f32 scores[RM][RN];
            score(scores);
            __syncthreads();
            load_floats<KEYS, D>(keys, v + (u64)start * shape.v_row, shape.v_row, count, shape);
            weigh(scores, mask, start);
            __syncthreads();
            add_values();
            __syncthreads();
        }
        finish(out);
    }
};

template <int D, int RM, int RN>
DEVICE void exact(const f32 *q, const f32 *k, const f32 *v, const f32 *mask, const u32 *offsets, f32 *y,
                  const AttentionShape &shape) {
    using Own = Exact<D, RM, RN>;
    Tile tile = find_tile<Own::ROWS>(shape, offsets);
    if (tile.rows) Own(shape, tile).run(q, k, v, mask, y);
}

#define EXACT_PARAMETERS                                                                           \
    (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y,                  \
     const AttentionShape &shape)
template <class T> DEVICE void attention_exact_32 EXACT_PARAMETERS {
    exact<32, 4, 4>(q, k, v, mask, offsets, y, shape);
}
template <class T> DEVICE void attention_exact_64 EXACT_PARAMETERS {
    exact<64, 4, 4>(q, k, v, mask, offsets, y, shape);
}
template <class T> DEVICE void attention_exact_128 EXACT_PARAMETERS {
    exact<128, 4, 2>(q, k, v, mask, offsets, y, shape);
}
template <class T> DEVICE void attention_exact_256 EXACT_PARAMETERS {
    exact<256, 2, 1>(q, k, v, mask, offsets, y, shape);
}
KERNEL(attention_exact_32, f32, ::f32, 256,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_exact_64, f32, ::f32, 256,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_exact_128, f32, ::f32, 256,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_exact_256, f32, ::f32, 256,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))

}  // namespace attention_

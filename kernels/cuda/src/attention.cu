// Scaled dot-product attention with a running maximum and sum (arXiv:2205.14135 §3.1), so that scores
// never leave a multiprocessor. 16-bit elements by tensor cores, f32 by fused multiply-adds.
#include "attention.cuh"
#include "tensor_core.cuh"

namespace attention_ {

using namespace tensor_core_;

DYNAMIC_SHARED(attention_shared)

// Copies `rows` rows of a head into a tile of ROWS rows that are PITCH elements apart; zeros beyond.
template <int ROWS, int D, int PITCH, int THREADS, class T>
DEVICE void load_tile(T *to, const T *from, u32 row, u32 rows, const AttentionShape &shape) {
    constexpr int WIDTH = 16 / sizeof(T), VECTORS = D / WIDTH, STEP = THREADS / VECTORS;
    static_assert(THREADS % VECTORS == 0 && ROWS % STEP == 0);
    u32 first = threadIdx.x / VECTORS, column = threadIdx.x % VECTORS * WIDTH;
    to += first * PITCH + column;
    from += (u64)first * row + column;
    bool vector = shape.vectors && column < shape.head_dim;
#pragma unroll 1
    for (u32 r = first; r < ROWS; r += STEP) {
        if (vector && r < rows) {
            copy_16(to, from);
        } else {
            *(uint4 *)to = make_uint4(0, 0, 0, 0);
#pragma unroll 1
            for (u32 j = 0; !shape.vectors && r < rows && j < WIDTH && column + j < shape.head_dim; j++)
                to[j] = from[j];
        }
        to += STEP * PITCH;
        from += (u64)STEP * row;
    }
}

// e^x for x <= 0, as close as 16-bit weights need.
DEVICE f32 exponential(f32 x) {
#ifndef HOST_BUILD
    f32 y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
    return y;
#else
    return exp2f(x * 1.4426950408889634f);
#endif
}

// Tensor cores. Four warps have MT times 16 queries each, and go over blocks of KEYS keys. Scores,
// weights and weighted sums stay in registers: a lane has columns 2t, 2t + 1 of rows g and g + 8 of
// every 16x8 tile. With HELD the queries stay in registers too.
template <class T, int D, int MT, int KEYS, bool HELD> struct Flash {
    static constexpr int THREADS = 128, ROWS = 64 * MT, PITCH = D + 8;

    const AttentionShape &shape;
    const Tile tile;
    const T *mask;
    u16 *queries, *keys, *values;
    u32 warp_row, g, t;
    u32 held[HELD ? MT : 1][HELD ? D / 16 : 1][4];
    f32 sums[MT][D / 8][4];
    f32 largest[MT][2], total[MT][2];

    __device__ __forceinline__ Flash(const AttentionShape &shape, const Tile &tile, const T *mask)
        : shape(shape), tile(tile), mask(mask) {
        u16 *shared = (u16 *)attention_shared;
        queries = shared;
        keys = shared + (HELD ? 0 : ROWS * PITCH);
        values = keys + KEYS * PITCH;
        u32 lane = threadIdx.x % 32;
        warp_row = threadIdx.x / 32 * 16 * MT;
        g = lane / 4;
        t = lane % 4 * 2;
#pragma unroll
        for (int m = 0; m < MT; m++) {
            for (int h = 0; h < 2; h++) largest[m][h] = -F32_INFINITY, total[m][h] = 0.0f;
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                for (int e = 0; e < 4; e++) sums[m][n][e] = 0.0f;
        }
    }

    __device__ __forceinline__ u32 query(int m, int h) const {
        return tile.first + warp_row + 16 * m + 8 * h + g;
    }

    __device__ __forceinline__ void load_queries(u32 (&to)[4], int m, int k) const {
        u32 lane = threadIdx.x % 32;
        load_matrices(to, queries + (warp_row + 16 * m + lane % 16) * PITCH + 16 * k + lane / 16 * 8);
    }

    __device__ __forceinline__ void hold_queries() {
        if constexpr (HELD) {
            copies_commit();
            copies_wait<0>();
            __syncthreads();
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int k = 0; k < D / 16; k++) load_queries(held[m][k], m, k);
            __syncthreads();
        }
    }

    __device__ __forceinline__ void score(f32 (&scores)[MT][KEYS / 8][4]) {
        u32 lane = threadIdx.x % 32;
        const u16 *own = keys + (lane / 16 * 8 + lane % 8) * PITCH + lane / 8 % 2 * 8;
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
                for (int e = 0; e < 4; e++) scores[m][n][e] = 0.0f;
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            u32 a[MT][4];
#pragma unroll
            for (int m = 0; m < MT; m++) {
                if constexpr (HELD) for (int e = 0; e < 4; e++) a[m][e] = held[m][k][e];
                else load_queries(a[m], m, k);
            }
#pragma unroll
            for (int n = 0; n < KEYS / 16; n++) {
                u32 b[4];
                load_matrices(b, own + 16 * n * PITCH + 16 * k);
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    multiply<T>(scores[m][2 * n], a[m], b[0], b[1]);
                    multiply<T>(scores[m][2 * n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

    __device__ __forceinline__ void scale(f32 (&scores)[MT][KEYS / 8][4]) {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
                for (int e = 0; e < 4; e++) scores[m][n][e] *= shape.scale;
    }

    __device__ __forceinline__ void add_mask(f32 (&scores)[MT][KEYS / 8][4], u32 start) {
        u32 end = tile.keys - start;
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                u32 row = query(m, h);
                if (row >= tile.queries) continue;
                const T *own = mask_row(shape, mask, tile.sequence, tile.head, row);
                own += (u64)start * shape.mask_key;
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        u32 key = 8 * n + t + e;
                        if (key < end) scores[m][n][2 * h + e] += to_f32(own[key * shape.mask_key]);
                    }
                    // Keeps the compiler from holding all of the mask in registers.
                    asm volatile("" ::: "memory");
                }
            }
    }

    // Hides keys that a query does not see, and those beyond the last.
    __device__ __forceinline__ void hide(f32 (&scores)[MT][KEYS / 8][4], u32 start) {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                u32 seen = keys_seen(shape, query(m, h), tile.queries, tile.keys);
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++)
                        if (start + 8 * n + t + e >= seen) scores[m][n][2 * h + e] = -F32_INFINITY;
            }
    }

    // Turns scores into weights, and shrinks what was summed before by the rise of the maximum.
    __device__ __forceinline__ void weigh(f32 (&scores)[MT][KEYS / 8][4]) {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                f32 most = largest[m][h];
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++)
                    most = fmaxf(most, fmaxf(scores[m][n][2 * h], scores[m][n][2 * h + 1]));
                most = fmaxf(most, __shfl_xor_sync(FULL_WARP, most, 1));
                most = fmaxf(most, __shfl_xor_sync(FULL_WARP, most, 2));
                f32 base = reference(most);
                f32 shrink = exponential(largest[m][h] - base);
                f32 sum = 0.0f;
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        f32 weight = exponential(scores[m][n][2 * h + e] - base);
                        scores[m][n][2 * h + e] = weight;
                        sum += weight;
                    }
                largest[m][h] = most;
                total[m][h] = fmaf(total[m][h], shrink, sum);
#pragma unroll
                for (int n = 0; n < D / 8; n++)
                    sums[m][n][2 * h] *= shrink, sums[m][n][2 * h + 1] *= shrink;
            }
    }

    __device__ __forceinline__ void add_values(const f32 (&weights)[MT][KEYS / 8][4]) {
        u32 lane = threadIdx.x % 32;
        const u16 *own = values + (lane % 16) * PITCH + lane / 16 * 8;
#pragma unroll
        for (int k = 0; k < KEYS / 16; k++) {
            u32 a[MT][4];
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const f32 (&from)[4] = weights[m][2 * k + e / 2];
                    a[m][e] = pair<T>(from[e % 2 * 2], from[e % 2 * 2 + 1]);
                }
#pragma unroll
            for (int n = 0; n < D / 16; n++) {
                u32 b[4];
                load_matrices_transposed(b, own + 16 * k * PITCH + 16 * n);
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    multiply<T>(sums[m][2 * n], a[m], b[0], b[1]);
                    multiply<T>(sums[m][2 * n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

    __device__ __forceinline__ void finish(T *y) {
        T *out = y + tile.q_start * shape.y_row + tile.head * shape.head_dim;
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                f32 sum = total[m][h];
                sum += __shfl_xor_sync(FULL_WARP, sum, 1);
                sum += __shfl_xor_sync(FULL_WARP, sum, 2);
                f32 factor = sum == 0.0f ? 0.0f : 1.0f / sum;
                u32 row = query(m, h);
                if (row >= tile.queries) continue;
                T *line = out + (u64)row * shape.y_row;
#pragma unroll
                for (int n = 0; n < D / 8; n++) {
                    u32 column = 8 * n + t;
                    f32 first = sums[m][n][2 * h] * factor, second = sums[m][n][2 * h + 1] * factor;
                    if (column >= shape.head_dim) break;
                    u32 both = pair<T>(first, second);
                    if (shape.vectors) {
                        *(u32 *)(line + column) = both;
                        continue;
                    }
                    line[column].bits = (u16)both;
                    if (column + 1 < shape.head_dim) line[column + 1].bits = (u16)(both >> 16);
                }
            }
    }

    __device__ __forceinline__ void run(const T *q, const T *k, const T *v, T *y) {
        u32 column = tile.head / (shape.heads / shape.kv_heads) * shape.head_dim;
        k += tile.k_start * shape.k_row + column;
        v += tile.k_start * shape.v_row + column;
        q += (tile.q_start + tile.first) * shape.q_row + tile.head * shape.head_dim;
        load_tile<ROWS, D, PITCH, THREADS>((T *)queries, q, shape.q_row, tile.rows, shape);
        hold_queries();
        u32 end = keys_seen(shape, tile.first + tile.rows - 1, tile.queries, tile.keys);
        u32 whole = keys_seen(shape, tile.first, tile.queries, tile.keys);
        load_tile<KEYS, D, PITCH, THREADS>((T *)keys, k, shape.k_row, smaller(KEYS, end), shape);
        copies_commit();
        for (u32 start = 0; start < end; start += KEYS) {
            u32 left = end - start, next = left > KEYS ? left - KEYS : 0;
            copies_wait<0>();
            __syncthreads();
            const T *own = v + (u64)start * shape.v_row;
            load_tile<KEYS, D, PITCH, THREADS>((T *)values, own, shape.v_row, smaller(KEYS, left), shape);
            copies_commit();
            f32 scores[MT][KEYS / 8][4];
            score(scores);
            __syncthreads();
            if (next) {
                own = k + (u64)(start + KEYS) * shape.k_row;
                load_tile<KEYS, D, PITCH, THREADS>((T *)keys, own, shape.k_row, smaller(KEYS, next), shape);
            }
            copies_commit();
            scale(scores);
            if (mask) add_mask(scores, start);
            if (start + KEYS > whole) hide(scores, start);
            weigh(scores);
            copies_wait<1>();
            __syncthreads();
            add_values(scores);
        }
        copies_wait<0>();
        finish(y);
    }
};

template <class T, int D, int MT, int KEYS, bool HELD>
DEVICE void flash(const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y,
                  const AttentionShape &shape) {
    using Own = Flash<T, D, MT, KEYS, HELD>;
    Tile tile = find_tile<Own::ROWS>(shape, offsets);
    if (tile.rows == 0) return;
    if constexpr (KNOWN<T>) {
        Own(shape, tile, mask).run(q, k, v, y);
    } else {
#pragma unroll 1
        for (u32 row = 0; row < tile.rows; row++)
            wide(query_of(tile, tile.first + row, q, k, v, mask, y, shape), shape);
    }
}

#define ATTENTION_PARAMETERS                                                                       \
    (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y,                  \
     const AttentionShape &shape)
template <class T> DEVICE void attention_32 ATTENTION_PARAMETERS {
    flash<T, 32, 2, 32, true>(q, k, v, mask, offsets, y, shape);
}
template <class T> DEVICE void attention_64 ATTENTION_PARAMETERS {
    flash<T, 64, 2, 32, true>(q, k, v, mask, offsets, y, shape);
}
template <class T> DEVICE void attention_128 ATTENTION_PARAMETERS {
    flash<T, 128, 2, 16, false>(q, k, v, mask, offsets, y, shape);
}
template <class T> DEVICE void attention_256 ATTENTION_PARAMETERS {
    flash<T, 256, 1, 16, false>(q, k, v, mask, offsets, y, shape);
}

KERNEL(attention_32, f16, ::f16, 128,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_32, bf16, ::bf16, 128,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_64, f16, ::f16, 128,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_64, bf16, ::bf16, 128,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_128, f16, ::f16, 128,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_128, bf16, ::bf16, 128,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_256, f16, ::f16, 128,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))
KERNEL(attention_256, bf16, ::bf16, 128,
       (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
       (q, k, v, mask, offsets, y, shape))

template <class T> DEVICE void attention_wide ATTENTION_PARAMETERS {
    Tile tile = find_tile<1>(shape, offsets);
    if (tile.rows) wide(query_of(tile, tile.first, q, k, v, mask, y, shape), shape);
}
KERNEL_FLOATS(attention_wide, 128,
              (const T *q, const T *k, const T *v, const T *mask, const u32 *offsets, T *y, AttentionShape shape),
              (q, k, v, mask, offsets, y, shape))

}  // namespace attention_

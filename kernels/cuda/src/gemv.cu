// Products of 1 to 8 rows: every weight is read once, 16 bytes at a time, and multiplied with all rows.
#include "product.cuh"

namespace gemv_ {

constexpr u32 WARPS = 8, THREADS = 32 * WARPS;

// Weights of one load.
template <class T> constexpr u32 WIDTH = 16 / sizeof(T);

template <class T> DEVICE void unpack(uint4 bits, f32 (&to)[WIDTH<T>]) {
    const u32 words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        if constexpr (sizeof(T) == 4) {
            to[i] = __uint_as_float(words[i]);
        } else {
            to[2 * i] = to_f32(T{(u16)words[i]});
            to[2 * i + 1] = to_f32(T{(u16)(words[i] >> 16)});
        }
    }
}

// As many numbers of the left side as there are weights in a load; it is f32, or of their type.
template <class T> DEVICE void load_left(const void *from, u32 kind, u64 index, f32 (&to)[WIDTH<T>]) {
    if (sizeof(T) == 4 || kind != KIND_F32) {
        unpack<T>(*(const uint4 *)((const T *)from + index), to);
        return;
    }
    const float4 *quads = (const float4 *)((const f32 *)from + index);
#pragma unroll
    for (u32 i = 0; i < WIDTH<T> / 4; i++) {
        float4 quad = quads[i];
        to[4 * i] = quad.x, to[4 * i + 1] = quad.y, to[4 * i + 2] = quad.z, to[4 * i + 3] = quad.w;
    }
}

// Columns of B are dense. A warp sums four columns, each lane every 32nd load; `s.k_split` warps of a
// block share their columns.
template <class T, u32 ROWS>
DEVICE void columns(const void *a, const void *b, const Target &to, const ProductShape &s,
                    const Ending &ending) {
    constexpr u32 COLUMNS = 4, SUMS = ROWS * COLUMNS;
    __shared__ f32 shared[WARPS][SUMS];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 share = s.k_split, groups = WARPS / share;
    u32 across = (s.n + groups * COLUMNS - 1) / (groups * COLUMNS);
    u32 batch = blockIdx.x / across;
    u32 column = (blockIdx.x % across * groups + warp / share) * COLUMNS;
    const T *right = (const T *)b + batch * s.b_batch;
    f32 sums[ROWS][COLUMNS] = {};
    for (u32 k = (warp % share * 32 + lane) * WIDTH<T>; k < s.k; k += share * 32 * WIDTH<T>) {
        uint4 bits[COLUMNS];
#pragma unroll
        for (u32 j = 0; j < COLUMNS; j++)
            bits[j] = *(const uint4 *)(right + (u64)min(column + j, s.n - 1) * s.b_column + k);
        f32 y[COLUMNS][WIDTH<T>];
#pragma unroll
        for (u32 j = 0; j < COLUMNS; j++) unpack<T>(bits[j], y[j]);
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) {
            if (r >= s.m) continue;
            f32 x[WIDTH<T>];
            load_left<T>(a, s.a_kind, batch * s.a_batch + (u64)r * s.a_row + k, x);
#pragma unroll
            for (u32 j = 0; j < COLUMNS; j++)
#pragma unroll
                for (u32 i = 0; i < WIDTH<T>; i++) sums[r][j] = fmaf(x[i], y[j][i], sums[r][j]);
        }
    }
#pragma unroll
    for (u32 r = 0; r < ROWS; r++)
#pragma unroll
        for (u32 j = 0; j < COLUMNS; j++) {
            f32 sum = warp_sum(sums[r][j]);
            if (lane == 0) shared[warp][r * COLUMNS + j] = sum;
        }
    __syncthreads();
    for (u32 v = threadIdx.x; v < groups * SUMS; v += THREADS) {
        u32 group = v / SUMS, r = v % SUMS / COLUMNS;
        u32 at = (blockIdx.x % across * groups + group) * COLUMNS + v % COLUMNS;
        if (r >= s.m || at >= s.n) continue;
        f32 sum = 0.0f;
        for (u32 i = 0; i < share; i++) sum += shared[group * share + i][v % SUMS];
        finish_sum(to, s, ending, batch, r, at, sum);
    }
}

// Rows of B are dense. A lane sums the columns of one load; the warps of a block take every eighth row
// of their part of `k`.
template <class T, u32 ROWS>
DEVICE void rows(const void *a, const void *b, const Target &to, const ProductShape &s,
                 const Ending &ending) {
    constexpr u32 COLUMNS = 32 * WIDTH<T>;
    __shared__ __align__(16) f32 shared[WARPS][COLUMNS];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 across = (s.n + COLUMNS - 1) / COLUMNS, item = blockIdx.x / across;
    Tile tile = {item / s.splits, item % s.splits, 0, blockIdx.x % across * COLUMNS};
    u32 column = tile.column + lane * WIDTH<T>;
    u32 first = tile.split * s.k_split, end = min(s.k, first + s.k_split);
    const T *right = (const T *)b + tile.batch * s.b_batch + column;
    f32 sums[ROWS][WIDTH<T>] = {};
    if (column < s.n) {
#pragma unroll 4
        for (u32 k = first + warp; k < end; k += WARPS) {
            f32 y[WIDTH<T>];
            unpack<T>(*(const uint4 *)(right + (u64)k * s.b_row), y);
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) {
                if (r >= s.m) continue;
                f32 x = load_kind(a, s.a_kind, tile.batch * s.a_batch + (u64)r * s.a_row + k);
#pragma unroll
                for (u32 i = 0; i < WIDTH<T>; i++) sums[r][i] = fmaf(x, y[i], sums[r][i]);
            }
        }
    }
#pragma unroll 1
    for (u32 r = 0; r < s.m; r++) {
        __syncthreads();
#pragma unroll
        for (u32 i = 0; i < WIDTH<T>; i++) {
            f32 sum = sums[0][i];
#pragma unroll
            for (u32 other = 1; other < ROWS; other++) sum = r == other ? sums[other][i] : sum;
            shared[warp][lane * WIDTH<T> + i] = sum;
        }
        __syncthreads();
        if (threadIdx.x >= COLUMNS) continue;
        f32 sum = 0.0f;
        for (u32 i = 0; i < WARPS; i++) sum += shared[i][threadIdx.x];
        store_sum(to, s, ending, tile, r, tile.column + threadIdx.x, sum);
    }
}

template <class T> DEVICE void gemv_columns_one(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    columns<T, 1>(a, b, to, s, ending);
}
template <class T> DEVICE void gemv_columns_few(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    columns<T, 8>(a, b, to, s, ending);
}
template <class T> DEVICE void gemv_rows_one(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    rows<T, 1>(a, b, to, s, ending);
}
template <class T> DEVICE void gemv_rows_few(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    rows<T, 8>(a, b, to, s, ending);
}

KERNEL_FLOATS(gemv_columns_one, 256, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL_FLOATS(gemv_columns_few, 256, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL_FLOATS(gemv_rows_one, 256, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL_FLOATS(gemv_rows_few, 256, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))

}  // namespace gemv_

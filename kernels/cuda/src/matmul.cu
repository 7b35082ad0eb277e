// Matrix products in f32 arithmetic, of operands of any float type and any strides.
//
// A block makes one tile of C from tiles of A and B of 16 steps of k, which it holds in shared
// memory as [k][row] and [k][column], twice: while one pair is multiplied, the next is on its way.
// Each thread sums a patch of TM x TN, in the order of k.
#include "product.cuh"

namespace matmul_ {

constexpr u32 STEP = 16;
// Floats behind a row of shared memory, which spread transposed stores over the banks.
constexpr u32 PAD = 4;

struct Side {
    const char *data;
    // Strides along the rows of the tile (rows of A, columns of B) and along k.
    u32 row, step, kind, vector;
    u32 first, rows;
};

DEVICE void load_quad(const Side &side, u32 offset, u32 stride, u32 count, f32 *to) {
    u32 bits[4] = {};
    const void *from = side.data;
    if (side.vector && count == 4) {
        if (side.kind == KIND_F32) {
            uint4 x = *(const uint4 *)((const u32 *)from + offset);
            bits[0] = x.x, bits[1] = x.y, bits[2] = x.z, bits[3] = x.w;
        } else {
            ushort4 x = *(const ushort4 *)((const u16 *)from + offset);
            bits[0] = x.x, bits[1] = x.y, bits[2] = x.z, bits[3] = x.w;
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            if (i >= count) continue;
            u32 at = offset + i * stride;
            bits[i] = side.kind == KIND_F32 ? ((const u32 *)from)[at] : ((const u16 *)from)[at];
        }
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) to[i] = of_bits(side.kind, bits[i]);
}

// Quad number `v` of a tile of ROWS x STEP: along k where k is dense, else along the rows.
template <u32 ROWS> DEVICE void fetch(const Side &side, u32 v, u32 k, u32 k_end, f32 *to) {
    bool along = side.step == 1;
    u32 row = side.first + (along ? v / 4 : v % (ROWS / 4) * 4);
    u32 step = k + (along ? v % 4 * 4 : v / (ROWS / 4));
    u32 left = along ? k_end - min(step, k_end) : side.rows - min(row, side.rows);
    bool there = row < side.rows && step < k_end;
    load_quad(side, row * side.row + step * side.step, along ? side.step : side.row,
              there ? min(left, 4u) : 0, to);
}

template <u32 ROWS> DEVICE void put(const Side &side, u32 v, const f32 *from, f32 *tile) {
    if (side.step == 1) {
        f32 *at = tile + v % 4 * 4 * (ROWS + PAD) + v / 4;
        for (u32 i = 0; i < 4; i++) at[i * (ROWS + PAD)] = from[i];
        return;
    }
    f32 *at = tile + v / (ROWS / 4) * (ROWS + PAD) + v % (ROWS / 4) * 4;
    *(float4 *)at = make_float4(from[0], from[1], from[2], from[3]);
}

template <u32 BM, u32 BN, u32 TM, u32 TN> struct Shared {
    static constexpr u32 A = STEP * (BM + PAD), B = STEP * (BN + PAD);
    static constexpr u32 OUT = BM / (TM / 4) * BN;
    static constexpr u32 FLOATS = 2 * (A + B) > OUT ? 2 * (A + B) : OUT;
};

// One patch: the lanes of a warp lie 4 down and 8 across, each with quads 16 rows or 32 columns apart.
template <u32 BM, u32 BN, u32 TM, u32 TN>
DEVICE void multiply(const f32 *a, const f32 *b, u32 row, u32 column, f32 (&sums)[TM][TN]) {
#pragma unroll
    for (u32 k = 0; k < STEP; k++) {
        f32 x[TM], y[TN];
#pragma unroll
        for (u32 i = 0; i < TM; i += 4)
            *(float4 *)(x + i) = *(const float4 *)(a + k * (BM + PAD) + row + i * 4);
#pragma unroll
        for (u32 j = 0; j < TN; j += 4)
            *(float4 *)(y + j) = *(const float4 *)(b + k * (BN + PAD) + column + j * 8);
#pragma unroll
        for (u32 i = 0; i < TM; i++)
#pragma unroll
            for (u32 j = 0; j < TN; j++) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
    }
}

template <u32 BM, u32 BN, u32 TM, u32 TN>
DEVICE void product(const void *a, const void *b, const Target &to, const ProductShape &s,
                    const Ending &ending) {
    constexpr u32 THREADS = BM * BN / (TM * TN), WARPS_ACROSS = BN / (8 * TN);
    constexpr u32 QUADS_A = BM * STEP / 4 / THREADS, QUADS_B = BN * STEP / 4 / THREADS;
    using Layout = Shared<BM, BN, TM, TN>;
    __shared__ __align__(16) f32 shared[Layout::FLOATS];
    f32 *tiles_a = shared, *tiles_b = shared + 2 * Layout::A;
    u32 thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    Tile tile = tile_of(s, BM, BN, blockIdx.x);
    u32 k = tile.split * s.k_split, k_end = min(s.k, k + s.k_split);
    Side left = {(const char *)a + tile.batch * s.a_batch * kind_bytes(s.a_kind),
                 s.a_row, s.a_column, s.a_kind, s.a_vector, tile.row, s.m};
    Side right = {(const char *)b + tile.batch * s.b_batch * kind_bytes(s.b_kind),
                  s.b_column, s.b_row, s.b_kind, s.b_vector, tile.column, s.n};
    u32 row = warp / WARPS_ACROSS * 4 * TM + lane / 8 * 4;
    u32 column = warp % WARPS_ACROSS * 8 * TN + lane % 8 * 4;
    f32 sums[TM][TN] = {}, next_a[QUADS_A][4], next_b[QUADS_B][4];
    u32 rounds = (k_end - k + STEP - 1) / STEP;
    // The first round multiplies nothing, and the last loads nothing.
#pragma unroll 1
    for (u32 round = 0; round <= rounds; round++, k += STEP) {
        u32 half = round & 1;
        if (round < rounds) {
#pragma unroll
            for (u32 q = 0; q < QUADS_A; q++)
                fetch<BM>(left, thread + q * THREADS, k, k_end, next_a[q]);
#pragma unroll
            for (u32 q = 0; q < QUADS_B; q++)
                fetch<BN>(right, thread + q * THREADS, k, k_end, next_b[q]);
        }
        if (round > 0)
            multiply<BM, BN, TM, TN>(tiles_a + (half ^ 1) * Layout::A,
                                     tiles_b + (half ^ 1) * Layout::B, row, column, sums);
        if (round < rounds) {
#pragma unroll
            for (u32 q = 0; q < QUADS_A; q++)
                put<BM>(left, thread + q * THREADS, next_a[q], tiles_a + half * Layout::A);
#pragma unroll
            for (u32 q = 0; q < QUADS_B; q++)
                put<BN>(right, thread + q * THREADS, next_b[q], tiles_b + half * Layout::B);
            __syncthreads();
        }
    }
    // Through shared memory, so that neighbours in a row are stored together.
#pragma unroll 1
    for (u32 pass = 0; pass < TM / 4; pass++) {
        __syncthreads();
        u32 own = warp / WARPS_ACROSS * 16 + lane / 8 * 4;
#pragma unroll
        for (u32 i = 0; i < 4; i++)
#pragma unroll
            for (u32 j = 0; j < TN; j += 4) {
                const f32 *x = sums[i] + j, *other = sums[TM - 4 + i] + j;
                f32 *at = shared + (own + i) * BN + column + j * 8;
                *(float4 *)at = pass == 0 ? make_float4(x[0], x[1], x[2], x[3])
                                          : make_float4(other[0], other[1], other[2], other[3]);
            }
        __syncthreads();
#pragma unroll 1
        for (u32 v = thread; v < BM / (TM / 4) * BN; v += THREADS) {
            u32 r = v / BN;
            store_sum(to, s, ending, tile, tile.row + r / 16 * 4 * TM + pass * 16 + r % 16,
                      tile.column + v % BN, shared[v]);
        }
    }
}

DEVICE void matmul_large_body(const void *a, const void *b, const Target &to,
                              const ProductShape &s, const Ending &ending) {
    product<128, 128, 8, 8>(a, b, to, s, ending);
}

DEVICE void matmul_middle_body(const void *a, const void *b, const Target &to,
                               const ProductShape &s, const Ending &ending) {
    product<64, 64, 8, 4>(a, b, to, s, ending);
}

DEVICE void matmul_small_body(const void *a, const void *b, const Target &to,
                              const ProductShape &s, const Ending &ending) {
    product<32, 32, 4, 4>(a, b, to, s, ending);
}

// The sum of partial sums, in their order, finished.
DEVICE void matmul_finish_body(const Target &to, const ProductShape &s, const Ending &ending) {
    u64 all = (u64)s.batch * s.m * s.n, step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += step) {
        f32 sum = 0.0f;
        for (u32 split = 0; split < s.splits; split++) sum += to.partial[split * all + i];
        u32 line = i / s.n;
        finish_sum(to, s, ending, line / s.m, line % s.m, i % s.n, sum);
    }
}

KERNEL_PLAIN(matmul_large, 256, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL_PLAIN(matmul_middle, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL_PLAIN(matmul_small, 64, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL_PLAIN(matmul_finish, 256, (Target to, ProductShape shape, Ending ending), (to, shape, ending))

}  // namespace matmul_

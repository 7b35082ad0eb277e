// Layers of 8-bit weights whose rows are quantized on the way: every 64 numbers of a row become bytes of 7
// bits with a scale and a zero point of their own. Operations are those of the CPU's kernels, one by one.
#include "finish.cuh"
#include "integer.cuh"

// The same structure as in parameters.rs. Absent pointers are null.
struct DynamicLayer {
    // Bytes of the rows, [m, blocks 64]; scale, and that times the zero point, of each block, [m, blocks, 2].
    const u8 *bytes;
    const f32 *scaling;
    // [n, blocks 64], padded with zeros; [n]; sums of the blocks, [n, blocks].
    const u8 *weights;
    const f32 *scales, *sums;
    // [n]; [m, n].
    const f32 *bias, *residual;
    f32 *c;
    u32 m, n, blocks;
};

namespace dynamic_linear_ {

using namespace integer_;

// Adding this rounds a float of less than 2^22 to a whole number, which its low bits then hold.
constexpr f32 ROUNDER = 12582912.0f;

// A warp quantizes 64 numbers of one row; zeros beyond the end.
DEVICE void dynamic_rows_body(const f32 *x, u8 *bytes, f32 *scaling, u32 rows, u32 k, u32 blocks) {
    u32 lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32), all = rows * blocks;
    for (u32 v = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; v < all; v += warps) {
        u32 row = v / blocks, column = v % blocks * STEPS + lane * 2;
        f32 own[2], low = 0.0f, high = 0.0f, strange = 0.0f;
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
            own[i] = column + i < k ? x[(u64)row * k + column + i] : 0.0f;
            low = own[i] < low ? own[i] : low;
            high = own[i] > high ? own[i] : high;
            strange = __fadd_rn(strange, __fmul_rn(own[i], 0.0f));
        }
        high = warp_max(high);
        low = -warp_max(-low);
        strange = warp_sum(strange);
        constexpr f32 STEP = 1.0f / 127.0f;
        // The range itself may be more than a float holds.
        f32 scale = __fsub_rn(__fmul_rn(high, STEP), __fmul_rn(low, STEP));
        f32 steps = scale >= 1.17549435e-38f ? __fdiv_rn(1.0f, scale) : 0.0f;
        f32 zero = rintf(__fmul_rn(-low, steps)), shift = __fadd_rn(ROUNDER, zero);
#pragma unroll
        for (u32 i = 0; i < 2; i++) {
            i32 rounded = (i32)(__float_as_uint(__fadd_rn(__fmul_rn(own[i], steps), shift)) -
                                __float_as_uint(ROUNDER));
            bytes[(u64)v * STEPS + lane * 2 + i] = (u8)min(max(rounded, 0), 127);
        }
        if (lane < 2)
            scaling[(u64)v * 2 + lane] = __fadd_rn(lane == 0 ? scale : __fmul_rn(scale, zero), strange);
    }
}

template <u32 BM, u32 BN, u32 TM, u32 TN> DEVICE void layer(const DynamicLayer &s, const Ending &ending) {
    using Own = Patch<BM, BN, TM, TN>;
    __shared__ u32 left[WORDS][BM + 1], right[WORDS][BN + 1];
    u32 across = (s.n + BN - 1) / BN, depth = s.blocks * STEPS;
    u32 first_row = blockIdx.x / across * BM, first_column = blockIdx.x % across * BN;
    Bytes rows = {s.bytes, depth, 1, s.m, depth, 0, 1};
    Bytes columns = {s.weights, depth, 1, s.n, depth, 0, 1};
    f32 totals[TM][TN] = {};
#pragma unroll 1
    for (u32 block = 0; block < s.blocks; block++) {
        bring<BM, Own::THREADS>(rows, first_row, block * STEPS, left);
        bring<BN, Own::THREADS>(columns, first_column, block * STEPS, right);
        __syncthreads();
        i32 sums[TM][TN] = {};
#pragma unroll 4
        for (u32 word = 0; word < WORDS; word++) {
            u32 x[TM], y[TN];
#pragma unroll
            for (u32 i = 0; i < TM; i++) x[i] = left[word][Own::row(i)];
#pragma unroll
            for (u32 j = 0; j < TN; j++) y[j] = right[word][Own::column(j)];
#pragma unroll
            for (u32 i = 0; i < TM; i++)
#pragma unroll
                for (u32 j = 0; j < TN; j++) sums[i][j] = dot(x[i], y[j], sums[i][j]);
        }
        __syncthreads();
        f32 own[TN];
#pragma unroll
        for (u32 j = 0; j < TN; j++) {
            u32 column = min(first_column + Own::column(j), s.n - 1);
            own[j] = s.sums[(u64)column * s.blocks + block];
        }
#pragma unroll
        for (u32 i = 0; i < TM; i++) {
            u32 row = min(first_row + Own::row(i), s.m - 1);
            const f32 *scaling = s.scaling + ((u64)row * s.blocks + block) * 2;
            f32 scale = scaling[0], shift = scaling[1];
#pragma unroll
            for (u32 j = 0; j < TN; j++)
                totals[i][j] = fmaf(-own[j], shift, fmaf((f32)sums[i][j], scale, totals[i][j]));
        }
    }
#pragma unroll 1
    for (u32 v = 0; v < TM * TN; v++) {
        u32 row = first_row + Own::row(v / TN), column = first_column + Own::column(v % TN);
        if (row >= s.m || column >= s.n) continue;
        f32 total = 0.0f;
#pragma unroll
        for (u32 own = 0; own < TM * TN; own++)
            if (own == v) total = totals[own / TN][own % TN];
        u64 at = (u64)row * s.n + column;
        f32 y = s.bias ? fmaf(total, s.scales[column], s.bias[column]) : __fmul_rn(total, s.scales[column]);
        s.c[at] = finish(ending, y, s.residual != nullptr, s.residual ? s.residual[at] : 0.0f);
    }
}

DEVICE void dynamic_layer_tiles_body(const DynamicLayer &shape, const Ending &ending) {
    layer<64, 64, 4, 4>(shape, ending);
}
DEVICE void dynamic_layer_few_body(const DynamicLayer &shape, const Ending &ending) {
    layer<16, 32, 2, 2>(shape, ending);
}

KERNEL_PLAIN(dynamic_rows, 256, (const f32 *x, u8 *bytes, f32 *scaling, u32 rows, u32 k, u32 blocks), (x, bytes, scaling, rows, k, blocks))
KERNEL_PLAIN(dynamic_layer_tiles, 256, (DynamicLayer shape, Ending ending), (shape, ending))
KERNEL_PLAIN(dynamic_layer_few, 128, (DynamicLayer shape, Ending ending), (shape, ending))

}  // namespace dynamic_linear_

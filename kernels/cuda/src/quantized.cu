// Linear layers of weights of 4 and 8 bits: (q - zero) scale, in f32.
#include "quantized.cuh"

namespace quantized_ {

constexpr u32 WARPS = 8, THREADS = 32 * WARPS, COLUMNS = 2;

DEVICE u32 stored(const u8 *from, const Quantization &q, u64 index) {
    u32 bits = q.bits == 4 ? from[index / 2] >> (index % 2 * 4) & 15 : from[index];
    return bits ^ q.flip;
}

DEVICE f32 zero_of(const u8 *zeros, const Quantization &q, u64 index) {
    return (f32)(zeros ? stored(zeros, q, index) : q.middle);
}

// Weights as floats, from row `first` on.
template <class T>
DEVICE void quantized_expand(const u8 *weights, const void *scales, const u8 *zeros, T *out,
                             const Quantization &q, u32 first, u32 elements) {
    u32 step = gridDim.x * blockDim.x;
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < elements; i += step) {
        u32 row = first + (u32)i / q.k, column = (u32)i % q.k;
        u64 group = (u64)row * q.groups + column / q.group;
        f32 own = (f32)stored(weights, q, (u64)row * q.k + column) - zero_of(zeros, q, group);
        store(own * load_kind(scales, q.scale_kind, group), out + i);
    }
}

// Eight numbers of the left side.
DEVICE void load_eight(const void *from, u32 kind, u64 index, f32 (&to)[8]) {
    if (kind == KIND_F32) {
        const float4 *quads = (const float4 *)((const f32 *)from + index);
        float4 x = quads[0], y = quads[1];
        to[0] = x.x, to[1] = x.y, to[2] = x.z, to[3] = x.w;
        to[4] = y.x, to[5] = y.y, to[6] = y.z, to[7] = y.w;
        return;
    }
    uint4 bits = *(const uint4 *)((const u16 *)from + index);
    const u32 words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (u32 i = 0; i < 8; i++) to[i] = of_bits(kind, words[i / 2] >> (i % 2 * 16) & 0xffff);
}

// A warp sums two columns; `s.k_split` warps of a block share theirs. A load of 16 bytes lies within
// one group.
template <u32 BITS, u32 ROWS>
DEVICE void gemv(const void *x, const u8 *weights, const void *scales, const u8 *zeros,
                 const Target &to, const ProductShape &s, const Quantization &q,
                 const Ending &ending) {
    constexpr u32 WIDTH = 128 / BITS, SUMS = ROWS * COLUMNS;
    __shared__ f32 shared[WARPS][SUMS];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 share = s.k_split, groups = WARPS / share;
    u32 column = (blockIdx.x * groups + warp / share) * COLUMNS;
    f32 sums[ROWS][COLUMNS] = {};
    for (u32 k = (warp % share * 32 + lane) * WIDTH; k < s.k; k += share * 32 * WIDTH) {
        u32 words[COLUMNS][4];
        f32 zero[COLUMNS], scale[COLUMNS];
#pragma unroll
        for (u32 j = 0; j < COLUMNS; j++) {
            u64 row = min(column + j, s.n - 1), group = row * q.groups + k / q.group;
            uint4 bits = *(const uint4 *)(weights + (row * s.k + k) * BITS / 8);
            words[j][0] = bits.x, words[j][1] = bits.y, words[j][2] = bits.z, words[j][3] = bits.w;
            zero[j] = zero_of(zeros, q, group);
            scale[j] = load_kind(scales, q.scale_kind, group);
        }
#pragma unroll
        for (u32 part = 0; part < WIDTH / 8; part++) {
            f32 y[COLUMNS][8];
#pragma unroll
            for (u32 j = 0; j < COLUMNS; j++)
#pragma unroll
                for (u32 i = 0; i < 8; i++) {
                    u32 bit = (part * 8 + i) * BITS;
                    u32 own = (words[j][bit / 32] >> bit % 32 & ((1u << BITS) - 1)) ^ q.flip;
                    y[j][i] = ((f32)own - zero[j]) * scale[j];
                }
#pragma unroll
            for (u32 r = 0; r < ROWS; r++) {
                if (r >= s.m) continue;
                f32 left[8];
                load_eight(x, s.a_kind, (u64)r * s.a_row + k + part * 8, left);
#pragma unroll
                for (u32 j = 0; j < COLUMNS; j++)
#pragma unroll
                    for (u32 i = 0; i < 8; i++) sums[r][j] = fmaf(left[i], y[j][i], sums[r][j]);
            }
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
        u32 at = (blockIdx.x * groups + group) * COLUMNS + v % COLUMNS;
        if (r >= s.m || at >= s.n) continue;
        f32 sum = 0.0f;
        for (u32 i = 0; i < share; i++) sum += shared[group * share + i][v % SUMS];
        finish_sum(to, s, ending, 0, r, at, sum);
    }
}

#define GEMV(name, bits, rows)                                                                     \
    DEVICE void name##_body(const void *x, const u8 *weights, const void *scales, const u8 *zeros, \
                            const Target &to, const ProductShape &s, const Quantization &q,        \
                            const Ending &ending) {                                                \
        gemv<bits, rows>(x, weights, scales, zeros, to, s, q, ending);                             \
    }
GEMV(quantized_one_8, 8, 1)
GEMV(quantized_few_8, 8, 8)
GEMV(quantized_one_4, 4, 1)
GEMV(quantized_few_4, 4, 8)

KERNEL_FLOATS(quantized_expand, 256, (const u8 *weights, const void *scales, const u8 *zeros, T *out, Quantization quantization, u32 first, u32 elements), (weights, scales, zeros, out, quantization, first, elements))
KERNEL_PLAIN(quantized_one_8, 256, (const void *x, const u8 *weights, const void *scales, const u8 *zeros, Target to, ProductShape shape, Quantization quantization, Ending ending), (x, weights, scales, zeros, to, shape, quantization, ending))
KERNEL_PLAIN(quantized_few_8, 256, (const void *x, const u8 *weights, const void *scales, const u8 *zeros, Target to, ProductShape shape, Quantization quantization, Ending ending), (x, weights, scales, zeros, to, shape, quantization, ending))
KERNEL_PLAIN(quantized_one_4, 256, (const void *x, const u8 *weights, const void *scales, const u8 *zeros, Target to, ProductShape shape, Quantization quantization, Ending ending), (x, weights, scales, zeros, to, shape, quantization, ending))
KERNEL_PLAIN(quantized_few_4, 256, (const void *x, const u8 *weights, const void *scales, const u8 *zeros, Target to, ProductShape shape, Quantization quantization, Ending ending), (x, weights, scales, zeros, to, shape, quantization, ending))

}  // namespace quantized_

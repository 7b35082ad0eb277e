// Products of bytes: Σ (a - zero of a) (b - zero of b), exact modulo 2^32, as they are or scaled to f32.
#include "integer.cuh"

// The same structure as in parameters.rs. Strides are in elements.
struct IntegerShape {
    u64 a_batch, b_batch, a_zero_batch, b_zero_batch;
    u32 batch, m, n, k;
    u32 b_row, b_column;
    u32 a_signed, b_signed, a_vector, b_vector;
    // From one zero point (or scale) to that of the next row (or column): 0 for one that all share.
    u32 a_zero, b_zero, scale;
    // Whether the results are f32, times a scale if there is one.
    u32 is_float;
};

namespace matmul_integer_ {

using namespace integer_;

// A zero point after the bytes beside it were brought to have a sign; absent ones are 0.
DEVICE i32 zero_at(const u8 *zeros, u64 place, u32 is_signed) {
    if (!zeros) return is_signed ? 0 : -128;
    return is_signed ? (i32)(i8)zeros[place] : (i32)zeros[place] - 128;
}

template <u32 BM, u32 BN, u32 TM, u32 TN>
DEVICE void product(const u8 *a, const u8 *b, const u8 *a_zeros, const u8 *b_zeros, const f32 *scales, void *c,
                    const IntegerShape &s) {
    using Own = Patch<BM, BN, TM, TN>;
    __shared__ u32 left[WORDS][BM + 1], right[WORDS][BN + 1];
    u32 down = (s.m + BM - 1) / BM, across = (s.n + BN - 1) / BN;
    u32 item = blockIdx.x / (down * across), inner = blockIdx.x % (down * across);
    u32 first_row = inner / across * BM, first_column = inner % across * BN;
    Bytes rows = {a + item * s.a_batch, s.k, 1, s.m, s.k, s.a_signed ? 0 : 0x80808080u, s.a_vector};
    Bytes columns = {b + item * s.b_batch, s.b_column, s.b_row, s.n, s.k, s.b_signed ? 0 : 0x80808080u,
                     s.b_vector};
    i32 sums[TM][TN] = {}, of_rows[TM] = {}, of_columns[TN] = {};
#pragma unroll 1
    for (u32 k = 0; k < s.k; k += STEPS) {
        bring<BM, Own::THREADS>(rows, first_row, k, left);
        bring<BN, Own::THREADS>(columns, first_column, k, right);
        __syncthreads();
#pragma unroll 4
        for (u32 word = 0; word < WORDS; word++) {
            u32 x[TM], y[TN];
#pragma unroll
            for (u32 i = 0; i < TM; i++) {
                x[i] = left[word][Own::row(i)];
                of_rows[i] = dot(x[i], 0x01010101u, of_rows[i]);
            }
#pragma unroll
            for (u32 j = 0; j < TN; j++) {
                y[j] = right[word][Own::column(j)];
                of_columns[j] = dot(y[j], 0x01010101u, of_columns[j]);
            }
#pragma unroll
            for (u32 i = 0; i < TM; i++)
#pragma unroll
                for (u32 j = 0; j < TN; j++) sums[i][j] = dot(x[i], y[j], sums[i][j]);
        }
        __syncthreads();
    }
#pragma unroll
    for (u32 i = 0; i < TM; i++) {
        u32 row = first_row + Own::row(i);
        if (row >= s.m) continue;
        u32 x = zero_at(a_zeros, item * s.a_zero_batch + (u64)row * s.a_zero, s.a_signed);
#pragma unroll
        for (u32 j = 0; j < TN; j++) {
            u32 column = first_column + Own::column(j);
            if (column >= s.n) continue;
            u32 y = zero_at(b_zeros, item * s.b_zero_batch + (u64)column * s.b_zero, s.b_signed);
            // Wraps, as the sums of 32 bits do.
            u32 sum = sums[i][j] - y * of_rows[i] - x * of_columns[j] + s.k * x * y;
            u64 at = ((u64)item * s.m + row) * s.n + column;
            if (s.is_float) ((f32 *)c)[at] = (f32)(i32)sum * (scales ? scales[column * s.scale] : 1.0f);
            else ((i32 *)c)[at] = (i32)sum;
        }
    }
}

DEVICE void matmul_integer_tiles_body(const u8 *a, const u8 *b, const u8 *a_zeros, const u8 *b_zeros,
                                      const f32 *scales, void *c, const IntegerShape &s) {
    product<64, 64, 4, 4>(a, b, a_zeros, b_zeros, scales, c, s);
}
DEVICE void matmul_integer_few_body(const u8 *a, const u8 *b, const u8 *a_zeros, const u8 *b_zeros,
                                    const f32 *scales, void *c, const IntegerShape &s) {
    product<16, 32, 2, 2>(a, b, a_zeros, b_zeros, scales, c, s);
}

KERNEL_PLAIN(matmul_integer_tiles, 256, (const u8 *a, const u8 *b, const u8 *a_zeros, const u8 *b_zeros, const f32 *scales, void *c, IntegerShape shape), (a, b, a_zeros, b_zeros, scales, c, shape))
KERNEL_PLAIN(matmul_integer_few, 128, (const u8 *a, const u8 *b, const u8 *a_zeros, const u8 *b_zeros, const f32 *scales, void *c, IntegerShape shape), (a, b, a_zeros, b_zeros, scales, c, shape))

}  // namespace matmul_integer_

// Matrix products of halves by tensor cores, summed in f32.
//
// A block makes one tile of C from tiles of 32 steps of k, of which two are on their way while one
// is multiplied. In shared memory, A is [row][k] and B is [column][k] or [k][column], as it lies in
// memory, in units of 8 elements whose order within a line changes from line to line, so that the 8
// units of a matrix lie in different banks.
#include "product.cuh"
#include "tensor_core.cuh"

namespace matmul_tensor_ {

using namespace tensor_core_;

constexpr u32 THREADS = 128, STEP = 32, STAGES = 3, UNIT = 8;

// Place of a unit, in elements; LINE units make a line.
template <u32 LINE> DEVICE u32 place(u32 line, u32 unit) {
    u32 turned = LINE == 4 ? unit ^ (line >> 1 & 3) : unit ^ (line & 7);
    return (line * LINE + turned) * UNIT;
}

struct Side {
    // First element of the matrix, strides along the lines of the tile and along its units, and
    // how many of each there are.
    const u16 *data;
    u32 line, unit, lines, units;
    bool vector;
};

// One unit of a line: 8 elements, of which those beyond the end are zeros.
DEVICE void bring(const Side &side, u32 line, u32 unit, u16 *to) {
    u32 count = line < side.lines && unit < side.units ? min(side.units - unit, UNIT) : 0;
    const u16 *from = side.data + (u64)line * side.line + (u64)unit * side.unit;
    if (side.vector && count == UNIT) {
        copy_16(to, from);
        return;
    }
    u32 pairs[4];
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u32 low = 2 * i < count ? from[2 * i * side.unit] : 0;
        u32 high = 2 * i + 1 < count ? from[(2 * i + 1) * side.unit] : 0;
        pairs[i] = low | high << 16;
    }
    *(uint4 *)to = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// A tile of LINES lines of LINE units, from its first line and element on. Where units must be
// gathered, neighbouring threads take neighbouring lines.
template <u32 LINES, u32 LINE>
DEVICE void bring_tile(const Side &side, u32 line, u32 unit, u16 *tile) {
#pragma unroll
    for (u32 i = 0; i < LINES * LINE / THREADS; i++) {
        u32 v = threadIdx.x + i * THREADS;
        u32 own = side.unit == 1 ? v / LINE : v % LINES;
        u32 at = side.unit == 1 ? v % LINE : v / LINES;
        bring(side, line + own, unit + at * UNIT, tile + place<LINE>(own, at));
    }
}

// ROWS x COLUMNS of C, by two by two warps; B lies along k, or along its columns.
template <class T, u32 ROWS, u32 COLUMNS, bool ALONG>
DEVICE void product(const void *a, const void *b, const Target &to, const ProductShape &s,
                    const Ending &ending) {
    constexpr u32 DOWN = ROWS / 32, ACROSS = COLUMNS / 16, WIDTH = COLUMNS + UNIT;
    constexpr u32 TILE_A = ROWS * STEP, TILE_B = COLUMNS * STEP, STAGE = TILE_A + TILE_B;
    constexpr u32 LINE_B = ALONG ? STEP / UNIT : COLUMNS / UNIT;
    static_assert(STAGES * STAGE * 2 >= 32 * WIDTH * 4, "sums of one round fit");
    __shared__ __align__(16) u16 shared[STAGES * STAGE];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 row = warp / 2 * (ROWS / 2), column = warp % 2 * (COLUMNS / 2);
    Tile tile = tile_of(s, ROWS, COLUMNS, blockIdx.x);
    u32 first = tile.split * s.k_split, end = min(s.k, first + s.k_split);
    Side left = {(const u16 *)a + tile.batch * s.a_batch, s.a_row, s.a_column, s.m, end,
                 s.a_vector && s.a_column == 1};
    const u16 *data_b = (const u16 *)b + tile.batch * s.b_batch;
    Side right = ALONG ? Side{data_b, s.b_column, s.b_row, s.n, end, s.b_vector && s.b_row == 1}
                       : Side{data_b, s.b_row, s.b_column, end, s.n, s.b_vector != 0};
    u32 rounds = (end - min(first, end) + STEP - 1) / STEP;
    auto start = [&](u32 round) {
        if (round < rounds) {
            u32 k = first + round * STEP;
            u16 *stage = shared + round % STAGES * STAGE;
            bring_tile<ROWS, STEP / UNIT>(left, tile.row, k, stage);
            bring_tile<(ALONG ? COLUMNS : STEP), LINE_B>(right, ALONG ? tile.column : k,
                                                         ALONG ? k : tile.column, stage + TILE_A);
        }
        copies_commit();
    };
    f32 sums[DOWN][ACROSS][4] = {};
#pragma unroll 1
    for (u32 round = 0; round < STAGES - 1; round++) start(round);
#pragma unroll 1
    for (u32 round = 0; round < rounds; round++) {
        copies_wait<STAGES - 2>();
        __syncthreads();
        start(round + STAGES - 1);
        const u16 *tile_a = shared + round % STAGES * STAGE, *tile_b = tile_a + TILE_A;
#pragma unroll
        for (u32 k = 0; k < STEP / UNIT; k += 2) {
            u32 x[DOWN][4], y[ACROSS / 2][4];
#pragma unroll
            for (u32 i = 0; i < DOWN; i++)
                load_matrices(x[i], tile_a + place<STEP / UNIT>(row + i * 16 + lane % 16, k + lane / 16));
#pragma unroll
            for (u32 j = 0; j < ACROSS / 2; j++) {
                if (ALONG)
                    load_matrices(y[j], tile_b + place<LINE_B>(column + j * 16 + lane / 16 * 8 + lane % 8,
                                                               k + lane / 8 % 2));
                else
                    load_matrices_transposed(y[j], tile_b + place<LINE_B>(k * UNIT + lane % 16,
                                                                          column / UNIT + j * 2 + lane / 16));
            }
#pragma unroll
            for (u32 i = 0; i < DOWN; i++)
#pragma unroll
                for (u32 j = 0; j < ACROSS; j++)
                    multiply<T>(sums[i][j], x[i], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
        }
    }
    copies_wait<0>();
    // Through shared memory, 16 rows of each warp a round, so that neighbours are stored together.
    f32 *staged = (f32 *)shared;
    u32 own = warp / 2 * 16 + lane / 4, at = column + lane % 4 * 2;
#pragma unroll 1
    for (u32 i = 0; i < DOWN; i++) {
        __syncthreads();
#pragma unroll
        for (u32 j = 0; j < ACROSS; j++) {
            f32 c[4];
#pragma unroll
            for (u32 e = 0; e < 4; e++) {
                c[e] = sums[0][j][e];
#pragma unroll
                for (u32 other = 1; other < DOWN; other++) c[e] = i == other ? sums[other][j][e] : c[e];
            }
            *(float2 *)(staged + own * WIDTH + at + j * 8) = make_float2(c[0], c[1]);
            *(float2 *)(staged + (own + 8) * WIDTH + at + j * 8) = make_float2(c[2], c[3]);
        }
        __syncthreads();
#pragma unroll 1
        for (u32 v = threadIdx.x; v < 32 * COLUMNS; v += THREADS) {
            u32 r = v / COLUMNS;
            store_sum(to, s, ending, tile, tile.row + r / 16 * (ROWS / 2) + i * 16 + r % 16,
                      tile.column + v % COLUMNS, staged[r * WIDTH + v % COLUMNS]);
        }
    }
}

// Turing has no products of bf16: `matmul` takes other kernels there.
template <class T, u32 ROWS, u32 COLUMNS, bool ALONG>
DEVICE void product_if_known(const void *a, const void *b, const Target &to, const ProductShape &s,
                             const Ending &ending) {
    if constexpr (KNOWN<T>) product<T, ROWS, COLUMNS, ALONG>(a, b, to, s, ending);
}

template <class T> DEVICE void matmul_tensor_large(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    product_if_known<T, 128, 128, false>(a, b, to, s, ending);
}
template <class T> DEVICE void matmul_tensor_large_along(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    product_if_known<T, 128, 128, true>(a, b, to, s, ending);
}
template <class T> DEVICE void matmul_tensor_small(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    product_if_known<T, 64, 64, false>(a, b, to, s, ending);
}
template <class T> DEVICE void matmul_tensor_small_along(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    product_if_known<T, 64, 64, true>(a, b, to, s, ending);
}
template <class T> DEVICE void matmul_tensor_flat(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    product_if_known<T, 32, 64, false>(a, b, to, s, ending);
}
template <class T> DEVICE void matmul_tensor_flat_along(const void *a, const void *b, const Target &to, const ProductShape &s, const Ending &ending) {
    product_if_known<T, 32, 64, true>(a, b, to, s, ending);
}

KERNEL(matmul_tensor_large, f16, ::f16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_large, bf16, ::bf16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_large_along, f16, ::f16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_large_along, bf16, ::bf16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_small, f16, ::f16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_small, bf16, ::bf16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_small_along, f16, ::f16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_small_along, bf16, ::bf16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_flat, f16, ::f16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_flat, bf16, ::bf16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_flat_along, f16, ::f16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))
KERNEL(matmul_tensor_flat_along, bf16, ::bf16, 128, (const void *a, const void *b, Target to, ProductShape shape, Ending ending), (a, b, to, shape, ending))

}  // namespace matmul_tensor_

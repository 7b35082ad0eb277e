// Convolutions as products of a matrix that is never written down (implicit GEMM): rows are outputs of
// all images, columns filters, and the sum goes over channels and taps of the window. f32 by fused
// multiply-adds, 16-bit elements by tensor cores.
#include "conv.cuh"
#include "tensor_core.cuh"

namespace conv_ {

using namespace tensor_core_;

// Outputs and filters of a block.
constexpr u32 TILE = 64, THREADS = 128;

template <class T, u32 N> struct alignas(sizeof(T) * N) Vector { T at[N]; };

// One block's part of a convolution, and what its threads load: STEP terms of the sum at a time, as
// vectors of WIDTH. In vectors a thread has vector `part` of rows `row` + i ROWS.
template <class T, u32 STEP, u32 WIDTH> struct Loader {
    static constexpr u32 PARTS = STEP / WIDTH, ROWS = THREADS / PARTS, EACH = TILE / ROWS;
    static constexpr u32 SCALARS = STEP * TILE / THREADS;

    const ConvShape &shape;
    const T *x, *w;
    u32 filters, first_filter, terms;
    u32 part, row;
    Position positions[EACH];
    Vector<T, WIDTH> xs[EACH], ws[EACH];

    __device__ __forceinline__ Loader(const ConvShape &shape, const T *x, const T *w, const Position *all)
        : shape(shape) {
        u32 tiles = (shape.filters + TILE - 1) / TILE, group = blockIdx.y / tiles;
        first_filter = blockIdx.y % tiles * TILE;
        filters = shape.filters - first_filter;
        terms = shape.channels * shape.taps;
        this->x = x + (u64)group * shape.channels * shape.x_channel;
        this->w = w + (u64)(group * shape.filters + first_filter) * shape.w_filter;
        part = threadIdx.x % PARTS;
        row = threadIdx.x / PARTS;
#pragma unroll
        for (u32 i = 0; i < EACH; i++) positions[i] = all[row + i * ROWS];
    }

    __device__ __forceinline__ void fetch_filters(u32 start) {
#pragma unroll
        for (u32 i = 0; i < EACH; i++) {
            u32 filter = row + i * ROWS, k = start + part * WIDTH;
            const T *from = w + (u64)filter * shape.w_filter + k;
            ws[i] = {};
            if (filter >= filters) continue;
            if (shape.w_vectors) {
                if (k < terms) ws[i] = *(const Vector<T, WIDTH> *)from;
                continue;
            }
#pragma unroll
            for (u32 j = 0; j < WIDTH; j++)
                if (k + j < terms) ws[i].at[j] = from[j];
        }
    }

    // Channels of one tap that lie next to each other.
    __device__ __forceinline__ void fetch_vectors(const Tap *taps) {
        Tap tap = taps[part * WIDTH];
#pragma unroll
        for (u32 i = 0; i < EACH; i++) {
            xs[i] = {};
            if (is_inside(shape, positions[i], tap))
                xs[i] = *(const Vector<T, WIDTH> *)(x + (positions[i].offset + tap.offset));
        }
    }

    // Neighboring threads have neighboring outputs, so that rows of x are read together: pair
    // `threadIdx.x / TILE` + 2 j of terms.
    __device__ __forceinline__ void fetch_scalars(const Tap *taps, const Position &position) {
        T *to = &xs[0].at[0];
#pragma unroll
        for (u32 j = 0; j < SCALARS; j++) {
            Tap tap = taps[(threadIdx.x / TILE + j / 2 * 2) * 2 + j % 2];
            to[j] = T{};
            if (is_inside(shape, position, tap)) to[j] = x[position.offset + tap.offset];
        }
    }
};

// Where the tile's sums meet before they are stored: [outputs][filters], padded.
constexpr u32 SUMS = TILE + 1;

// Stores the tile, neighboring threads what lies next to each other in y.
template <class T>
DEVICE void store_tile(const f32 *sums, const T *bias, const T *residual, T *y, f32 *partial,
                       const ConvShape &shape, const Ending &ending) {
    u32 outputs = outputs_of(shape), positions = shape.images * outputs;
    u32 tiles = (shape.filters + TILE - 1) / TILE, group = blockIdx.y / tiles;
    u32 first = blockIdx.x * TILE, filter_first = blockIdx.y % tiles * TILE;
    u32 all = shape.groups * shape.filters;
#pragma unroll 1
    for (u32 i = threadIdx.x; i < TILE * TILE; i += THREADS) {
        u32 row = shape.last ? i / TILE : i % TILE, column = shape.last ? i % TILE : i / TILE;
        u32 index = first + row, filter = filter_first + column;
        if (index >= positions || filter >= shape.filters) continue;
        filter += group * shape.filters;
        f32 sum = sums[row * SUMS + column];
        if (partial) {
            u64 at = shape.last ? (u64)index * all + filter : (u64)filter * positions + index;
            partial[(u64)blockIdx.z * positions * all + at] = sum;
            continue;
        }
        u64 at = (u64)(index / outputs) * shape.y_image + (u64)filter * shape.y_filter +
                 (u64)(index % outputs) * shape.y_position;
        store_sum(sum, at, filter, bias, residual, y, ending);
    }
}

// Sums by fused multiply-adds: a thread has 8 outputs by 4 filters.
template <class T> struct Plain {
    static constexpr u32 STEP = 16, WIDTH = 4, PITCH = TILE + 4;
    using Loads = Loader<T, STEP, WIDTH>;
    struct Shared {
        f32 x[2][STEP][PITCH], w[2][STEP][PITCH];
    };
    Shared &shared;
    f32 sums[8][4];

    __device__ __forceinline__ Plain(Shared &shared) : shared(shared) {
#pragma unroll
        for (u32 i = 0; i < 8; i++)
            for (u32 j = 0; j < 4; j++) sums[i][j] = 0.0f;
    }

    __device__ __forceinline__ void put(const Loads &loads, u32 buffer, bool vectors) {
#pragma unroll
        for (u32 i = 0; i < Loads::EACH; i++)
#pragma unroll
            for (u32 j = 0; j < WIDTH; j++) {
                u32 k = loads.part * WIDTH + j, row = loads.row + i * Loads::ROWS;
                shared.w[buffer][k][row] = to_f32(loads.ws[i].at[j]);
                if (vectors) shared.x[buffer][k][row] = to_f32(loads.xs[i].at[j]);
            }
        if (vectors) return;
        const T *from = &loads.xs[0].at[0];
#pragma unroll
        for (u32 j = 0; j < Loads::SCALARS; j++)
            shared.x[buffer][(threadIdx.x / TILE + j / 2 * 2) * 2 + j % 2][threadIdx.x % TILE] = to_f32(from[j]);
    }

    __device__ __forceinline__ void multiply_step(u32 buffer) {
        u32 row = threadIdx.x / 16 * 8, column = threadIdx.x % 16 * 4;
#pragma unroll 4
        for (u32 k = 0; k < STEP; k++) {
            Vector<f32, 4> a[2], b;
            a[0] = *(const Vector<f32, 4> *)&shared.x[buffer][k][row];
            a[1] = *(const Vector<f32, 4> *)&shared.x[buffer][k][row + 4];
            b = *(const Vector<f32, 4> *)&shared.w[buffer][k][column];
#pragma unroll
            for (u32 i = 0; i < 8; i++)
#pragma unroll
                for (u32 j = 0; j < 4; j++) sums[i][j] = fmaf(a[i / 4].at[i % 4], b.at[j], sums[i][j]);
        }
    }

    __device__ __forceinline__ void collect(f32 *to) const {
        u32 row = threadIdx.x / 16 * 8, column = threadIdx.x % 16 * 4;
#pragma unroll
        for (u32 i = 0; i < 8; i++)
#pragma unroll
            for (u32 j = 0; j < 4; j++) to[(row + i) * SUMS + column + j] = sums[i][j];
    }
};

// Sums by tensor cores: each of four warps has 32 outputs by 32 filters.
template <class T> struct Tensor {
    static constexpr u32 STEP = 32, WIDTH = 8, PITCH = STEP + 8;
    using Loads = Loader<T, STEP, WIDTH>;
    struct Shared {
        T x[2][TILE][PITCH], w[2][TILE][PITCH];
    };
    Shared &shared;
    f32 sums[2][4][4];

    __device__ __forceinline__ Tensor(Shared &shared) : shared(shared) {
#pragma unroll
        for (u32 i = 0; i < 2; i++)
            for (u32 j = 0; j < 4; j++)
                for (u32 e = 0; e < 4; e++) sums[i][j][e] = 0.0f;
    }

    __device__ __forceinline__ void put(const Loads &loads, u32 buffer, bool vectors) {
        using Whole = Vector<T, WIDTH>;
#pragma unroll
        for (u32 i = 0; i < Loads::EACH; i++) {
            u32 k = loads.part * WIDTH, row = loads.row + i * Loads::ROWS;
            *(Whole *)&shared.w[buffer][row][k] = loads.ws[i];
            if (vectors) *(Whole *)&shared.x[buffer][row][k] = loads.xs[i];
        }
        if (vectors) return;
        const T *from = &loads.xs[0].at[0];
#pragma unroll
        for (u32 j = 0; j < Loads::SCALARS; j += 2) {
            Vector<T, 2> both = {from[j], from[j + 1]};
            *(Vector<T, 2> *)&shared.x[buffer][threadIdx.x % TILE][(threadIdx.x / TILE + j) * 2] = both;
        }
    }

    __device__ __forceinline__ void multiply_step(u32 buffer) {
        u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const u16 *x = (const u16 *)&shared.x[buffer][warp / 2 * 32 + lane % 16][lane / 16 * 8];
        const u16 *w = (const u16 *)&shared.w[buffer][warp % 2 * 32 + lane / 16 * 8 + lane % 8][lane / 8 % 2 * 8];
#pragma unroll
        for (u32 k = 0; k < STEP; k += 16) {
            u32 a[2][4];
#pragma unroll
            for (u32 i = 0; i < 2; i++) load_matrices(a[i], x + 16 * i * PITCH + k);
#pragma unroll
            for (u32 j = 0; j < 2; j++) {
                u32 b[4];
                load_matrices(b, w + 16 * j * PITCH + k);
#pragma unroll
                for (u32 i = 0; i < 2; i++) {
                    multiply<T>(sums[i][2 * j], a[i], b[0], b[1]);
                    multiply<T>(sums[i][2 * j + 1], a[i], b[2], b[3]);
                }
            }
        }
    }

    __device__ __forceinline__ void collect(f32 *to) const {
        u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        u32 row = warp / 2 * 32 + lane / 4, column = warp % 2 * 32 + lane % 4 * 2;
#pragma unroll
        for (u32 i = 0; i < 2; i++)
#pragma unroll
            for (u32 j = 0; j < 4; j++)
#pragma unroll
                for (u32 e = 0; e < 4; e++)
                    to[(row + 16 * i + e / 2 * 8) * SUMS + column + 8 * j + e % 2] = sums[i][j][e];
    }
};

template <class T, class Product>
DEVICE void tiles(const T *x, const T *w, const T *bias, const T *residual, T *y, f32 *partial,
                  const ConvShape &shape, const Ending &ending) {
    constexpr u32 STEP = Product::STEP;
    union Shared {
        typename Product::Shared operands;
        f32 sums[TILE * SUMS];
    };
    __shared__ __align__(16) Shared shared;
    __shared__ Position positions[TILE];
    __shared__ Tap taps[2][STEP];
    u32 outputs = outputs_of(shape), steps = (shape.channels * shape.taps + STEP - 1) / STEP;
    u32 each = shape.terms / STEP, begin = blockIdx.z * each;
    u32 end = begin + each < steps ? begin + each : steps;
    if (threadIdx.x < TILE) positions[threadIdx.x] = position_of(shape, blockIdx.x * TILE + threadIdx.x, outputs);
    if (threadIdx.x < STEP) taps[begin % 2][threadIdx.x] = tap_of(shape, begin * STEP + threadIdx.x);
    else if (threadIdx.x < 2 * STEP) taps[(begin + 1) % 2][threadIdx.x - STEP] = tap_of(shape, begin * STEP + threadIdx.x);
    __syncthreads();
    typename Product::Loads loads(shape, x, w, positions);
    Position own = positions[threadIdx.x % TILE];
    Product product(shared.operands);
#define FETCH(step)                                                                                \
    loads.fetch_filters((step) * STEP);                                                            \
    if (shape.x_vectors) loads.fetch_vectors(taps[(step) % 2]);                                    \
    else loads.fetch_scalars(taps[(step) % 2], own);
    if (begin < end) {
        FETCH(begin)
        product.put(loads, begin % 2, shape.x_vectors);
        __syncthreads();
    }
    for (u32 step = begin; step < end; step++) {
        bool more = step + 1 < end;
        if (more) { FETCH(step + 1) }
        // Read last for this step, before the barrier that began it.
        if (threadIdx.x < STEP) taps[step % 2][threadIdx.x] = tap_of(shape, (step + 2) * STEP + threadIdx.x);
        product.multiply_step(step % 2);
        if (more) product.put(loads, (step + 1) % 2, shape.x_vectors);
        __syncthreads();
    }
#undef FETCH
    product.collect(shared.sums);
    __syncthreads();
    store_tile(shared.sums, bias, residual, y, partial, shape, ending);
}

template <class T, bool HALF> struct Chosen { using Product = Plain<T>; };
template <class T> struct Chosen<T, true> { using Product = Tensor<T>; };

template <class T>
DEVICE void conv_tiles(const T *x, const T *w, const T *bias, const T *residual, T *y, f32 *partial,
                       const ConvShape &shape, const Ending &ending) {
    using Product = typename Chosen<T, sizeof(T) == 2 && KNOWN<T>>::Product;
    tiles<T, Product>(x, w, bias, residual, y, partial, shape, ending);
}

// Joins what the splits of a sum have, in their order.
template <class T>
DEVICE void conv_join(const f32 *partial, const T *bias, const T *residual, T *y, const ConvShape &shape,
                      const Ending &ending) {
    u32 outputs = outputs_of(shape), positions = shape.images * outputs, all = shape.groups * shape.filters;
    u64 count = (u64)positions * all;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (u64)gridDim.x * blockDim.x) {
        f32 sum = 0.0f;
        for (u32 split = 0; split < shape.splits; split++) sum += partial[split * count + i];
        u32 own = (u32)i, filter = shape.last ? own % all : own / positions;
        u32 index = shape.last ? own / all : own % positions;
        u64 at = (u64)(index / outputs) * shape.y_image + (u64)filter * shape.y_filter +
                 (u64)(index % outputs) * shape.y_position;
        store_sum(sum, at, filter, bias, residual, y, ending);
    }
}

KERNEL_FLOATS(conv_tiles, 128,
              (const T *x, const T *w, const T *bias, const T *residual, T *y, f32 *partial, ConvShape shape,
               Ending ending),
              (x, w, bias, residual, y, partial, shape, ending))
KERNEL_FLOATS(conv_join, 256,
              (const f32 *partial, const T *bias, const T *residual, T *y, ConvShape shape, Ending ending),
              (partial, bias, residual, y, shape, ending))

}  // namespace conv_

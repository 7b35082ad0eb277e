// Windows of images with their channels last as the rows of a matrix, [outputs][taps][channels].
#include "conv.cuh"

namespace im2col_ {

using namespace conv_;

// Outputs of a block, and most taps of a window: as in im2col.rs.
constexpr u32 ROWS = 32, TAPS = 128, THREADS = 256;

// `rows` rows from output `first` on. A vector T holds `width` channels; there is one group.
template <class T>
DEVICE void im2col(const T *x, T *columns, const ConvShape &shape, u32 first, u32 rows, u32 width) {
    __shared__ Position positions[ROWS];
    __shared__ Tap taps[TAPS];
    u32 begin = blockIdx.x * ROWS, count = min(rows - begin, ROWS), outputs = outputs_of(shape);
    for (u32 i = threadIdx.x; i < ROWS; i += THREADS) positions[i] = position_of(shape, first + begin + i, outputs);
    for (u32 i = threadIdx.x; i < shape.taps; i += THREADS) taps[i] = tap_of(shape, i * shape.channels);
    __syncthreads();
    u32 vectors = shape.channels / width, line = vectors * shape.taps;
    columns += (u64)begin * line;
    for (u32 i = threadIdx.x; i < count * line; i += THREADS) {
        u32 row = i / line, rest = i - row * line, tap = rest / vectors, vector = rest - tap * vectors;
        Position at = positions[row];
        Tap own = taps[tap];
        T value{};
        if (is_inside(shape, at, own)) value = x[(u32)(at.offset + own.offset) / width + vector];
        columns[i] = value;
    }
}

KERNEL(im2col, b32, ::u32, 256,
       (const T *x, T *columns, ConvShape shape, u32 first, u32 rows, u32 width),
       (x, columns, shape, first, rows, width))
KERNEL(im2col, b64, ::u64, 256,
       (const T *x, T *columns, ConvShape shape, u32 first, u32 rows, u32 width),
       (x, columns, shape, first, rows, width))
KERNEL(im2col, b128, ::uint4, 256,
       (const T *x, T *columns, ConvShape shape, u32 first, u32 rows, u32 width),
       (x, columns, shape, first, rows, width))

}  // namespace im2col_

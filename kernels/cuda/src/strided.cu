// Copies between places that are described by extents and strides.
#include "layout.cuh"

namespace strided_ {

struct Places { i64 from, to; };

// The places of word `i` of the axes from `first` on, relative to the first word of each side.
DEVICE Places walk(const Strides &layout, u32 first, u32 i) {
    Places places = {0, 0};
    u32 rest = i;
#pragma unroll 1
    for (u32 axis = first; axis < layout.axes; axis++) {
        u32 outer = axis + 1 == layout.axes ? 0 : rest / layout.extents[axis];
        i64 index = rest - outer * layout.extents[axis];
        places.from += index * layout.from[axis];
        places.to += index * layout.to[axis];
        rest = outer;
    }
    return places;
}

// A word a thread; neighbouring threads write neighbouring words.
template <class T> DEVICE void strided(const T *x, T *y, const Strides &layout) {
    u32 step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < layout.words; i += step) {
        Places at = walk(layout, 0, (u32)i);
        y[at.to] = x[at.from];
    }
}

// Side of a square that a block of 256 threads turns round.
constexpr u32 SIDE = 32, LINES = 8;

// Axis 0 is dense where words are written, axis 1 where they are read. Each square is read along
// axis 1 and written along axis 0. Blocks take the squares of all other axes in turn.
template <class T> DEVICE void strided_squares(const T *x, T *y, const Strides &layout) {
    __shared__ T square[SIDE][SIDE + 1];
    u32 column = threadIdx.x % SIDE, line = threadIdx.x / SIDE;
    u32 across = (layout.extents[0] + SIDE - 1) / SIDE;
    u32 down = (layout.extents[1] + SIDE - 1) / SIDE;
    u32 planes = layout.words / layout.extents[0] / layout.extents[1];
    u64 squares = (u64)across * down * planes;
    for (u64 i = blockIdx.x; i < squares; i += gridDim.x) {
        u32 plane = (u32)(i / ((u64)across * down)), own = (u32)(i % ((u64)across * down));
        u32 left = own % across * SIDE, top = own / across * SIDE;
        Places at = walk(layout, 2, plane);
#pragma unroll
        for (u32 k = line; k < SIDE; k += LINES)
            if (left + k < layout.extents[0] && top + column < layout.extents[1])
                square[k][column] = x[at.from + (i64)(left + k) * layout.from[0] + top + column];
        __syncthreads();
#pragma unroll
        for (u32 k = line; k < SIDE; k += LINES)
            if (left + column < layout.extents[0] && top + k < layout.extents[1])
                y[at.to + (i64)(top + k) * layout.to[1] + left + column] = square[column][k];
        __syncthreads();
    }
}

KERNEL_SIZES(strided, 256,
             (const T *x, T *y, const __grid_constant__ Strides layout),
             (x, y, layout))
KERNEL(strided, b128, ::uint4, 256,
       (const T *x, T *y, const __grid_constant__ Strides layout),
       (x, y, layout))
KERNEL_SIZES(strided_squares, 256,
             (const T *x, T *y, const __grid_constant__ Strides layout),
             (x, y, layout))
KERNEL(strided_squares, b128, ::uint4, 256,
       (const T *x, T *y, const __grid_constant__ Strides layout),
       (x, y, layout))

}  // namespace strided_

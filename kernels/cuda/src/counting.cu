// Values that are made by counting.
#include "indices.cuh"

namespace counting_ {

// Rows of `depth` elements, of which the indexed one is `one` and the others are 0.
template <class T>
DEVICE void one_hot(const void *indices, T *y, u32 n, u32 depth, u32 index_type, u64 one) {
    u32 step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        u32 row = (u32)i / depth;
        y[i] = index_at(indices, index_type, row) == (i64)(i - (u64)row * depth) ? (T)one : (T)0;
    }
}

// start, start + step, .. along an axis of `extent`, `inner` times each.
DEVICE void iota_body(i64 *y, u32 n, u32 extent, u32 inner, i64 start, i64 step) {
    u32 threads = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += threads)
        y[i] = (i64)((u64)start + (u64)step * ((u32)i / inner % extent));
}

// Where each row stands in its sequence; a block takes sequences in turn. Offsets beyond the rows
// write nothing.
DEVICE void positions_body(const u32 *offsets, u32 *y, u32 sequences, u32 rows) {
    for (u32 sequence = blockIdx.x; sequence < sequences; sequence += gridDim.x) {
        u32 start = offsets[sequence], end = min(offsets[sequence + 1], rows);
        for (u64 row = (u64)start + threadIdx.x; row < end; row += blockDim.x)
            y[row] = (u32)row - start;
    }
}

KERNEL_SIZES(one_hot, 256, (const void *indices, T *y, u32 n, u32 depth, u32 index_type, u64 one),
             (indices, y, n, depth, index_type, one))
KERNEL_PLAIN(iota, 256, (i64 *y, u32 n, u32 extent, u32 inner, i64 start, i64 step),
             (y, n, extent, inner, start, step))
KERNEL_PLAIN(positions, 128, (const u32 *offsets, u32 *y, u32 sequences, u32 rows),
             (offsets, y, sequences, rows))

}  // namespace counting_

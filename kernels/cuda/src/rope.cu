// Rotary position embedding.
#include "indices.cuh"

namespace rope_ {

// A thread turns pair `i` of `each` heads of a row. Turns are fractions of 2^64, so that the product
// with a position, which wraps, is the angle without its whole turns.
template <class T>
DEVICE void rope(const T *x, T *y, const void *positions, const u64 *turns, RopeShape shape) {
    u32 half = shape.size / 2, slices = (shape.heads + shape.each - 1) / shape.each;
    u32 threads = shape.rows * slices * half, step = gridDim.x * blockDim.x;
    for (u64 index = blockIdx.x * blockDim.x + threadIdx.x; index < threads; index += step) {
        u32 i = (u32)index % half, rest = (u32)index / half;
        u32 slice = rest % slices, row = rest / slices;
        u64 angle = (u64)index_at(positions, shape.type, row % shape.positions) * turns[i];
        f32 sine, cosine;
        sincospif((f32)(i32)(u32)(angle >> 32) * 0x1p-31f, &sine, &cosine);
        u32 first = slice * shape.each, end = min(first + shape.each, shape.heads);
        u32 left = shape.interleaved ? 2 * i : i, right = shape.interleaved ? 2 * i + 1 : i + half;
#pragma unroll 2
        for (u32 head = first; head < end; head++) {
            u64 start = ((u64)row * shape.heads + head) * shape.size;
            f32 a = to_f32(x[start + left]), b = to_f32(x[start + right]);
            store(a * cosine - b * sine, y + start + left);
            store(b * cosine + a * sine, y + start + right);
        }
    }
}

KERNEL_FLOATS(rope, 256, (const T *x, T *y, const void *positions, const u64 *turns, RopeShape shape), (x, y, positions, turns, shape))

}  // namespace rope_

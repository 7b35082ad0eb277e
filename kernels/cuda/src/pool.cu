// Largest element and mean of windows over up to three axes; a thread folds one window.
#include "kernel.cuh"

// Pooling of `planes` planes whose elements are `inner` apart; the same structure as in parameters.rs.
struct PoolShape {
    u32 planes, inner;
    u32 input[3], output[3], kernel[3], stride[3], dilation[3], before[3];
    u32 count_pads;
};

namespace pool_ {

// Elements first..end of the window at `position` that lie on the input, the first of them at `start`.
struct Reach {
    u32 first, end, start;
};
DEVICE Reach reach_of(const PoolShape &shape, u32 axis, u32 position) {
    u32 corner = position * shape.stride[axis], step = shape.dilation[axis], before = shape.before[axis];
    u32 limit = shape.input[axis] + before;
    Reach reach;
    reach.first = corner < before ? (before - corner + step - 1) / step : 0;
    reach.end = corner < limit ? (limit - corner + step - 1) / step : 0;
    if (reach.end > shape.kernel[axis]) reach.end = shape.kernel[axis];
    if (reach.first > reach.end) reach.first = reach.end;
    reach.start = corner + reach.first * step - before;
    return reach;
}
DEVICE u32 count(const Reach &reach) { return reach.end - reach.first; }

// A window, and the place of its first element.
struct Window {
    Reach z, h, w;
    u64 plane;
};
DEVICE Window window_of(const PoolShape &shape, u32 index) {
    u32 own = index / shape.inner % (shape.output[0] * shape.output[1] * shape.output[2]);
    u32 plane = index / shape.inner / (shape.output[0] * shape.output[1] * shape.output[2]);
    Window window;
    window.w = reach_of(shape, 2, own % shape.output[2]);
    window.h = reach_of(shape, 1, own / shape.output[2] % shape.output[1]);
    window.z = reach_of(shape, 0, own / shape.output[2] / shape.output[1]);
    window.plane = (u64)plane * shape.input[0] * shape.input[1] * shape.input[2] * shape.inner + index % shape.inner;
    return window;
}

// Calls `fold` with every element of a window, in row-major order.
template <class T, class Fold>
DEVICE void each(const T *x, const PoolShape &shape, const Window &window, Fold fold) {
    x += window.plane;
#pragma unroll 1
    for (u32 a = 0; a < count(window.z); a++) {
        u32 z = window.z.start + a * shape.dilation[0];
#pragma unroll 1
        for (u32 b = 0; b < count(window.h); b++) {
            u32 h = window.h.start + b * shape.dilation[1];
            const T *row = x + ((u64)z * shape.input[1] + h) * shape.input[2] * shape.inner;
#pragma unroll 2
            for (u32 c = 0; c < count(window.w); c++)
                fold(row[(u64)(window.w.start + c * shape.dilation[2]) * shape.inner]);
        }
    }
}

// Whether `best` stays beside `x`: NaN is larger than anything that comes after it.
DEVICE bool stays(f32 best, f32 x) { return best > x || best != best; }
DEVICE bool stays(f16 best, f16 x) { return stays(to_f32(best), to_f32(x)); }
DEVICE bool stays(bf16 best, bf16 x) { return stays(to_f32(best), to_f32(x)); }
DEVICE bool stays(i8 best, i8 x) { return best >= x; }
DEVICE bool stays(u8 best, u8 x) { return best >= x; }
DEVICE bool stays(i32 best, i32 x) { return best >= x; }
DEVICE bool stays(i64 best, i64 x) { return best >= x; }

DEVICE void lowest(f32 &x) { x = -F32_INFINITY; }
DEVICE void lowest(f16 &x) { x.bits = 0xfc00; }
DEVICE void lowest(bf16 &x) { x.bits = 0xff80; }
DEVICE void lowest(i8 &x) { x = -128; }
DEVICE void lowest(u8 &x) { x = 0; }
DEVICE void lowest(i32 &x) { x = (i32)0x80000000u; }
DEVICE void lowest(i64 &x) { x = (i64)0x8000000000000000ull; }

template <class T> DEVICE void max_pool(const T *x, T *y, u32 n, const PoolShape &shape) {
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (u64)gridDim.x * blockDim.x) {
        T best;
        lowest(best);
        each(x, shape, window_of(shape, (u32)i), [&](T x) { best = stays(best, x) ? best : x; });
        y[i] = best;
    }
}

template <class T> DEVICE void average_pool(const T *x, T *y, u32 n, const PoolShape &shape) {
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (u64)gridDim.x * blockDim.x) {
        Window window = window_of(shape, (u32)i);
        f32 sum = 0.0f;
        each(x, shape, window, [&](T x) { sum += to_f32(x); });
        u64 inside = (u64)count(window.z) * count(window.h) * count(window.w);
        if (shape.count_pads) inside = (u64)shape.kernel[0] * shape.kernel[1] * shape.kernel[2];
        store(inside ? sum / (f32)inside : 0.0f, y + i);
    }
}

KERNEL_FLOATS(max_pool, 256, (const T *x, T *y, u32 n, PoolShape shape), (x, y, n, shape))
KERNEL_INTEGERS(max_pool, 256, (const T *x, T *y, u32 n, PoolShape shape), (x, y, n, shape))
KERNEL(max_pool, i8, ::i8, 256, (const T *x, T *y, u32 n, PoolShape shape), (x, y, n, shape))
KERNEL(max_pool, u8, ::u8, 256, (const T *x, T *y, u32 n, PoolShape shape), (x, y, n, shape))
KERNEL_FLOATS(average_pool, 256, (const T *x, T *y, u32 n, PoolShape shape), (x, y, n, shape))

}  // namespace pool_

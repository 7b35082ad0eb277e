// Index of the largest or smallest element of each lane of [outer, n, inner].
#include "kernel.cuh"

namespace arg_extreme_ {

template <class T> struct Wide { using Type = f32; };
template <> struct Wide<i32> { using Type = i32; };
template <> struct Wide<i64> { using Type = i64; };

template <class T> DEVICE f32 widen(T x) { return to_f32(x); }
DEVICE i32 widen(i32 x) { return x; }
DEVICE i64 widen(i64 x) { return x; }

template <class A> struct Best {
    A value;
    u32 index;
};

// Whether `a` is to be taken rather than `b`: NaN before numbers, then the first of equals.
template <class A> DEVICE bool wins(const Best<A> &a, const Best<A> &b, bool largest) {
    bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan || b_nan) return a_nan && (!b_nan || a.index < b.index);
    if (a.value == b.value) return a.index < b.index;
    return largest ? a.value > b.value : a.value < b.value;
}

// Along x of a block a thread a lane; along y, a power of two, several that share one.
template <class T> DEVICE void arg_extreme(const T *x, i64 *y, u32 lanes, u32 n, u32 inner, u32 largest) {
    using A = typename Wide<T>::Type;
    __shared__ Best<A> shared[256];
    u32 lane = blockIdx.x * blockDim.x + threadIdx.x;
    bool active = lane < lanes;
    // Threads beyond the lanes, or the elements, have the first element again.
    x += active ? (u64)(lane / inner) * n * inner + lane % inner : 0;
    Best<A> own = {widen(x[0]), 0};
#pragma unroll 4
    for (u32 place = threadIdx.y; active && place < n; place += blockDim.y) {
        Best<A> other = {widen(x[(u64)place * inner]), place};
        if (wins(other, own, largest)) own = other;
    }
    u32 at = threadIdx.y * blockDim.x + threadIdx.x;
    shared[at] = own;
    for (u32 step = blockDim.y / 2; step > 0; step /= 2) {
        __syncthreads();
        if (threadIdx.y < step) {
            Best<A> other = shared[at + step * blockDim.x];
            if (wins(other, shared[at], largest)) shared[at] = other;
        }
    }
    if (threadIdx.y == 0 && active) y[lane] = shared[at].index;
}

KERNEL_FLOATS(arg_extreme, 256, (const T *x, i64 *y, u32 lanes, u32 n, u32 inner, u32 largest), (x, y, lanes, n, inner, largest))
KERNEL_INTEGERS(arg_extreme, 256, (const T *x, i64 *y, u32 lanes, u32 n, u32 inner, u32 largest), (x, y, lanes, n, inner, largest))

}  // namespace arg_extreme_

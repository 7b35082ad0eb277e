// Reductions of two axes of [outer, first, between, last, inner]: sums, products, extremes, lengths.
//
// Long lanes are cut into slices along the grid's y; what each slice comes to goes to `partial`, as
// [slices, lanes], and `reduce_finish` joins them.
#include "row.cuh"

namespace reduce_ {

// In the order of `enum Reduction` in reduce.rs. Bools have MAX (any) and MIN (all).
enum Kind : u32 { SUM, MEAN, PROD, MAX, MIN, SUM_SQUARES, L1, L2 };

// What a lane of T is accumulated in.
template <class T> struct Accumulator { using Type = f32; };
template <> struct Accumulator<i32> { using Type = i32; };
template <> struct Accumulator<i64> { using Type = i64; };
template <> struct Accumulator<u8> { using Type = i32; };
template <class T> constexpr bool IS_FLOAT = true;
template <> constexpr bool IS_FLOAT<i32> = false;
template <> constexpr bool IS_FLOAT<i64> = false;
template <> constexpr bool IS_FLOAT<u8> = false;
template <class T> struct Unsigned { using Type = u32; };
template <> struct Unsigned<i64> { using Type = u64; };

DEVICE f32 start(u32 kind, f32) {
    return kind == PROD ? 1.0f : kind == MAX ? -F32_INFINITY : kind == MIN ? F32_INFINITY : 0.0f;
}
DEVICE i32 start(u32 kind, i32) {
    return kind == PROD ? 1 : kind == MAX ? (i32)0x80000000 : kind == MIN ? 0x7fffffff : 0;
}
DEVICE i64 start(u32 kind, i64) {
    const i64 lowest = (i64)0x8000000000000000;
    return kind == PROD ? 1 : kind == MAX ? lowest : kind == MIN ? ~lowest : 0;
}

// Two accumulators, or an accumulator and a number that became one. A NaN stays.
DEVICE f32 join(u32 kind, f32 a, f32 b) {
    switch (kind) {
    case PROD: return a * b;
    case MAX: return a > b || a != a ? a : b;
    case MIN: return a < b || a != a ? a : b;
    }
    return a + b;
}
template <class A> DEVICE A join(u32 kind, A a, A b) {
    using U = typename Unsigned<A>::Type;
    switch (kind) {
    case PROD: return (A)((U)a * (U)b);
    case MAX: return a > b ? a : b;
    case MIN: return a < b ? a : b;
    }
    return (A)((U)a + (U)b);
}

// A number as the accumulator of a lane of it alone.
DEVICE f32 single(u32 kind, f32 x) {
    switch (kind) {
    case L1: return fabsf(x);
    case L2:
    case SUM_SQUARES: return x * x;
    }
    return x;
}
template <class T> DEVICE f32 load(const T *x) { return to_f32(*x); }
DEVICE i32 load(const i32 *x) { return *x; }
DEVICE i64 load(const i64 *x) { return *x; }
DEVICE i32 load(const u8 *x) { return *x != 0; }
DEVICE i32 single(u32, i32 x) { return x; }
DEVICE i64 single(u32, i64 x) { return x; }

template <class T> DEVICE void finish(u32 kind, f32 all, u32 n, T *to) {
    if (kind == MEAN) all /= (f32)n;
    if (kind == L2) all = sqrtf(all);
    store(all, to);
}
DEVICE void finish(u32, i32 all, u32, i32 *to) { *to = all; }
DEVICE void finish(u32, i64 all, u32, i64 *to) { *to = all; }
// Of no bools, any is false and all is true.
DEVICE void finish(u32, i32 all, u32, u8 *to) { *to = all > 0; }

// What the threads along x have together, for all of them.
template <class A> DEVICE A join_group(u32 kind, A own, A *shared) {
    for (u32 step = 16; step > 0; step >>= 1)
        own = join(kind, own, __shfl_xor_sync(FULL_WARP, own, step));
    if (blockDim.x == 32) return own;
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (lane == 0) shared[warp] = own;
    __syncthreads();
    own = lane < blockDim.x / 32 ? shared[lane] : start(kind, A());
    for (u32 step = 16; step > 0; step >>= 1)
        own = join(kind, own, __shfl_xor_sync(FULL_WARP, own, step));
    return own;
}

// What the threads along y, a power of two, have together, for the first of them.
template <class A> DEVICE A join_along_y(u32 kind, A own, A *shared) {
    if (blockDim.y == 1) return own;
    shared[threadIdx.y * blockDim.x + threadIdx.x] = own;
    for (u32 step = blockDim.y / 2; step > 0; step /= 2) {
        __syncthreads();
        if (threadIdx.y < step) {
            A *to = shared + threadIdx.y * blockDim.x + threadIdx.x;
            *to = join(kind, *to, to[step * blockDim.x]);
        }
    }
    return threadIdx.y == 0 ? shared[threadIdx.x] : own;
}

// The lane's result, or what its slice comes to.
template <class T, class A>
DEVICE void put(const ReduceLanes &lanes, u32 kind, A all, u32 lane, T *y, void *partial) {
    if (gridDim.y == 1) return finish(kind, all, lanes.n, y + lane);
    ((A *)partial)[(u64)blockIdx.y * lanes.lanes + lane] = all;
}

// A group of threads a row, where between and inner are 1.
template <class T> DEVICE void reduce_rows(const T *x, T *y, void *partial, ReduceLanes lanes, u32 kind, u32 vector) {
    using A = typename Accumulator<T>::Type;
    __shared__ A shared[32];
    u32 row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= lanes.lanes) return;
    u32 first = blockIdx.y * lanes.slice, n = min(lanes.slice, lanes.n - first);
    x += (u64)row * lanes.n + first;
    A own = start(kind, A());
    if constexpr (IS_FLOAT<T>) {
        constexpr u32 COUNT = Part<T>::COUNT;
        f32 fill = start(kind, 0.0f);
        each_part_again<T>(n, [&](u32 column) {
            f32 part[COUNT];
            load_part(x, column, n, vector, fill, part);
            for (u32 i = 0; i < COUNT; i++) own = join(kind, own, single(kind, part[i]));
        });
    } else {
        for (u32 column = threadIdx.x; column < n; column += blockDim.x)
            own = join(kind, own, single(kind, load(x + column)));
    }
    own = join_group(kind, own, shared);
    if (threadIdx.x == 0) put(lanes, kind, own, row, y, partial);
}

// Along x of a block a thread a lane; along y several that share one.
template <class T> DEVICE void reduce_columns(const T *x, T *y, void *partial, ReduceLanes lanes, u32 kind) {
    using A = typename Accumulator<T>::Type;
    __shared__ A shared[1024];
    u32 lane = blockIdx.x * blockDim.x + threadIdx.x;
    u32 first = blockIdx.y * lanes.slice, end = first + min(lanes.slice, lanes.n - first);
    A own = start(kind, A());
    if (lane < lanes.lanes) {
        u32 rest = lane / lanes.inner, block = lanes.between * lanes.last;
        u64 start = (u64)(rest / lanes.between) * lanes.n * lanes.between + rest % lanes.between * lanes.last;
        x += start * lanes.inner + lane % lanes.inner;
#pragma unroll 4
        for (u32 place = first + threadIdx.y; place < end; place += blockDim.y) {
            u64 at = place;
            if (lanes.between > 1) at = (u64)(place / lanes.last) * block + place % lanes.last;
            own = join(kind, own, single(kind, load(x + at * lanes.inner)));
        }
    }
    own = join_along_y(kind, own, shared);
    if (threadIdx.y == 0 && lane < lanes.lanes) put(lanes, kind, own, lane, y, partial);
}

// Joins the slices of each lane; along x of a block a thread a lane.
template <class T> DEVICE void reduce_finish(const void *partial, T *y, ReduceLanes lanes, u32 slices, u32 kind) {
    using A = typename Accumulator<T>::Type;
    __shared__ A shared[256];
    u32 lane = blockIdx.x * blockDim.x + threadIdx.x;
    A own = start(kind, A());
    for (u32 i = threadIdx.y; lane < lanes.lanes && i < slices; i += blockDim.y)
        own = join(kind, own, ((const A *)partial)[(u64)i * lanes.lanes + lane]);
    own = join_along_y(kind, own, shared);
    if (threadIdx.y == 0 && lane < lanes.lanes) finish(kind, own, lanes.n, y + lane);
}

KERNEL_FLOATS(reduce_rows, 512, (const T *x, T *y, void *partial, ReduceLanes lanes, u32 kind, u32 vector), (x, y, partial, lanes, kind, vector))
KERNEL_INTEGERS(reduce_rows, 512, (const T *x, T *y, void *partial, ReduceLanes lanes, u32 kind, u32 vector), (x, y, partial, lanes, kind, vector))
KERNEL(reduce_rows, u8, ::u8, 512, (const T *x, T *y, void *partial, ReduceLanes lanes, u32 kind, u32 vector), (x, y, partial, lanes, kind, vector))
KERNEL_FLOATS(reduce_columns, 1024, (const T *x, T *y, void *partial, ReduceLanes lanes, u32 kind), (x, y, partial, lanes, kind))
KERNEL_INTEGERS(reduce_columns, 1024, (const T *x, T *y, void *partial, ReduceLanes lanes, u32 kind), (x, y, partial, lanes, kind))
KERNEL(reduce_columns, u8, ::u8, 1024, (const T *x, T *y, void *partial, ReduceLanes lanes, u32 kind), (x, y, partial, lanes, kind))
KERNEL_FLOATS(reduce_finish, 256, (const void *partial, T *y, ReduceLanes lanes, u32 slices, u32 kind), (partial, y, lanes, slices, kind))
KERNEL_INTEGERS(reduce_finish, 256, (const void *partial, T *y, ReduceLanes lanes, u32 slices, u32 kind), (partial, y, lanes, slices, kind))
KERNEL(reduce_finish, u8, ::u8, 256, (const void *partial, T *y, ReduceLanes lanes, u32 slices, u32 kind), (partial, y, lanes, slices, kind))

}  // namespace reduce_

// Running sums and products along the middle axis of [outer, n, inner].
#include "kernel.cuh"

namespace cumulative_ {

template <class T> struct Wide { using Type = f32; };
template <> struct Wide<i32> { using Type = u32; };
template <> struct Wide<i64> { using Type = u64; };

// Integers as unsigned, whose sums and products wrap.
template <class T> DEVICE f32 widen(T x) { return to_f32(x); }
DEVICE u32 widen(i32 x) { return (u32)x; }
DEVICE u64 widen(i64 x) { return (u64)x; }
template <class T> DEVICE void put(f32 x, T *to) { store(x, to); }
DEVICE void put(u32 x, i32 *to) { *to = (i32)x; }
DEVICE void put(u64 x, i64 *to) { *to = (i64)x; }

// The first element of a scan; the others are `step` apart.
DEVICE u64 start_of(const ScanLanes &scan, u32 lane) {
    u64 first = (u64)(lane / scan.inner) * scan.n + (scan.reverse ? scan.n - 1 : 0);
    return first * scan.inner + lane % scan.inner;
}
DEVICE i64 step_of(const ScanLanes &scan) { return scan.reverse ? -(i64)scan.inner : scan.inner; }

// A thread a lane, in the order of the axis.
template <class T> DEVICE void cumulative(const T *x, T *y, ScanLanes scan, u32 product) {
    using A = typename Wide<T>::Type;
    u32 lane = blockIdx.x * blockDim.x + threadIdx.x;
    if (lane >= scan.lanes) return;
    u64 start = start_of(scan, lane);
    i64 step = step_of(scan);
    x += start, y += start;
    A so_far = (A)product;
#pragma unroll 2
    for (u32 place = 0; place < scan.n; place++, x += step, y += step) {
        A own = widen(*x);
        A next = product ? so_far * own : so_far + own;
        put(scan.exclusive ? so_far : next, y);
        so_far = next;
    }
}

// A block of 256 threads a lane, in tiles of EACH consecutive elements a thread. Sums alone.
template <class T> DEVICE void cumulative_tiles(const T *x, T *y, ScanLanes scan) {
    using A = typename Wide<T>::Type;
    constexpr u32 EACH = 4;
    __shared__ A warps[8];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u64 origin = start_of(scan, blockIdx.x);
    i64 apart = step_of(scan);
    x += origin, y += origin;
    A before = 0;
    for (u32 first = 0; first < scan.n; first += blockDim.x * EACH) {
        A own[EACH], total = 0;
        u32 start = first + threadIdx.x * EACH;
        for (u32 i = 0; i < EACH; i++) {
            own[i] = start + i < scan.n ? widen(x[(start + i) * apart]) : 0;
            total += own[i];
        }
        A until = total;
        for (u32 step = 1; step < 32; step *= 2) {
            A other = __shfl_up_sync(FULL_WARP, until, step);
            if (lane >= step) until += other;
        }
        __syncthreads();
        if (lane == 31) warps[warp] = until;
        __syncthreads();
        A so_far = before, all = 0;
        for (u32 i = 0; i < blockDim.x / 32; i++) {
            if (i < warp) so_far += warps[i];
            all += warps[i];
        }
        A other = __shfl_up_sync(FULL_WARP, until, 1);
        if (lane > 0) so_far += other;
        for (u32 i = 0; i < EACH; i++) {
            A next = so_far + own[i];
            if (start + i < scan.n)
                put(scan.exclusive ? so_far : next, y + (start + i) * apart);
            so_far = next;
        }
        before += all;
    }
}

KERNEL_FLOATS(cumulative, 256, (const T *x, T *y, ScanLanes scan, u32 product), (x, y, scan, product))
KERNEL_INTEGERS(cumulative, 256, (const T *x, T *y, ScanLanes scan, u32 product), (x, y, scan, product))
KERNEL_FLOATS(cumulative_tiles, 256, (const T *x, T *y, ScanLanes scan), (x, y, scan))
KERNEL_INTEGERS(cumulative_tiles, 256, (const T *x, T *y, ScanLanes scan), (x, y, scan))

}  // namespace cumulative_

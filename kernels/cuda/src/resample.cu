// Weighted sums of elements along one axis, which is what a separable resize is.
#include "kernel.cuh"

namespace resample_ {

// y[o, i, :] = Σ t weights[i, t] x[o, indices[i, t], :], in the order of t.
template <class T>
DEVICE void resample(const T *x, const i32 *indices, const f32 *weights, T *y, u32 count, u32 n, u32 inner,
                     u32 extent, u32 taps) {
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += (u64)gridDim.x * blockDim.x) {
        u32 line = (u32)at / inner, column = (u32)at % inner, own = line % extent;
        const T *from = x + (u64)(line / extent) * n * inner + column;
        f32 sum = 0.0f;
#pragma unroll 4
        for (u32 t = 0; t < taps; t++) {
            u32 index = (u32)indices[(u64)own * taps + t];
            // Tables are checked where they are made; nothing outside of x is read in any case.
            if (index >= n) index = n - 1;
            sum = fmaf(to_f32(from[(u64)index * inner]), weights[(u64)own * taps + t], sum);
        }
        store(sum, y + at);
    }
}

KERNEL_FLOATS(resample, 256,
              (const T *x, const i32 *indices, const f32 *weights, T *y, u32 count, u32 n, u32 inner, u32 extent,
               u32 taps),
              (x, indices, weights, y, count, n, inner, extent, taps))

}  // namespace resample_

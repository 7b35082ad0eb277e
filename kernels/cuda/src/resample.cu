// Weighted sums of elements along one axis, which is what a separable resize is, and a resize's weights.
#include "indices.cuh"

// The same structure as in parameters.rs.
struct ResizeAxis {
    // Input elements a step of the output; how much wider the filter is; elements that it reaches on each side.
    f64 step, widening, reach;
    u32 n, extent, taps;
    // `enum ResizeMode` in resample.rs.
    u32 mode;
    u32 antialias, align_corners;
};

namespace resample_ {

// In the order of `enum ResizeMode` in resample.rs.
enum Mode : u32 { NEAREST, LINEAR, CUBIC };

// y[o, i, :] = Σ t weights[i, t] x[o, indices[i, t], :], in the order of t. An index beyond is reported, if
// there is a fault word, and taken for the last.
template <class T>
DEVICE void resample(const T *x, const i32 *indices, const f32 *weights, T *y, u64 *fault, u32 count, u32 n,
                     u32 inner, u32 extent, u32 taps) {
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += (u64)gridDim.x * blockDim.x) {
        u32 line = (u32)at / inner, column = (u32)at % inner, own = line % extent;
        const T *from = x + (u64)(line / extent) * n * inner + column;
        f32 sum = 0.0f;
#pragma unroll 4
        for (u32 t = 0; t < taps; t++) {
            u64 place = (u64)own * taps + t;
            u32 index = (u32)indices[place];
            if (index >= n) {
                if (fault) report(fault, place);
                index = n - 1;
            }
            sum = fmaf(to_f32(from[(u64)index * inner]), weights[place], sum);
        }
        store(sum, y + at);
    }
}

KERNEL_FLOATS(resample, 256,
              (const T *x, const i32 *indices, const f32 *weights, T *y, u64 *fault, u32 count, u32 n, u32 inner,
               u32 extent, u32 taps),
              (x, indices, weights, y, fault, count, n, inner, extent, taps))

// No product is joined with a sum: weights have the bits of the same formulas anywhere else.
DEVICE f64 plus(f64 a, f64 b) { return __dadd_rn(a, b); }
DEVICE f64 times(f64 a, f64 b) { return __dmul_rn(a, b); }

DEVICE f64 filter(const ResizeAxis &axis, f64 x) {
    x = fabs(x);
    f64 a = axis.antialias ? -0.5 : -0.75;
    if (axis.mode == LINEAR) return x < 1.0 ? plus(1.0, -x) : 0.0;
    if (x <= 1.0) return plus(times(times(plus(times(a + 2.0, x), -(a + 3.0)), x), x), 1.0);
    if (x >= 2.0) return 0.0;
    return plus(times(plus(times(plus(times(a, x), -5.0 * a), x), 8.0 * a), x), -4.0 * a);
}

// Indices and weights of `taps` elements for each of `extent` outputs.
DEVICE void resize_taps_body(i32 *indices, f32 *weights, const ResizeAxis &axis) {
    u32 position = blockIdx.x * blockDim.x + threadIdx.x;
    if (position >= axis.extent) return;
    f64 center = axis.align_corners ? times(position, axis.step)
                                    : plus(times(plus(position, 0.5), axis.step), -0.5);
    i64 last = (i64)axis.n - 1;
    indices += (u64)position * axis.taps, weights += (u64)position * axis.taps;
    if (axis.mode == NEAREST) {
        i64 index = (i64)ceil(plus(center, -0.5));
        indices[0] = (i32)min(max(index, 0ll), last);
        weights[0] = 1.0f;
        return;
    }
    i64 first = axis.antialias ? max((i64)ceil(plus(center, -axis.reach)), 0ll)
                               : (i64)floor(center) + 1 - (i64)axis.reach;
    f32 sum = 0.0f;
#pragma unroll 1
    for (u32 t = 0; t < axis.taps; t++) {
        i64 index = first + t;
        bool inside = index >= 0 && index <= last;
        f64 weight = filter(axis, __ddiv_rn(plus((f64)index, -center), axis.widening));
        weights[t] = axis.antialias && !inside ? 0.0f : (f32)weight;
        indices[t] = (i32)min(max(index, 0ll), last);
        sum += weights[t];
    }
    if (!axis.antialias || sum == 0.0f) return;
#pragma unroll 1
    for (u32 t = 0; t < axis.taps; t++) weights[t] = __fdiv_rn(weights[t], sum);
}

KERNEL_PLAIN(resize_taps, 128, (i32 *indices, f32 *weights, ResizeAxis axis), (indices, weights, axis))

}  // namespace resample_

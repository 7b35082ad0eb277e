// Convolutions of images, channels last, in which each channel has one filter of its own: a thread has
// some channels of a run of outputs.
#include "conv.cuh"

namespace conv_depthwise_ {

using namespace conv_;

// Outputs of a thread, next to each other along the last axis; RUN as in conv.rs.
constexpr u32 RUN = 4, THREADS = 128;

template <class T, u32 N> struct alignas(sizeof(T) * N) Vector { T at[N]; };

// Sums of a run for WIDTH channels. KERNEL and STRIDE are those of the last axis, whose taps lie next to
// each other; where KERNEL is 0 they are only known at run time.
template <class T, u32 WIDTH, u32 KERNEL, u32 STRIDE>
DEVICE void sum_run(const T *x, const T *w, const ConvShape &shape, u32 row, i32 left, f32 (&sums)[RUN][WIDTH]) {
    using Channels = Vector<T, WIDTH>;
    u32 kernel = KERNEL ? KERNEL : shape.kernel[2];
#pragma unroll 1
    for (u32 a = 0; a < shape.kernel[1]; a++) {
        i32 h = (i32)(row * shape.stride[1] + a * shape.dilation[1]) - shape.before[1];
        if ((u32)h >= shape.input[1]) continue;
        const T *from = x + (u64)h * shape.x_axis[1], *weights = w + (u64)a * kernel * shape.groups;
        if constexpr (KERNEL != 0) {
            Channels own[KERNEL];
#pragma unroll
            for (u32 b = 0; b < KERNEL; b++) own[b] = *(const Channels *)(weights + (u64)b * shape.groups);
#pragma unroll
            for (u32 j = 0; j < (RUN - 1) * STRIDE + KERNEL; j++) {
                i32 v = left + (i32)j;
                Channels value{};
                if ((u32)v < shape.input[2]) value = *(const Channels *)(from + (u64)v * shape.x_axis[2]);
#pragma unroll
                for (u32 t = 0; t < RUN; t++) {
                    if (j < t * STRIDE || j - t * STRIDE >= KERNEL) continue;
#pragma unroll
                    for (u32 e = 0; e < WIDTH; e++)
                        sums[t][e] = fmaf(to_f32(value.at[e]), to_f32(own[j - t * STRIDE].at[e]), sums[t][e]);
                }
            }
        } else {
#pragma unroll 1
            for (u32 b = 0; b < kernel; b++) {
                Channels own = *(const Channels *)(weights + (u64)b * shape.groups);
#pragma unroll
                for (u32 t = 0; t < RUN; t++) {
                    i32 v = left + (i32)(t * shape.stride[2] + b * shape.dilation[2]);
                    if ((u32)v >= shape.input[2]) continue;
                    Channels value = *(const Channels *)(from + (u64)v * shape.x_axis[2]);
#pragma unroll
                    for (u32 e = 0; e < WIDTH; e++)
                        sums[t][e] = fmaf(to_f32(value.at[e]), to_f32(own.at[e]), sums[t][e]);
                }
            }
        }
    }
}

// Activations of so few instructions that they may be there once for every number of a thread.
DEVICE bool is_short(u32 code) {
    return code == ACTIVATION_NONE || code == ACTIVATION_RELU || code == ACTIVATION_CLAMP || code == ACTIVATION_HARD_SWISH;
}

template <u32 WIDTH> DEVICE void activate_all(u32 code, f32 first, f32 second, f32 (&x)[RUN][WIDTH]) {
    if (code == ACTIVATION_NONE) return;
#pragma unroll
    for (u32 k = 0; k < RUN * WIDTH; k++) {
        f32 &own = x[k / WIDTH][k % WIDTH];
        if (code == ACTIVATION_RELU) own = activate(ACTIVATION_RELU, first, second, own);
        else if (code == ACTIVATION_CLAMP) own = activate(ACTIVATION_CLAMP, first, second, own);
        else own = activate(ACTIVATION_HARD_SWISH, first, second, own);
    }
}

// Finishes and stores a run whose end is short.
template <class T, u32 WIDTH>
DEVICE void store_short(f32 (&sums)[RUN][WIDTH], const T *bias, const T *residual, T *y, const ConvShape &shape,
                        const Ending &ending, u64 at, u32 channel, u32 left_over) {
    using Channels = Vector<T, WIDTH>;
    if (bias) {
#pragma unroll
        for (u32 e = 0; e < WIDTH; e++) {
            f32 own = to_f32(bias[channel + e]);
#pragma unroll
            for (u32 t = 0; t < RUN; t++) sums[t][e] += own;
        }
    }
    activate_all<WIDTH>(ending.activation, ending.first, ending.second, sums);
    if (residual) {
#pragma unroll
        for (u32 t = 0; t < RUN; t++) {
            if (t >= left_over) break;
#pragma unroll
            for (u32 e = 0; e < WIDTH; e++) sums[t][e] += to_f32(residual[at + (u64)t * shape.y_position + e]);
        }
    }
    activate_all<WIDTH>(ending.last, ending.last_first, ending.last_second, sums);
#pragma unroll
    for (u32 t = 0; t < RUN; t++) {
        if (t >= left_over) break;
        Channels out;
#pragma unroll
        for (u32 e = 0; e < WIDTH; e++) store(sums[t][e], &out.at[e]);
        *(Channels *)(y + at + (u64)t * shape.y_position) = out;
    }
}

template <class T, u32 WIDTH, u32 KERNEL, u32 STRIDE>
DEVICE void runs(f32 *staged, const T *x, const T *w, const T *bias, const T *residual, T *y,
                 const ConvShape &shape, const Ending &ending) {
    u32 vectors = shape.groups / WIDTH, across = (shape.output[2] + RUN - 1) / RUN;
    u64 count = (u64)shape.images * shape.output[1] * across * vectors;
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < count; i += (u64)gridDim.x * THREADS) {
        u32 own = (u32)i, channel = own % vectors * WIDTH, first = own / vectors % across * RUN;
        u32 line = own / vectors / across, image = line / shape.output[1], row = line % shape.output[1];
        i32 left = (i32)(first * shape.stride[2]) - shape.before[2];
        f32 sums[RUN][WIDTH] = {};
        sum_run<T, WIDTH, KERNEL, STRIDE>(x + (u64)image * shape.x_image + channel, w + channel, shape, row, left, sums);
        u64 at = (u64)image * shape.y_image + (u64)(row * shape.output[2] + first) * shape.y_position + channel;
        u32 left_over = min(shape.output[2] - first, RUN);
        if (!ending.is_scaled && is_short(ending.activation) && is_short(ending.last)) {
            store_short<T, WIDTH>(sums, bias, residual, y, shape, ending, at, channel, left_over);
            continue;
        }
        // Through memory, for the code of the activations to be there once.
#pragma unroll
        for (u32 k = 0; k < RUN * WIDTH; k++) staged[k * THREADS + threadIdx.x] = sums[k / WIDTH][k % WIDTH];
#pragma unroll 1
        for (u32 k = 0; k < left_over * WIDTH; k++) {
            f32 sum = staged[k * THREADS + threadIdx.x];
            u64 to = at + (u64)(k / WIDTH) * shape.y_position + k % WIDTH;
            if (bias) sum += to_f32(bias[channel + k % WIDTH]);
            f32 other = residual ? to_f32(residual[to]) : 0.0f;
            staged[k * THREADS + threadIdx.x] = finish(ending, sum, residual != nullptr, other);
        }
#pragma unroll
        for (u32 t = 0; t < RUN; t++) {
            if (t >= left_over) break;
            Vector<T, WIDTH> out;
#pragma unroll
            for (u32 e = 0; e < WIDTH; e++) store(staged[(t * WIDTH + e) * THREADS + threadIdx.x], &out.at[e]);
            *(Vector<T, WIDTH> *)(y + at + (u64)t * shape.y_position) = out;
        }
    }
}

template <class T>
DEVICE void conv_depthwise(const T *x, const T *w, const T *bias, const T *residual, T *y,
                           const ConvShape &shape, const Ending &ending) {
    constexpr u32 WIDTH = 16 / sizeof(T);
    __shared__ f32 staged[RUN * WIDTH * THREADS];
    u32 kernel = shape.dilation[2] == 1 ? shape.kernel[2] : 0, stride = shape.stride[2];
    if (!shape.x_vectors) runs<T, 1, 0, 0>(staged, x, w, bias, residual, y, shape, ending);
    else if (kernel == 3 && stride == 1) runs<T, WIDTH, 3, 1>(staged, x, w, bias, residual, y, shape, ending);
    else if (kernel == 3 && stride == 2) runs<T, WIDTH, 3, 2>(staged, x, w, bias, residual, y, shape, ending);
    else if (kernel == 5 && stride == 1) runs<T, WIDTH, 5, 1>(staged, x, w, bias, residual, y, shape, ending);
    else if (kernel == 5 && stride == 2) runs<T, WIDTH, 5, 2>(staged, x, w, bias, residual, y, shape, ending);
    else runs<T, WIDTH, 0, 0>(staged, x, w, bias, residual, y, shape, ending);
}

KERNEL_FLOATS(conv_depthwise, 128,
              (const T *x, const T *w, const T *bias, const T *residual, T *y, ConvShape shape, Ending ending),
              (x, w, bias, residual, y, shape, ending))

}  // namespace conv_depthwise_

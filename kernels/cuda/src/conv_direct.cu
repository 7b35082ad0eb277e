// Convolutions whose groups are too small for tiles (depthwise ones above all), and transposed ones: a
// thread sums one output.
#include "conv.cuh"

namespace conv_direct_ {

using namespace conv_;

// Term `tap` of the sum at `position` along one axis: where it lies, or that it lies nowhere. Of a
// transposed convolution positions are those of its output.
DEVICE i32 place(const ConvShape &shape, u32 axis, u32 position, u32 tap, bool transposed) {
    i32 offset = (i32)(tap * shape.dilation[axis]), stride = (i32)shape.stride[axis];
    if (!transposed) return (i32)position * stride + offset - shape.before[axis];
    i32 reach = (i32)position + shape.before[axis] - offset;
    return reach % stride ? -1 : reach / stride;
}

template <class T>
DEVICE f32 sum_of(const T *x, const T *w, const ConvShape &shape, const u32 (&at)[3], bool transposed) {
    f32 sum = 0.0f;
#pragma unroll 1
    for (u32 channel = 0; channel < shape.channels; channel++) {
        u32 tap = 0;
#pragma unroll 1
        for (u32 a = 0; a < shape.kernel[0]; a++) {
            i32 z = place(shape, 0, at[0], a, transposed);
#pragma unroll 1
            for (u32 b = 0; b < shape.kernel[1]; b++) {
                i32 h = place(shape, 1, at[1], b, transposed);
                bool row = (u32)z < shape.input[0] && (u32)h < shape.input[1];
#pragma unroll 2
                for (u32 c = 0; c < shape.kernel[2]; c++, tap++) {
                    i32 v = place(shape, 2, at[2], c, transposed);
                    if (!row || (u32)v >= shape.input[2]) continue;
                    u64 from = (u64)channel * shape.x_channel + (u64)z * shape.x_axis[0] +
                               (u64)h * shape.x_axis[1] + (u64)v * shape.x_axis[2];
                    f32 weight = to_f32(w[(u64)channel * shape.w_channel + (u64)tap * shape.w_tap]);
                    sum = fmaf(to_f32(x[from]), weight, sum);
                }
            }
        }
    }
    return sum;
}

template <class T>
DEVICE void conv_direct(const T *x, const T *w, const T *bias, const T *residual, T *y, const ConvShape &shape,
                        const Ending &ending, u32 transposed) {
    u32 outputs = outputs_of(shape), all = shape.groups * shape.filters;
    u64 count = (u64)shape.images * outputs * all;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (u64)gridDim.x * blockDim.x) {
        u32 rest = (u32)i;
        u32 filter = shape.last ? rest % all : rest / outputs % all;
        u32 position = shape.last ? rest / all % outputs : rest % outputs;
        u32 image = rest / all / outputs, group = filter / shape.filters;
        u32 at[3] = {position / shape.output[2] / shape.output[1], position / shape.output[2] % shape.output[1],
                     position % shape.output[2]};
        const T *own_x = x + (u64)image * shape.x_image + (u64)group * shape.channels * shape.x_channel;
        const T *own_w = w + (u64)(filter % shape.filters) * shape.w_filter;
        // Weights of a transposed convolution begin with the channels of all groups.
        own_w += transposed ? (u64)group * shape.channels * shape.w_channel
                            : (u64)group * shape.filters * shape.w_filter;
        f32 sum = sum_of(own_x, own_w, shape, at, transposed);
        u64 to = (u64)image * shape.y_image + (u64)filter * shape.y_filter + (u64)position * shape.y_position;
        store_sum(sum, to, filter, bias, residual, y, ending);
    }
}

KERNEL_FLOATS(conv_direct, 256,
              (const T *x, const T *w, const T *bias, const T *residual, T *y, ConvShape shape, Ending ending,
               u32 transposed),
              (x, w, bias, residual, y, shape, ending, transposed))

}  // namespace conv_direct_

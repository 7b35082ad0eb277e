// What the forms of convolution share: extents, where a window lies, how a sum is stored.
#pragma once
#include "finish.cuh"

// A convolution of up to three spatial axes; strides in elements, channels and filters of one group.
// Products are summed over k = channel taps + tap, or with `last` over k = tap channels + channel.
struct ConvShape {
    u32 groups, channels, filters;
    u32 images, taps;
    u32 input[3], output[3], kernel[3], stride[3], dilation[3];
    i32 before[3];
    u32 x_image, x_channel, x_axis[3];
    u32 y_image, y_filter, y_position;
    u32 w_filter, w_channel, w_tap;
    // Whether channels lie next to each other in x and y.
    u32 last;
    // Whether 16 bytes of channels of x, and of a filter, are aligned and whole.
    u32 x_vectors, w_vectors;
    // Blocks that share the sum of an output, and terms of each: a multiple of 32.
    u32 splits, terms;
};

namespace conv_ {

// Beyond every extent.
constexpr i32 OUTSIDE = 1 << 29;

// Where the window of an output begins.
struct Position {
    i32 offset, z, h, w;
};
// Where one term of the sum lies relative to that.
struct Tap {
    i32 offset, z, h, w;
};

DEVICE u32 outputs_of(const ConvShape &shape) { return shape.output[0] * shape.output[1] * shape.output[2]; }

DEVICE Position position_of(const ConvShape &shape, u32 index, u32 outputs) {
    if (index >= shape.images * outputs) return {0, OUTSIDE, OUTSIDE, OUTSIDE};
    u32 image = index / outputs, rest = index % outputs;
    Position at;
    at.w = (i32)(rest % shape.output[2] * shape.stride[2]) - shape.before[2];
    rest /= shape.output[2];
    at.h = (i32)(rest % shape.output[1] * shape.stride[1]) - shape.before[1];
    at.z = (i32)(rest / shape.output[1] * shape.stride[0]) - shape.before[0];
    at.offset = (i32)(image * shape.x_image + at.z * shape.x_axis[0] + at.h * shape.x_axis[1] +
                      at.w * shape.x_axis[2]);
    return at;
}

DEVICE Tap tap_of(const ConvShape &shape, u32 k) {
    if (k >= shape.channels * shape.taps) return {0, OUTSIDE, OUTSIDE, OUTSIDE};
    u32 channel = shape.last ? k % shape.channels : k / shape.taps;
    u32 tap = shape.last ? k / shape.channels : k % shape.taps;
    Tap at;
    at.w = (i32)(tap % shape.kernel[2] * shape.dilation[2]);
    tap /= shape.kernel[2];
    at.h = (i32)(tap % shape.kernel[1] * shape.dilation[1]);
    at.z = (i32)(tap / shape.kernel[1] * shape.dilation[0]);
    at.offset = (i32)(channel * shape.x_channel + at.z * shape.x_axis[0] + at.h * shape.x_axis[1] +
                      at.w * shape.x_axis[2]);
    return at;
}

DEVICE bool is_inside(const ConvShape &shape, const Position &position, const Tap &tap) {
    return (u32)(position.z + tap.z) < shape.input[0] && (u32)(position.h + tap.h) < shape.input[1] &&
           (u32)(position.w + tap.w) < shape.input[2];
}

// Stores a complete sum.
template <class T>
DEVICE void store_sum(f32 sum, u64 at, u32 filter, const T *bias, const T *residual, T *y, const Ending &ending) {
    if (bias) sum += to_f32(bias[filter]);
    store(finish(ending, sum, residual != nullptr, residual ? to_f32(residual[at]) : 0.0f), y + at);
}

}  // namespace conv_

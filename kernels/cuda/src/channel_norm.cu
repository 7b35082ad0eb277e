// Batch norm with stored statistics, and group norm, of [batch, channels, inner].
#include "row.cuh"

namespace channel_norm_ {

// (x - mean) / sqrt(variance + epsilon) * scale + bias of one number.
DEVICE f32 normalized(f32 x, f32 mean, f32 factor, f32 bias) { return fmaf(x - mean, factor, bias); }

template <class T> DEVICE void batch_norm(ChannelRows rows, const T *means, const T *variances, f32 epsilon, u32 n, u32 vector) {
    constexpr u32 COUNT = Part<T>::COUNT;
    const T *x = (const T *)rows.x, *scales = (const T *)rows.scale, *biases = (const T *)rows.bias;
    u32 step = gridDim.x * blockDim.x;
    if (vector) {
        for (u64 i = (u64)(blockIdx.x * blockDim.x + threadIdx.x) * COUNT; i < n; i += (u64)step * COUNT) {
            u32 channel = (u32)i / rows.inner % rows.channels;
            f32 part[COUNT], mean = to_f32(means[channel]), bias = to_f32(biases[channel]);
            f32 factor = to_f32(scales[channel]) / sqrtf(to_f32(variances[channel]) + epsilon);
            load_part(x, (u32)i, n, true, 0.0f, part);
            for (u32 k = 0; k < COUNT; k++) part[k] = normalized(part[k], mean, factor, bias);
            store_part((T *)rows.y, (u32)i, n, true, part);
        }
        return;
    }
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        u32 channel = (u32)i / rows.inner % rows.channels;
        f32 factor = to_f32(scales[channel]) / sqrtf(to_f32(variances[channel]) + epsilon);
        f32 y = normalized(to_f32(x[i]), to_f32(means[channel]), factor, to_f32(biases[channel]));
        store(y, (T *)rows.y + i);
    }
}

// A block a group of channels of an item: mean, then squares around it. If `vector`, each part is in
// one channel.
template <class T> DEVICE void group_norm(ChannelRows rows, u32 groups, f32 epsilon, u32 n, u32 vector) {
    constexpr u32 COUNT = Part<T>::COUNT;
    __shared__ f32 scratch[32];
    const T *x = (const T *)rows.x + (u64)blockIdx.x * n;
    const T *scales = (const T *)rows.scale, *biases = (const T *)rows.bias;
    T *y = (T *)rows.y + (u64)blockIdx.x * n;
    u32 first = blockIdx.x % groups * (rows.channels / groups);
    f32 sum = 0.0f, squares = 0.0f;
    each_part_again<T>(n, [&](u32 column) {
        f32 part[COUNT];
        load_part(x, column, n, vector, 0.0f, part);
        for (u32 i = 0; i < COUNT; i++) sum += part[i];
    });
    f32 mean = block_sum(sum, scratch) / (f32)n;
    each_part_again<T>(n, [&](u32 column) {
        f32 part[COUNT];
        load_part(x, column, n, vector, 0.0f, part);
        for (u32 i = 0; i < COUNT; i++)
            if (column + i < n) squares = fmaf(part[i] - mean, part[i] - mean, squares);
    });
    f32 scale = 1.0f / sqrtf(block_sum(squares, scratch) / (f32)n + epsilon);
    each_part_again<T>(n, [&](u32 column) {
        f32 part[COUNT];
        load_part(x, column, n, vector, 0.0f, part);
        u32 channel = first + column / rows.inner;
        for (u32 i = 0; i < COUNT && column + i < n; i++) {
            if (!vector) channel = first + (column + i) / rows.inner;
            f32 factor = to_f32(scales[channel]) * scale;
            part[i] = normalized(part[i], mean, factor, to_f32(biases[channel]));
        }
        store_part(y, column, n, vector, part);
    });
}

KERNEL_FLOATS(batch_norm, 256, (ChannelRows rows, const T *means, const T *variances, f32 epsilon, u32 n, u32 vector), (rows, means, variances, epsilon, n, vector))
KERNEL_FLOATS(group_norm, 1024, (ChannelRows rows, u32 groups, f32 epsilon, u32 n, u32 vector), (rows, groups, epsilon, n, vector))

}  // namespace channel_norm_

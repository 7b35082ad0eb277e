// Softmax and its logarithm, along rows and along columns.
#include "row.cuh"

namespace softmax_ {

// 0 for a lane of -inf, whose differences would be NaN.
DEVICE f32 base_of(f32 largest) { return largest == -F32_INFINITY ? 0.0f : largest; }

// The largest of what was seen, and the sum of exp(x - base_of(largest)). A sum of NaN stays one.
struct Sum {
    f32 largest, sum;
};

// What turns the numbers of a lane into results.
struct Scale {
    f32 largest, factor, shift;
};

DEVICE Scale scale_of(f32 largest, f32 sum, bool logarithm) {
    f32 factor = sum == 0.0f ? 0.0f : 1.0f / sum;
    return {logarithm ? largest : base_of(largest), factor, logarithm ? logf(sum) : 0.0f};
}

DEVICE f32 scaled(const Scale &by, f32 x, bool logarithm) {
    if (logarithm) return by.largest == -F32_INFINITY ? x : (x - by.largest) - by.shift;
    return expf(x - by.largest) * by.factor;
}

template <u32 COUNT> DEVICE void add(Sum &to, f32 largest, const f32 *x) {
    f32 base = base_of(largest);
    to.sum *= expf(to.largest - base);
    to.largest = largest;
#pragma unroll
    for (u32 i = 0; i < COUNT; i++) to.sum += expf(x[i] - base);
}

// The larger of two numbers, NaN if one is.
DEVICE f32 larger(f32 a, f32 b) { return a > b || a != a ? a : b; }

// A row in three passes: largest, sum, result.
template <class T> DEVICE void row_again(const T *x, T *y, u32 n, bool logarithm, bool vector) {
    constexpr u32 COUNT = Part<T>::COUNT;
    __shared__ f32 scratch[32];
    f32 largest = -F32_INFINITY, sum = 0.0f;
    each_part_again<T>(n, [&](u32 column) {
        f32 part[COUNT];
        load_part(x, column, n, vector, -F32_INFINITY, part);
        for (u32 i = 0; i < COUNT; i++) largest = fmaxf(largest, part[i]);
    });
    largest = block_max(largest, scratch);
    f32 base = base_of(largest);
    each_part_again<T>(n, [&](u32 column) {
        f32 part[COUNT];
        load_part(x, column, n, vector, -F32_INFINITY, part);
        for (u32 i = 0; i < COUNT; i++) sum += expf(part[i] - base);
    });
    Scale scale = scale_of(largest, block_sum(sum, scratch), logarithm);
    each_part_again<T>(n, [&](u32 column) {
        f32 part[COUNT];
        load_part(x, column, n, vector, 0.0f, part);
        for (u32 i = 0; i < COUNT; i++) part[i] = scaled(scale, part[i], logarithm);
        store_part(y, column, n, vector, part);
    });
}

// Rows of `n`; a group of threads each.
template <class T>
DEVICE void softmax_rows(const T *x, T *y, u32 rows, u32 n, u32 logarithm, u32 vector) {
    constexpr u32 COUNT = Part<T>::COUNT;
    __shared__ f32 scratch[32];
    u32 row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    x += (u64)row * n;
    y += (u64)row * n;
    if (!is_kept(n, vector)) return row_again(x, y, n, logarithm, vector);
    f32 own[ROW_ITEMS];
    f32 largest = -F32_INFINITY, sum = 0.0f;
    each_part<T>(n, [&](u32 item, u32 column) {
        load_part(x, column, n, true, -F32_INFINITY, own + item);
        for (u32 i = 0; i < COUNT; i++) largest = fmaxf(largest, own[item + i]);
    });
    largest = block_max(largest, scratch);
    f32 base = base_of(largest);
    each_part<T>(n, [&](u32 item, u32) {
        for (u32 i = 0; i < COUNT; i++) {
            f32 power = expf(own[item + i] - base);
            sum += power;
            own[item + i] = logarithm ? own[item + i] : power;
        }
    });
    Scale scale = scale_of(largest, block_sum(sum, scratch), logarithm);
    each_part<T>(n, [&](u32 item, u32 column) {
        for (u32 i = 0; i < COUNT; i++) {
            f32 at = own[item + i];
            own[item + i] = logarithm ? scaled(scale, at, true) : at * scale.factor;
        }
        store_part(y, column, n, true, own + item);
    });
}

// Lanes of [outer, n, inner] along the middle axis; the threads of a block along y share one.
template <class T>
DEVICE void softmax_columns(const T *x, T *y, u32 columns, u32 n, u32 inner, u32 logarithm) {
    constexpr u32 COUNT = 4;
    __shared__ Sum parts[1024];
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    bool active = column < columns;
    u64 start = (u64)(column / inner) * n * inner + column % inner;
    u32 step = blockDim.y;
    Sum own = {-F32_INFINITY, 0.0f};
    for (u32 first = threadIdx.y; active && first < n; first += COUNT * step) {
        f32 part[COUNT], largest = own.largest;
#pragma unroll
        for (u32 i = 0; i < COUNT; i++) {
            u32 place = first + i * step;
            part[i] = place < n ? to_f32(x[start + (u64)place * inner]) : -F32_INFINITY;
            largest = larger(largest, part[i]);
        }
        add<COUNT>(own, largest, part);
    }
    if (blockDim.y > 1) {
        parts[threadIdx.y * blockDim.x + threadIdx.x] = own;
        __syncthreads();
        f32 largest = -F32_INFINITY, sum = 0.0f;
        for (u32 i = 0; i < blockDim.y; i++)
            largest = larger(largest, parts[i * blockDim.x + threadIdx.x].largest);
        for (u32 i = 0; i < blockDim.y; i++) {
            const Sum &part = parts[i * blockDim.x + threadIdx.x];
            sum += part.sum * expf(part.largest - base_of(largest));
        }
        own.largest = largest;
        own.sum = sum;
    }
    Scale scale = scale_of(own.largest, own.sum, logarithm);
    for (u32 place = threadIdx.y; active && place < n; place += step) {
        u64 at = start + (u64)place * inner;
        store(scaled(scale, to_f32(x[at]), logarithm), y + at);
    }
}

KERNEL_FLOATS(softmax_rows, 512, (const T *x, T *y, u32 rows, u32 n, u32 logarithm, u32 vector), (x, y, rows, n, logarithm, vector))
KERNEL_FLOATS(softmax_columns, 1024, (const T *x, T *y, u32 columns, u32 n, u32 inner, u32 logarithm), (x, y, columns, n, inner, logarithm))

}  // namespace softmax_

// Layer norm, RMS norm and unit length of rows, perhaps of a sum of two tensors.
#include "row.cuh"

namespace norm_ {

// In the order of `enum Norm` in norm.rs.
enum Kind : u32 { LAYER, RMS, UNIT };

// Factor on a row, from its sum of squares around the mean.
DEVICE f32 factor_of(u32 kind, f32 squares, u32 n, f32 epsilon) {
    if (kind != UNIT) return 1.0f / sqrtf(squares / (f32)n + epsilon);
    f32 length = sqrtf(squares);
    return 1.0f / (length < epsilon ? epsilon : length);
}

// Factors and summands of columns; either may be absent.
template <class T> DEVICE void affine(const T *weight, const T *bias, u32 column, u32 n, bool vector, f32 *x) {
    constexpr u32 COUNT = Part<T>::COUNT;
    f32 own[COUNT], added[COUNT];
    if (!weight) return;
    load_part(weight, column, n, vector, 0.0f, own);
    if (bias) load_part(bias, column, n, vector, 0.0f, added);
#pragma unroll
    for (u32 i = 0; i < COUNT; i++) x[i] = bias ? fmaf(x[i], own[i], added[i]) : x[i] * own[i];
}

// A part of x, or of x + y rounded to T.
template <class T>
DEVICE void load_sum(const T *x, const T *y, u32 column, u32 n, bool vector, f32 *to) {
    constexpr u32 COUNT = Part<T>::COUNT;
    load_part(x, column, n, vector, 0.0f, to);
    if (!y) return;
    f32 added[COUNT];
    load_part(y, column, n, vector, 0.0f, added);
#pragma unroll
    for (u32 i = 0; i < COUNT; i++) to[i] = to_f32(from_f32<T>(to[i] + added[i]));
}

// A row in three passes: mean, squares around it, result.
template <class T>
DEVICE void row_again(const NormRows &rows, u64 start, u32 kind, f32 epsilon, bool vector) {
    constexpr u32 COUNT = Part<T>::COUNT;
    __shared__ f32 scratch[32];
    u32 n = rows.n;
    const T *x = (const T *)rows.x + start, *added = (const T *)rows.added + start;
    if (!rows.added) added = nullptr;
    f32 sum = 0.0f, squares = 0.0f;
    each_part_again<T>(n, [&](u32 column) {
        f32 part[COUNT];
        load_sum(x, added, column, n, vector, part);
        if (rows.sum) store_part((T *)rows.sum + start, column, n, vector, part);
        for (u32 i = 0; i < COUNT; i++) sum += part[i];
    });
    if (rows.sum) {
        x = (const T *)rows.sum + start;
        added = nullptr;
    }
    f32 mean = kind == LAYER ? block_sum(sum, scratch) / (f32)n : 0.0f;
    each_part_again<T>(n, [&](u32 column) {
        f32 part[COUNT];
        load_sum(x, added, column, n, vector, part);
        for (u32 i = 0; i < COUNT; i++)
            if (column + i < n) squares = fmaf(part[i] - mean, part[i] - mean, squares);
    });
    f32 factor = factor_of(kind, block_sum(squares, scratch), n, epsilon);
    each_part_again<T>(n, [&](u32 column) {
        f32 part[COUNT];
        load_sum(x, added, column, n, vector, part);
        for (u32 i = 0; i < COUNT; i++) part[i] = (part[i] - mean) * factor;
        affine((const T *)rows.weight, (const T *)rows.bias, column, n, vector, part);
        store_part((T *)rows.y + start, column, n, vector, part);
    });
}

// A group of threads a row.
template <class T> DEVICE void norm(NormRows rows, u32 kind, f32 epsilon, u32 vector) {
    constexpr u32 COUNT = Part<T>::COUNT;
    __shared__ f32 scratch[32];
    u32 row = blockIdx.x * blockDim.y + threadIdx.y, n = rows.n;
    if (row >= rows.rows) return;
    u64 start = (u64)row * n;
    if (!is_kept(n, vector)) return row_again<T>(rows, start, kind, epsilon, vector);
    const T *x = (const T *)rows.x + start, *added = (const T *)rows.added + start;
    if (!rows.added) added = nullptr;
    f32 own[ROW_ITEMS], sum = 0.0f, squares = 0.0f;
    each_part<T>(n, [&](u32 item, u32 column) {
        load_sum(x, added, column, n, true, own + item);
        if (rows.sum) store_part((T *)rows.sum + start, column, n, true, own + item);
        for (u32 i = 0; i < COUNT; i++) sum += own[item + i];
    });
    f32 mean = kind == LAYER ? block_sum(sum, scratch) / (f32)n : 0.0f;
    each_part<T>(n, [&](u32 item, u32 column) {
        for (u32 i = 0; i < COUNT; i++) {
            own[item + i] -= mean;
            if (column + i < n) squares = fmaf(own[item + i], own[item + i], squares);
        }
    });
    f32 factor = factor_of(kind, block_sum(squares, scratch), n, epsilon);
    each_part<T>(n, [&](u32 item, u32 column) {
        for (u32 i = 0; i < COUNT; i++) own[item + i] *= factor;
        affine((const T *)rows.weight, (const T *)rows.bias, column, n, true, own + item);
        store_part((T *)rows.y + start, column, n, true, own + item);
    });
}

KERNEL_FLOATS(norm, 1024, (NormRows rows, u32 kind, f32 epsilon, u32 vector), (rows, kind, epsilon, vector))

}  // namespace norm_

// Selecting slices, elements and tuples by index. What a bad index selects is 0.
#include "indices.cuh"

namespace gather_ {

// y[o, i, :] = x[o, indices[i], :] for x of [outer, extent, inner] words.
template <class T>
DEVICE void gather(const T *x, const void *indices, T *y, u64 *fault, u32 words, u32 inner,
                   u32 count, u32 extent, u32 index_type) {
    u32 step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) {
        u32 row = (u32)i / inner, word = (u32)i - row * inner;
        u32 outer = row / count, number = row - outer * count;
        i64 index = index_at(indices, index_type, number);
        T found = {};
        if (within(index, extent)) found = x[((u64)outer * extent + (u32)index) * inner + word];
        else if (outer == 0 && word == 0) report(fault, number);
        y[i] = found;
    }
}

// y[i] = x[its place, with `indices[i]` along one axis]; all axes of the indices in `layout`.
template <class T>
DEVICE void gather_elements(const T *x, const void *indices, T *y, u64 *fault,
                            const Strides &layout, const Along &along) {
    u32 step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < layout.words; i += step) {
        u32 rest = (u32)i;
        u64 at = 0;
#pragma unroll 1
        for (u32 axis = 0; axis < layout.axes; axis++) {
            u32 outer = axis + 1 == layout.axes ? 0 : rest / layout.extents[axis];
            at += (u64)(rest - outer * layout.extents[axis]) * (u32)layout.to[axis];
            rest = outer;
        }
        i64 index = index_at(indices, along.index_type, i);
        T found = {};
        if (within(index, along.extent)) found = x[at + (u64)index * along.stride];
        else report(fault, i);
        y[i] = found;
    }
}

// y[b, t, :] = x[b, tuple[b, t].., :].
template <class T>
DEVICE void gather_tuples(const T *x, const void *indices, T *y, u64 *fault, const Tuples &layout) {
    u32 words = layout.batch * layout.tuples * layout.slice, step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) {
        u32 tuple = (u32)i / layout.slice, word = (u32)i - tuple * layout.slice;
        u32 at = slice_of(layout, indices, tuple, fault, word == 0);
        T found = {};
        if (at != NOWHERE) found = x[at + word];
        y[i] = found;
    }
}

// Reports bad tuples and does nothing else: for values without elements.
DEVICE void check_tuples_body(const void *indices, u64 *fault, const Tuples &layout) {
    u32 tuples = layout.batch * layout.tuples, step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < tuples; i += step)
        slice_of(layout, indices, (u32)i, fault, true);
}

KERNEL_SIZES(gather, 256,
             (const T *x, const void *indices, T *y, u64 *fault, u32 words, u32 inner, u32 count,
              u32 extent, u32 index_type),
             (x, indices, y, fault, words, inner, count, extent, index_type))
KERNEL(gather, b128, ::uint4, 256,
       (const T *x, const void *indices, T *y, u64 *fault, u32 words, u32 inner, u32 count,
        u32 extent, u32 index_type),
       (x, indices, y, fault, words, inner, count, extent, index_type))
KERNEL_SIZES(gather_elements, 256,
             (const T *x, const void *indices, T *y, u64 *fault,
              const __grid_constant__ Strides layout, const __grid_constant__ Along along),
             (x, indices, y, fault, layout, along))
KERNEL_SIZES(gather_tuples, 256,
             (const T *x, const void *indices, T *y, u64 *fault,
              const __grid_constant__ Tuples layout),
             (x, indices, y, fault, layout))
KERNEL(gather_tuples, b128, ::uint4, 256,
       (const T *x, const void *indices, T *y, u64 *fault,
        const __grid_constant__ Tuples layout),
       (x, indices, y, fault, layout))
KERNEL_PLAIN(check_tuples, 256,
             (const void *indices, u64 *fault, const __grid_constant__ Tuples layout),
             (indices, fault, layout))

}  // namespace gather_

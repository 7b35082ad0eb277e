// Choice between two values, element by element, with repeated axes.
#include "layout.cuh"

namespace select_ {

template <u32 N, class T>
DEVICE void
chosen(const u8 *condition, const T *x, const T *y, T *out, const Broadcasting &layout) {
    bool repeat_condition = layout.strides[0][0] == 0;
    bool repeat_x = layout.strides[1][0] == 0, repeat_y = layout.strides[2][0] == 0;
    u32 step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < layout.groups; i += step) {
        u32 at[3];
        places(layout, (u32)i, at);
        Pack<u8, N> which = fetch<N>(condition, at[0], repeat_condition);
        Pack<T, N> left = fetch<N>(x, at[1], repeat_x), right = fetch<N>(y, at[2], repeat_y);
#pragma unroll
        for (u32 k = 0; k < N; k++) left.at[k] = which.at[k] ? left.at[k] : right.at[k];
        reinterpret_cast<Pack<T, N> *>(out)[i] = left;
    }
}

template <class T>
DEVICE void
select(const u8 *condition, const T *x, const T *y, T *out, const Broadcasting &layout) {
    if (layout.width == 1) return chosen<1>(condition, x, y, out, layout);
    chosen<pack_size<T>()>(condition, x, y, out, layout);
}

KERNEL_SIZES(select, 256,
             (const u8 *condition, const T *x, const T *y, T *out,
              const __grid_constant__ Broadcasting layout),
             (condition, x, y, out, layout))

}  // namespace select_

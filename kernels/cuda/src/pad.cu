// A value with a margin.
#include "layout.cuh"

namespace pad_ {

// In the order of `enum PadMode` in pad.rs.
enum Mode : u32 { CONSTANT, EDGE, REFLECT, WRAP };

// Which of `n` words the one at `i`, outside of them, repeats.
DEVICE i64 source(u32 mode, i64 i, i64 n) {
    switch (mode) {
    case EDGE: return i < 0 ? 0 : n - 1;
    case REFLECT: return i < 0 ? -i : 2 * (n - 1) - i;
    default: return i < 0 ? n - 1 - (-1 - i) % n : i % n;
    }
}

template <class T> DEVICE void pad(const T *x, T *y, const Margins &layout, u32 mode, u64 fill) {
    u32 step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < layout.words; i += step) {
        u32 rest = (u32)i;
        u64 at = 0;
        bool inside = true;
#pragma unroll 1
        for (u32 axis = 0; axis < layout.axes; axis++) {
            u32 outer = axis + 1 == layout.axes ? 0 : rest / layout.extents[axis];
            i64 index = (i64)(rest - outer * layout.extents[axis]) - layout.before[axis];
            rest = outer;
            if (index < 0 || index >= layout.inner[axis]) {
                inside = inside && mode != CONSTANT;
                if (mode != CONSTANT) index = source(mode, index, layout.inner[axis]);
            }
            at += (u64)index * layout.strides[axis];
        }
        y[i] = inside ? x[at] : (T)fill;
    }
}

KERNEL_SIZES(pad, 256,
             (const T *x, T *y, const __grid_constant__ Margins layout, u32 mode, u64 fill),
             (x, y, layout, mode, fill))

}  // namespace pad_

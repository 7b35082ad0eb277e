// Between floats and integers with a scale and a zero point.
#include "kernel.cuh"

namespace quantize_ {

// In the order of `enum Quantum` in quantize.rs.
enum Quantum : u32 { I8, U8, I16, U16, I32 };
// In the order of `enum Scale` in quantize.rs.
enum Scale : u32 { F32, F16, BF16 };

DEVICE i64 load_quantum(const void *x, u32 type, u32 place) {
    switch (type) {
    case I8: return ((const i8 *)x)[place];
    case U8: return ((const u8 *)x)[place];
    case I16: return ((const i16 *)x)[place];
    case U16: return ((const u16 *)x)[place];
    }
    return ((const i32 *)x)[place];
}

DEVICE i64 clamped(i64 x, i64 least, i64 most) { return x < least ? least : x > most ? most : x; }

DEVICE void store_quantum(i64 x, void *to, u32 type, u32 place) {
    switch (type) {
    case I8: ((i8 *)to)[place] = (i8)clamped(x, -128, 127); return;
    case U8: ((u8 *)to)[place] = (u8)clamped(x, 0, 255); return;
    case I16: ((i16 *)to)[place] = (i16)clamped(x, -32768, 32767); return;
    case U16: ((u16 *)to)[place] = (u16)clamped(x, 0, 65535); return;
    }
    ((i32 *)to)[place] = (i32)clamped(x, -2147483647 - 1, 2147483647);
}

// Of the element at a place of [outer, n, inner], whose index along the middle axis this is.
DEVICE f32 scale_of(const QuantizeLanes &lanes, u32 index) {
    switch (lanes.scale_type) {
    case F32: return ((const f32 *)lanes.scales)[index];
    case F16: return to_f32(((const f16 *)lanes.scales)[index]);
    }
    return to_f32(((const bf16 *)lanes.scales)[index]);
}
DEVICE i64 zero_of(const QuantizeLanes &lanes, u32 index) {
    return lanes.zeros ? load_quantum(lanes.zeros, lanes.quantum, index) : 0;
}

// A rounded number that is far enough from overflow to add a zero point; 0 for NaN.
DEVICE i64 whole(f32 x) {
    if (x != x) return 0;
    return (i64)fminf(fmaxf(x, -0x1p40f), 0x1p40f);
}

template <class T> DEVICE void quantize(const T *x, void *y, QuantizeLanes lanes) {
    u32 step = gridDim.x * blockDim.x;
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < lanes.elements; i += step) {
        u32 index = lanes.n == 1 ? 0 : (u32)i / lanes.inner % lanes.n;
        i64 rounded = whole(rintf(to_f32(x[i]) / scale_of(lanes, index)));
        store_quantum(rounded + zero_of(lanes, index), y, lanes.quantum, (u32)i);
    }
}

DEVICE void dequantize_body(const void *x, f32 *y, const QuantizeLanes &lanes) {
    u32 step = gridDim.x * blockDim.x;
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < lanes.elements; i += step) {
        u32 index = lanes.n == 1 ? 0 : (u32)i / lanes.inner % lanes.n;
        i64 difference = load_quantum(x, lanes.quantum, (u32)i) - zero_of(lanes, index);
        y[i] = (f32)difference * scale_of(lanes, index);
    }
}

KERNEL_FLOATS(quantize, 256, (const T *x, void *y, QuantizeLanes lanes), (x, y, lanes))
KERNEL_PLAIN(dequantize, 256, (const void *x, f32 *y, QuantizeLanes lanes), (x, y, lanes))

}  // namespace quantize_

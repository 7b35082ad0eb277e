// Conversion between element types, by way of four wide types, so that the number of conversions is
// a sum over the types and not a product.
#include "layout.cuh"

namespace cast_ {

// In the order of `code` in cast.rs.
enum Type : u32 { BOOL, I8, U8, I16, U16, I32, U32, I64, U64, F16, BF16, F32, F64 };

// Elements that a thread converts at once, whatever their types.
constexpr u32 GROUP = 4;

// Reads `count` elements; a whole group at once if `pack`.
template <class S, class W, class Widen>
DEVICE void read(const void *x, u64 group, u32 count, bool pack, W (&wide)[GROUP], Widen widen) {
    const S *from = (const S *)x + group * GROUP;
    Pack<S, GROUP> all = {};
    if (pack) {
        // Elements of 8 bytes are moved in two halves.
        constexpr u32 PART = sizeof(S) == 8 ? 2 : GROUP;
#pragma unroll
        for (u32 part = 0; part < GROUP / PART; part++) {
            Pack<S, PART> some = reinterpret_cast<const Pack<S, PART> *>(from)[part];
#pragma unroll
            for (u32 k = 0; k < PART; k++) all.at[part * PART + k] = some.at[k];
        }
    }
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) {
        if (!pack && k < count) all.at[k] = from[k];
        wide[k] = widen(all.at[k]);
    }
}

template <class D, class W, class Narrow>
DEVICE void write(void *y, u64 group, u32 count, bool pack, const W (&wide)[GROUP], Narrow narrow) {
    D *to = (D *)y + group * GROUP;
    constexpr u32 PART = sizeof(D) == 8 ? 2 : GROUP;
#pragma unroll
    for (u32 part = 0; part < GROUP / PART; part++) {
        Pack<D, PART> some;
#pragma unroll
        for (u32 k = 0; k < PART; k++) some.at[k] = narrow(wide[part * PART + k]);
        if (pack) reinterpret_cast<Pack<D, PART> *>(to)[part] = some;
#pragma unroll
        for (u32 k = 0; k < PART; k++)
            if (!pack && part * PART + k < count) to[part * PART + k] = some.at[k];
    }
}

// Floats to integers: truncated, saturated, NaN to 0. The bounds are exact in every float.
template <class W> DEVICE i64 to_signed(W x, i64 low, i64 high) {
    if (x != x) return 0;
    if (x <= (W)low) return low;
    // `high` itself may not be exact; what reaches its rounded value is beyond or at it.
    if (x >= (W)high) return high;
    i64 whole = (i64)x;
    return whole;
}
template <class W> DEVICE u64 to_unsigned(W x, u64 high) {
    if (!(x > (W)0)) return 0;
    if (x >= (W)high) return high;
    return (u64)x;
}

DEVICE i64 as_signed(f32 x, i64 low, i64 high) { return to_signed(x, low, high); }
DEVICE i64 as_signed(f64 x, i64 low, i64 high) { return to_signed(x, low, high); }
DEVICE i64 as_signed(i64 x, i64, i64) { return x; }
DEVICE i64 as_signed(u64 x, i64, i64) { return (i64)x; }
DEVICE u64 as_unsigned(f32 x, u64 high) { return to_unsigned(x, high); }
DEVICE u64 as_unsigned(f64 x, u64 high) { return to_unsigned(x, high); }
DEVICE u64 as_unsigned(i64 x, u64) { return (u64)x; }
DEVICE u64 as_unsigned(u64 x, u64) { return x; }

// An f32 that rounds to narrower floats as the number itself does: towards 0, and where that is not
// exact with an odd last bit (S. Boldo, G. Melquiond: Emulation of FMA and correctly rounded sums).
DEVICE f32 odd(f32 towards_0, bool exact) {
    return exact ? towards_0 : __uint_as_float(__float_as_uint(towards_0) | 1u);
}
DEVICE f32 to_odd(f32 x) { return x; }
DEVICE f32 to_odd(f64 x) {
    f32 y = __double2float_rz(x);
    return odd(y, (f64)y == x || x != x);
}
DEVICE f32 to_odd(u64 x) {
    f32 y = __ull2float_rz(x);
    return odd(y, (u64)y == x);
}
DEVICE f32 to_odd(i64 x) {
    f32 size = to_odd(x < 0 ? 0 - (u64)x : (u64)x);
    return x < 0 ? -size : size;
}

template <class W>
DEVICE void narrowed(u32 to, void *y, u64 i, u32 count, bool pack, const W (&x)[GROUP]) {
    const u64 ones = ~(u64)0;
    const i64 highest = (i64)(ones >> 1), lowest = -highest - 1;
    switch (to) {
    case BOOL: return write<u8>(y, i, count, pack, x, [](W v) { return (u8)(v != (W)0); });
    case I8:
        return write<u8>(y, i, count, pack, x, [](W v) { return (u8)as_signed(v, -128, 127); });
    case U8: return write<u8>(y, i, count, pack, x, [](W v) { return (u8)as_unsigned(v, 255); });
    case I16:
        return write<u16>(y, i, count, pack, x,
                          [](W v) { return (u16)as_signed(v, -32768, 32767); });
    case U16:
        return write<u16>(y, i, count, pack, x, [](W v) { return (u16)as_unsigned(v, 65535); });
    case I32:
        return write<u32>(y, i, count, pack, x,
                          [=](W v) { return (u32)as_signed(v, lowest >> 32, highest >> 32); });
    case U32:
        return write<u32>(y, i, count, pack, x,
                          [=](W v) { return (u32)as_unsigned(v, ones >> 32); });
    case I64:
        return write<u64>(y, i, count, pack, x,
                          [=](W v) { return (u64)as_signed(v, lowest, highest); });
    case U64: return write<u64>(y, i, count, pack, x, [=](W v) { return as_unsigned(v, ones); });
    case F16: return write<f16>(y, i, count, pack, x, [](W v) { return from_f32<f16>(to_odd(v)); });
    case BF16:
        return write<bf16>(y, i, count, pack, x, [](W v) { return from_f32<bf16>(to_odd(v)); });
    case F32: return write<f32>(y, i, count, pack, x, [](W v) { return (f32)v; });
    case F64: return write<f64>(y, i, count, pack, x, [](W v) { return (f64)v; });
    }
}

DEVICE void cast_body(const void *x, void *y, u32 n, u32 from, u32 to, u32 packed) {
    u32 groups = n / GROUP + (n % GROUP != 0), step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < groups; i += step) {
        u32 count = min(n - (u32)i * GROUP, GROUP);
        bool pack = packed && count == GROUP;
        auto integer = [](auto v) { return (i64)v; };
        auto real = [](auto v) { return to_f32(v); };
        if (from < U64) {
            i64 wide[GROUP];
            switch (from) {
            case BOOL: read<u8>(x, i, count, pack, wide, [](u8 v) { return (i64)(v != 0); }); break;
            case I8: read<i8>(x, i, count, pack, wide, integer); break;
            case U8: read<u8>(x, i, count, pack, wide, integer); break;
            case I16: read<i16>(x, i, count, pack, wide, integer); break;
            case U16: read<u16>(x, i, count, pack, wide, integer); break;
            case I32: read<i32>(x, i, count, pack, wide, integer); break;
            case U32: read<u32>(x, i, count, pack, wide, integer); break;
            default: read<i64>(x, i, count, pack, wide, integer); break;
            }
            narrowed(to, y, i, count, pack, wide);
        } else if (from == U64) {
            u64 wide[GROUP];
            read<u64>(x, i, count, pack, wide, [](u64 v) { return v; });
            narrowed(to, y, i, count, pack, wide);
        } else if (from < F64) {
            f32 wide[GROUP];
            switch (from) {
            case F16: read<f16>(x, i, count, pack, wide, real); break;
            case BF16: read<bf16>(x, i, count, pack, wide, real); break;
            default: read<f32>(x, i, count, pack, wide, real); break;
            }
            narrowed(to, y, i, count, pack, wide);
        } else {
            f64 wide[GROUP];
            read<f64>(x, i, count, pack, wide, [](f64 v) { return v; });
            narrowed(to, y, i, count, pack, wide);
        }
    }
}

KERNEL_PLAIN(cast, 256, (const void *x, void *y, u32 n, u32 from, u32 to, u32 packed),
             (x, y, n, from, to, packed))

}  // namespace cast_

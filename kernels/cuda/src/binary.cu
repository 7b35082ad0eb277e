// Functions of two numbers, element by element, with repeated axes.
#include "layout.cuh"

namespace binary_ {

// In the order of `enum Arithmetic` in binary.rs.
enum Arithmetic : u32 { ADD, SUB, MUL, DIV, REM, POW, MAX, MIN };

// In the order of `enum Whole` in binary.rs. The others have the same bits signed and unsigned.
enum Whole : u32 {
    WRAP_ADD, WRAP_SUB, WRAP_MUL, BIT_AND, BIT_OR, BIT_XOR, SHIFT_LEFT, SHIFT_RIGHT,
    SHIFT_RIGHT_SIGNED, LARGER, LARGER_SIGNED, SMALLER, SMALLER_SIGNED, BOTH, ANY, ONE,
    QUOTIENT, QUOTIENT_SIGNED, REMAINDER, REMAINDER_SIGNED, POWER, POWER_SIGNED,
};

template <class T> struct As;
template <> struct As<u8> { using Signed = i8; using Wide = u32; };
template <> struct As<u16> { using Signed = i16; using Wide = u32; };
template <> struct As<u32> { using Signed = i32; using Wide = u32; };
template <> struct As<u64> { using Signed = i64; using Wide = u64; };

DEVICE bool not_a_number(f32 x) { return x != x; }

// Long code, of which one copy is enough.
DEVICE f32 rare(u32 op, f32 a, f32 b) { return op == POW ? powf(a, b) : fmodf(a, b); }

template <u32 N> DEVICE void combine(u32 op, f32 (&a)[N], const f32 (&b)[N]) {
#define EACH(expression) _Pragma("unroll") for (u32 k = 0; k < N; k++) a[k] = expression; break;
    switch (op) {
    case ADD: EACH(a[k] + b[k])
    case SUB: EACH(a[k] - b[k])
    case MUL: EACH(a[k] * b[k])
    case DIV: EACH(a[k] / b[k])
    case MAX: EACH(a[k] > b[k] || not_a_number(a[k]) ? a[k] : b[k])
    case MIN: EACH(a[k] < b[k] || not_a_number(a[k]) ? a[k] : b[k])
    default:
        if constexpr (N == 1) a[0] = rare(op, a[0], b[0]);
    }
#undef EACH
}

// Integer powers wrap; one to a negative power is rounded towards 0.
template <class T> DEVICE T power(T a, T b, bool is_signed) {
    using Wide = typename As<T>::Wide;
    if (is_signed && (typename As<T>::Signed)b < 0) {
        if (a == 1) return 1;
        if (a == (T)~(T)0) return b & 1 ? a : 1;
        return 0;
    }
    Wide base = a, result = 1;
    for (T left = b; left > 0; left >>= 1) {
        if (left & 1) result *= base;
        base *= base;
    }
    return (T)result;
}

// Division by 0 gives 0; the lowest number by -1 is itself.
template <class T> DEVICE T divided(u32 op, T a, T b) {
    using Signed = typename As<T>::Signed;
    if (b == 0) return 0;
    bool negated = b == (T)~(T)0;
    switch (op) {
    case QUOTIENT: return a / b;
    case REMAINDER: return a % b;
    case QUOTIENT_SIGNED: return negated ? (T)(0 - a) : (T)((Signed)a / (Signed)b);
    default: return negated ? (T)0 : (T)((Signed)a % (Signed)b);
    }
}

template <class T, u32 N> DEVICE void combine_whole(u32 op, Pack<T, N> &a, const Pack<T, N> &b) {
    using Signed = typename As<T>::Signed;
    using Wide = typename As<T>::Wide;
    const T bits = 8 * sizeof(T);
#define EACH(expression)                                                                           \
    _Pragma("unroll") for (u32 k = 0; k < N; k++) {                                                \
        T x = a.at[k], y = b.at[k];                                                                \
        a.at[k] = (T)(expression);                                                                 \
    }                                                                                              \
    break;
    switch (op) {
    case WRAP_ADD: EACH((Wide)x + (Wide)y)
    case WRAP_SUB: EACH((Wide)x - (Wide)y)
    case WRAP_MUL: EACH((Wide)x * (Wide)y)
    case BIT_AND: EACH(x & y)
    case BIT_OR: EACH(x | y)
    case BIT_XOR: EACH(x ^ y)
    case SHIFT_LEFT: EACH(y < bits ? (Wide)x << y : (Wide)0)
    case SHIFT_RIGHT: EACH(y < bits ? (Wide)x >> y : (Wide)0)
    case SHIFT_RIGHT_SIGNED: EACH((Signed)x >> (y < bits ? y : bits - 1))
    case LARGER: EACH(x > y ? x : y)
    case LARGER_SIGNED: EACH((Signed)x > (Signed)y ? x : y)
    case SMALLER: EACH(x < y ? x : y)
    case SMALLER_SIGNED: EACH((Signed)x < (Signed)y ? x : y)
    case BOTH: EACH(x != 0 && y != 0)
    case ANY: EACH(x != 0 || y != 0)
    case ONE: EACH((x != 0) != (y != 0))
    default:
        if constexpr (N == 1) {
            T x = a.at[0], y = b.at[0];
            a.at[0] = op >= POWER ? power<T>(x, y, op == POWER_SIGNED) : divided<T>(op, x, y);
        }
    }
#undef EACH
}

// Calls `work(group, place of a, place of b)` for the groups of this thread.
template <class Work> DEVICE void each_group(const Broadcasting &layout, Work work) {
    u32 step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < layout.groups; i += step) {
        u32 at[2];
        places(layout, (u32)i, at);
        work((u32)i, at[0], at[1]);
    }
}

template <u32 N, class T>
DEVICE void float_groups(const T *a, const T *b, T *y, const Broadcasting &layout, u32 op) {
    bool repeat_a = layout.strides[0][0] == 0, repeat_b = layout.strides[1][0] == 0;
    each_group(layout, [&](u32 i, u32 at_a, u32 at_b) {
        Pack<T, N> left = fetch<N>(a, at_a, repeat_a), right = fetch<N>(b, at_b, repeat_b), out;
        f32 p[N], q[N];
#pragma unroll
        for (u32 k = 0; k < N; k++) p[k] = to_f32(left.at[k]), q[k] = to_f32(right.at[k]);
        combine<N>(op, p, q);
#pragma unroll
        for (u32 k = 0; k < N; k++) store(p[k], &out.at[k]);
        reinterpret_cast<Pack<T, N> *>(y)[i] = out;
    });
}

template <class T>
DEVICE void binary(const T *a, const T *b, T *y, const Broadcasting &layout, u32 op) {
    if (layout.width == 1) return float_groups<1>(a, b, y, layout, op);
    float_groups<pack_size<T>()>(a, b, y, layout, op);
}

template <u32 N, class T>
DEVICE void whole_groups(const T *a, const T *b, T *y, const Broadcasting &layout, u32 op) {
    bool repeat_a = layout.strides[0][0] == 0, repeat_b = layout.strides[1][0] == 0;
    each_group(layout, [&](u32 i, u32 at_a, u32 at_b) {
        Pack<T, N> left = fetch<N>(a, at_a, repeat_a), right = fetch<N>(b, at_b, repeat_b);
        combine_whole<T, N>(op, left, right);
        reinterpret_cast<Pack<T, N> *>(y)[i] = left;
    });
}

template <class T>
DEVICE void binary_whole(const T *a, const T *b, T *y, const Broadcasting &layout, u32 op) {
    if (layout.width == 1) return whole_groups<1>(a, b, y, layout, op);
    whole_groups<pack_size<T>()>(a, b, y, layout, op);
}

// How two numbers relate, as the number of a bit: 0 not at all (one is no number), 1 less, 2 equal,
// 3 greater. `flip` makes integers with a sign comparable as those without.
DEVICE u32 outcome(f32 a, f32 b) { return a < b ? 1 : a == b ? 2 : a > b ? 3 : 0; }
DEVICE u32 outcome(f32 a, f32 b, u64) { return outcome(a, b); }
DEVICE u32 outcome(f16 a, f16 b, u64) { return outcome(to_f32(a), to_f32(b)); }
DEVICE u32 outcome(bf16 a, bf16 b, u64) { return outcome(to_f32(a), to_f32(b)); }
template <class T> DEVICE u32 outcome(T a, T b, u64 flip) {
    T x = a ^ (T)flip, y = b ^ (T)flip;
    return x < y ? 1 : x == y ? 2 : 3;
}

template <u32 N, class T>
DEVICE void compared_groups(const T *a, const T *b, u8 *y, const Broadcasting &layout, u32 holds,
                            u64 flip) {
    bool repeat_a = layout.strides[0][0] == 0, repeat_b = layout.strides[1][0] == 0;
    each_group(layout, [&](u32 i, u32 at_a, u32 at_b) {
        Pack<T, N> left = fetch<N>(a, at_a, repeat_a), right = fetch<N>(b, at_b, repeat_b);
        Pack<u8, N> out;
#pragma unroll
        for (u32 k = 0; k < N; k++)
            out.at[k] = holds >> outcome(left.at[k], right.at[k], flip) & 1;
        reinterpret_cast<Pack<u8, N> *>(y)[i] = out;
    });
}

// Bits of `holds` say for which outcomes the answer is yes.
template <class T>
DEVICE void compare(const T *a, const T *b, u8 *y, const Broadcasting &layout, u32 holds, u64 flip) {
    if (layout.width == 1) return compared_groups<1>(a, b, y, layout, holds, flip);
    compared_groups<pack_size<T>()>(a, b, y, layout, holds, flip);
}

KERNEL_FLOATS(binary, 256,
              (const T *a, const T *b, T *y, const __grid_constant__ Broadcasting layout, u32 op),
              (a, b, y, layout, op))
KERNEL_SIZES(binary_whole, 256,
             (const T *a, const T *b, T *y, const __grid_constant__ Broadcasting layout, u32 op),
             (a, b, y, layout, op))
KERNEL_FLOATS(compare, 256,
              (const T *a, const T *b, u8 *y,
               const __grid_constant__ Broadcasting layout, u32 holds, u64 flip),
              (a, b, y, layout, holds, flip))
KERNEL_SIZES(compare, 256,
             (const T *a, const T *b, u8 *y,
              const __grid_constant__ Broadcasting layout, u32 holds, u64 flip),
             (a, b, y, layout, holds, flip))

}  // namespace binary_

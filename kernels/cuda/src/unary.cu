// Functions of one number, element by element.
#include "layout.cuh"

namespace unary_ {

// In the order of `enum Unary` in unary.rs; up to CLAMP short enough for a copy an element.
enum Function : u32 {
    ABS, NEGATE, SIGN, SQRT, RECIPROCAL_SQRT, RECIPROCAL, FLOOR, CEIL, ROUND, EXP, TANH, SIGMOID,
    RELU, GELU, GELU_TANH, SILU, HARD_SWISH, LEAKY_RELU, HARD_SIGMOID, CLAMP,
    ERF, LOG, SOFTPLUS, ELU, SIN, COS, TAN, ASIN, ACOS, ATAN, SINH, COSH, ASINH, ACOSH, ATANH,
};

// In the order of `enum WholeUnary` in unary.rs.
enum Whole : u32 { WRAP_NEGATE, INVERT, ABSOLUTE, SIGNUM, SIGNUM_UNSIGNED, POSITIVE, NOT,
                   BOUND, BOUND_SIGNED };

struct Parameters { f32 alpha, beta; };

DEVICE f32 sigmoid(f32 x) { return 1.0f / (1.0f + expf(-x)); }
// Between 0 and 1; NaN stays NaN.
DEVICE f32 unit(f32 x) {
    x = x < 0.0f ? 0.0f : x;
    return x > 1.0f ? 1.0f : x;
}
DEVICE f32 gelu_tanh(f32 x) {
    f32 inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
    return 0.5f * x * (1.0f + tanhf(inner));
}
DEVICE f32 clamp(f32 x, f32 low, f32 high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

DEVICE f32 rare(u32 function, f32 x, f32 alpha) {
    switch (function) {
    case ERF: return erff(x);
    case LOG: return logf(x);
    case SOFTPLUS: return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
    case ELU: return x < 0.0f ? alpha * expm1f(x) : x;
    case SIN: return sinf(x);
    case COS: return cosf(x);
    case TAN: return tanf(x);
    case ASIN: return asinf(x);
    case ACOS: return acosf(x);
    case ATAN: return atanf(x);
    case SINH: return sinhf(x);
    case COSH: return coshf(x);
    case ASINH: return asinhf(x);
    case ACOSH: return acoshf(x);
    case ATANH: return atanhf(x);
    }
    return x;
}

template <u32 N> DEVICE void apply(u32 function, f32 (&x)[N], Parameters with) {
#define EACH(expression)                                                                           \
    _Pragma("unroll") for (u32 k = 0; k < N; k++) {                                                \
        f32 v = x[k];                                                                              \
        x[k] = expression;                                                                         \
    }                                                                                              \
    return;
    switch (function) {
    case ABS: EACH(fabsf(v))
    case NEGATE: EACH(-v)
    case SIGN: EACH(v > 0.0f ? 1.0f : v < 0.0f ? -1.0f : v)
    case SQRT: EACH(sqrtf(v))
    case RECIPROCAL_SQRT: EACH(1.0f / sqrtf(v))
    case RECIPROCAL: EACH(1.0f / v)
    case FLOOR: EACH(floorf(v))
    case CEIL: EACH(ceilf(v))
    case ROUND: EACH(rintf(v))
    case EXP: EACH(expf(v))
    case TANH: EACH(tanhf(v))
    case SIGMOID: EACH(sigmoid(v))
    case RELU: EACH(v < 0.0f ? 0.0f : v)
    case GELU: EACH(0.5f * v * (1.0f + erff(v * 0.70710678118654752f)))
    case GELU_TANH: EACH(gelu_tanh(v))
    case SILU: EACH(v / (1.0f + expf(-v)))
    case HARD_SWISH: EACH(v * unit(fmaf(v, 1.0f / 6.0f, 0.5f)))
    case LEAKY_RELU: EACH(v < 0.0f ? with.alpha * v : v)
    case HARD_SIGMOID: EACH(unit(fmaf(v, with.alpha, with.beta)))
    case CLAMP: EACH(clamp(v, with.alpha, with.beta))
    }
#undef EACH
    // One copy of the long code: the elements take turns in the first place.
#pragma unroll 1
    for (u32 turn = 0; turn < N; turn++) {
        f32 y = rare(function, x[0], with.alpha);
#pragma unroll
        for (u32 k = 0; k + 1 < N; k++) x[k] = x[k + 1];
        x[N - 1] = y;
    }
}

// Calls `work(elements)` for packs of elements of `x` and writes what it returns to `y`. What does
// not fill a pack, or is not aligned to one (then `width` is 1), is moved element by element.
template <class T, class Out, class Work>
DEVICE void each_pack(const T *x, Out *y, u32 n, u32 width, Work work) {
    constexpr u32 N = pack_size<T>();
    u32 packs = n / N + (n % N != 0), step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += step) {
        u32 first = (u32)i * N, count = min(n - first, N);
        bool whole = width != 1 && count == N;
        Pack<T, N> pack = {};
        if (whole) pack = reinterpret_cast<const Pack<T, N> *>(x)[i];
#pragma unroll
        for (u32 k = 0; k < N; k++)
            if (!whole && k < count) pack.at[k] = x[first + k];
        Pack<Out, N> out = work(pack);
        if (whole) reinterpret_cast<Pack<Out, N> *>(y)[i] = out;
#pragma unroll
        for (u32 k = 0; k < N; k++)
            if (!whole && k < count) y[first + k] = out.at[k];
    }
}

template <class T>
DEVICE void unary(const T *x, T *y, u32 n, u32 width, u32 function, f32 alpha, f32 beta) {
    constexpr u32 N = pack_size<T>();
    Parameters with = {alpha, beta};
    each_pack(x, y, n, width, [&](Pack<T, N> pack) {
        f32 v[N];
#pragma unroll
        for (u32 k = 0; k < N; k++) v[k] = to_f32(pack.at[k]);
        apply(function, v, with);
#pragma unroll
        for (u32 k = 0; k < N; k++) store(v[k], &pack.at[k]);
        return pack;
    });
}

template <class T> struct Of;
template <> struct Of<u8> { using Signed = i8; };
template <> struct Of<u16> { using Signed = i16; };
template <> struct Of<u32> { using Signed = i32; };
template <> struct Of<u64> { using Signed = i64; };

template <class T> DEVICE T whole(u32 function, T x, T low, T high) {
    using Signed = typename Of<T>::Signed;
    Signed s = (Signed)x;
    switch (function) {
    case WRAP_NEGATE: return (T)(0 - x);
    case INVERT: return (T)~x;
    case ABSOLUTE: return s < 0 ? (T)(0 - x) : x;
    case SIGNUM: return s < 0 ? (T)~(T)0 : (T)(x != 0);
    case SIGNUM_UNSIGNED: return x != 0;
    case POSITIVE: return s < 0 ? (T)0 : x;
    case NOT: return x == 0;
    case BOUND:
        x = x < low ? low : x;
        return x > high ? high : x;
    case BOUND_SIGNED:
        s = s < (Signed)low ? (Signed)low : s;
        return (T)(s > (Signed)high ? (Signed)high : s);
    }
    return x;
}

template <class T>
DEVICE void unary_whole(const T *x, T *y, u32 n, u32 width, u32 function, i64 low, i64 high) {
    constexpr u32 N = pack_size<T>();
    each_pack(x, y, n, width, [&](Pack<T, N> pack) {
#pragma unroll
        for (u32 k = 0; k < N; k++) pack.at[k] = whole<T>(function, pack.at[k], (T)low, (T)high);
        return pack;
    });
}

// Whether elements are infinite, or else whether they are no numbers.
template <class T> DEVICE void unary_test(const T *x, u8 *y, u32 n, u32 width, u32 infinite) {
    constexpr u32 N = pack_size<T>();
    each_pack(x, y, n, width, [&](Pack<T, N> pack) {
        Pack<u8, N> out;
#pragma unroll
        for (u32 k = 0; k < N; k++) {
            f32 size = fabsf(to_f32(pack.at[k]));
            out.at[k] = infinite ? size == F32_INFINITY : size != size;
        }
        return out;
    });
}

KERNEL_FLOATS(unary, 256,
              (const T *x, T *y, u32 n, u32 width, u32 function, f32 alpha, f32 beta),
              (x, y, n, width, function, alpha, beta))
KERNEL_SIZES(unary_whole, 256,
             (const T *x, T *y, u32 n, u32 width, u32 function, i64 low, i64 high),
             (x, y, n, width, function, low, high))
KERNEL_FLOATS(unary_test, 256, (const T *x, u8 *y, u32 n, u32 width, u32 infinite),
              (x, y, n, width, infinite))

}  // namespace unary_

// What kernels that are generated at run time are made of: the functions of the kernels that they
// replace, element by element, so that both give the same bits. fused.rs writes the rest.
#pragma once
#include "layout.cuh"

// Only the functions of these files are wanted, not their entry points.
#undef KERNEL_FLOATS
#undef KERNEL_SIZES
#undef KERNEL_PLAIN
#define KERNEL_FLOATS(name, threads, parameters, arguments)
#define KERNEL_SIZES(name, threads, parameters, arguments)
#define KERNEL_PLAIN(name, threads, parameters, arguments)
#include "unary.cu"
#include "binary.cu"
#include "cast.cu"

namespace fused_ {

constexpr u32 INPUTS_MAX = 8;

// As in fused.rs. Axes, groups and strides are those of `Broadcasting`; `zero` is 0, which the
// compiler does not know.
struct Fused {
    const void *inputs[INPUTS_MAX];
    void *output;
    u32 axes, width, groups, zero;
    u32 extents[AXES_MAX];
    u32 strides[INPUTS_MAX][AXES_MAX];
};

// The number itself, of unknown origin: what made it and what uses it are compiled apart, as in two
// kernels, so that no product is merged with a sum of the next op.
DEVICE f32 apart(f32 x, u32 zero) { return __uint_as_float(__float_as_uint(x) ^ zero); }
template <class T> DEVICE T apart(T x, u32) { return x; }

template <class T> DEVICE T function(u32 kind, T x, f32 alpha, f32 beta) {
    f32 v[1] = {to_f32(x)};
    unary_::apply<1>(kind, v, {alpha, beta});
    return from_f32<T>(v[0]);
}
template <class T> DEVICE u8 test(u32 infinite, T x) {
    f32 size = fabsf(to_f32(x));
    return infinite ? size == F32_INFINITY : size != size;
}
template <class T> DEVICE T whole(u32 kind, T x, i64 low, i64 high) {
    return unary_::whole<T>(kind, x, (T)low, (T)high);
}
template <class T> DEVICE T arithmetic(u32 op, T a, T b) {
    f32 p[1] = {to_f32(a)}, q[1] = {to_f32(b)};
    binary_::combine<1>(op, p, q);
    return from_f32<T>(p[0]);
}
template <class T> DEVICE T whole_numbers(u32 op, T a, T b) {
    Pack<T, 1> p = {a}, q = {b};
    binary_::combine_whole<T, 1>(op, p, q);
    return p.at[0];
}
template <class T> DEVICE u8 compared(u32 holds, u64 flip, T a, T b) {
    return holds >> binary_::outcome(a, b, flip) & 1;
}

// A value in the wide type of its kind; types as in cast.cu.
template <u32 FROM, class T> DEVICE auto widened(T x) {
    if constexpr (FROM == cast_::BOOL) return (i64)(x != 0);
    else if constexpr (FROM == cast_::I8) return (i64)(i8)x;
    else if constexpr (FROM == cast_::I16) return (i64)(i16)x;
    else if constexpr (FROM == cast_::I32) return (i64)(i32)x;
    else if constexpr (FROM == cast_::U64) return x;
    else if constexpr (FROM < cast_::U64) return (i64)x;
    else if constexpr (FROM == cast_::F64) return x;
    else return to_f32(x);
}
template <u32 FROM, u32 TO, class To, class T> DEVICE To converted(T x) {
    auto wide = widened<FROM>(x);
    decltype(wide) group[cast_::GROUP] = {wide, wide, wide, wide};
    To y;
    cast_::narrowed(TO, &y, 0, 1, false, group);
    return y;
}

// Calls `work(group, places)` for the groups of this thread.
template <u32 INPUTS, class Work> DEVICE void each_group(const Fused &with, Work work) {
    u32 step = gridDim.x * blockDim.x;
#pragma unroll 1
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < with.groups; i += step) {
        u32 at[INPUTS], rest = (u32)i;
#pragma unroll
        for (u32 input = 0; input < INPUTS; input++) at[input] = 0;
#pragma unroll 1
        for (u32 axis = 0; axis < with.axes; axis++) {
            u32 outer = axis + 1 == with.axes ? 0 : rest / with.extents[axis];
            u32 index = rest - outer * with.extents[axis];
#pragma unroll
            for (u32 input = 0; input < INPUTS; input++)
                at[input] += index * with.strides[input][axis];
            rest = outer;
        }
        work((u32)i, at);
    }
}

// The group of an input at its place.
template <u32 N, class T> DEVICE Pack<T, N> input(const Fused &with, u32 number, u32 at) {
    return fetch<N>((const T *)with.inputs[number], at, with.strides[number][0] == 0);
}

}  // namespace fused_

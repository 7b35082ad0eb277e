// Where the elements of operands lie, and groups of neighbours that are moved at once.
#pragma once
#include "kernel.cuh"

#define AXES_MAX 8

// Neighbouring elements, read or written by one instruction of at most 16 bytes.
template <class T, u32 N> struct alignas(sizeof(T) * N) Pack { T at[N]; };

// Elements of a pack: 4, or as many as 16 bytes hold.
template <class T> DEVICE constexpr u32 pack_size() { return sizeof(T) == 8 ? 2 : 4; }

// The structures below are those of parameters.rs. Axes are numbered from the innermost outwards.

// Elementwise operands with repeated axes. `width` neighbours along axis 0 are one group: extent 0
// and the strides of operands that have axis 0 count groups, those of the others elements.
struct Broadcasting {
    u32 axes;
    u32 width;
    u32 groups;
    u32 extents[AXES_MAX];
    u32 strides[3][AXES_MAX];
};

// Words to move, and how far apart they lie on both sides.
struct Strides {
    u32 axes;
    u32 words;
    u32 extents[AXES_MAX];
    i32 from[AXES_MAX];
    i32 to[AXES_MAX];
};

// A margin around a value: words along each axis of the output and of the input, words before
// those, and how far apart words of the input lie.
struct Margins {
    u32 axes;
    u32 words;
    u32 extents[AXES_MAX];
    u32 inner[AXES_MAX];
    u32 before[AXES_MAX];
    u32 strides[AXES_MAX];
};

// Where group `i` of each operand begins.
template <u32 OPERANDS>
DEVICE void places(const Broadcasting &layout, u32 i, u32 (&at)[OPERANDS]) {
    u32 rest = i;
#pragma unroll
    for (u32 operand = 0; operand < OPERANDS; operand++) at[operand] = 0;
#pragma unroll 1
    for (u32 axis = 0; axis < layout.axes; axis++) {
        u32 outer = axis + 1 == layout.axes ? 0 : rest / layout.extents[axis];
        u32 index = rest - outer * layout.extents[axis];
#pragma unroll
        for (u32 operand = 0; operand < OPERANDS; operand++)
            at[operand] += index * layout.strides[operand][axis];
        rest = outer;
    }
}

// The group at `at`, or one element repeated.
template <u32 N, class T> DEVICE Pack<T, N> fetch(const T *x, u32 at, bool repeated) {
    if (!repeated) return reinterpret_cast<const Pack<T, N> *>(x)[at];
    Pack<T, N> pack;
    T one = x[at];
#pragma unroll
    for (u32 k = 0; k < N; k++) pack.at[k] = one;
    return pack;
}

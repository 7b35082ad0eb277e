// Rows of a tensor in the registers of a group of threads: one warp, or one block.
//
// A group is the threads along x of a block; a block of several groups (along y) has groups of one
// warp. A thread holds at most ROW_ITEMS numbers of its row, in parts of Part<T>::COUNT consecutive
// ones (16 bytes). Which thread has what depends on the length of the row alone, kept or not.
#pragma once
#include "kernel.cuh"

#define ROW_ITEMS 16

template <class T> struct Part { static constexpr u32 COUNT = 16 / sizeof(T); };

DEVICE void unpack(uint4 words, f32 *to, f32) {
    to[0] = __uint_as_float(words.x);
    to[1] = __uint_as_float(words.y);
    to[2] = __uint_as_float(words.z);
    to[3] = __uint_as_float(words.w);
}
template <class T> DEVICE void unpack(uint4 words, f32 *to, T) {
    const u32 all[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        to[2 * i] = to_f32(T{(u16)(all[i] & 0xffffu)});
        to[2 * i + 1] = to_f32(T{(u16)(all[i] >> 16)});
    }
}

DEVICE uint4 pack(const f32 *from, f32) {
    return make_uint4(__float_as_uint(from[0]), __float_as_uint(from[1]),
                      __float_as_uint(from[2]), __float_as_uint(from[3]));
}
template <class T> DEVICE uint4 pack(const f32 *from, T) {
    u32 all[4];
#pragma unroll
    for (u32 i = 0; i < 4; i++)
        all[i] = from_f32<T>(from[2 * i]).bits | (u32)from_f32<T>(from[2 * i + 1]).bits << 16;
    return make_uint4(all[0], all[1], all[2], all[3]);
}

// The part of a row of `n` that begins at `column`, `fill` beyond its end. If `vector`, the row is
// aligned to 16 bytes and `n` a multiple of the part.
template <class T>
DEVICE void load_part(const T *row, u32 column, u32 n, bool vector, f32 fill, f32 *to) {
    if (vector && column < n) return unpack(*(const uint4 *)(row + column), to, T());
#pragma unroll
    for (u32 i = 0; i < Part<T>::COUNT; i++)
        to[i] = column + i < n ? to_f32(row[column + i]) : fill;
}

template <class T>
DEVICE void store_part(T *row, u32 column, u32 n, bool vector, const f32 *from) {
    if (vector) {
        if (column < n) *(uint4 *)(row + column) = pack(from, T());
        return;
    }
#pragma unroll
    for (u32 i = 0; i < Part<T>::COUNT; i++)
        if (column + i < n) store(from[i], row + column + i);
}

// Calls f(index of the first item, column) for each part of this thread of a row of `n`, which are in
// the registers of the group.
template <class T, class F> DEVICE void each_part(u32 n, F f) {
    constexpr u32 COUNT = Part<T>::COUNT;
#pragma unroll
    for (u32 item = 0; item < ROW_ITEMS; item += COUNT) {
        if (item * blockDim.x >= n) break;
        f(item, item * blockDim.x + threadIdx.x * COUNT);
    }
}
// The same columns in the same order, for rows that are read again for each pass.
template <class T, class F> DEVICE void each_part_again(u32 n, F f) {
    constexpr u32 COUNT = Part<T>::COUNT;
#pragma unroll 1
    for (u32 column = threadIdx.x * COUNT; column < n; column += blockDim.x * COUNT) f(column);
}
// Whether a row fits the registers of its group; code for others is not worth its size.
DEVICE bool is_kept(u32 n, bool vector) { return vector && n <= blockDim.x * ROW_ITEMS; }

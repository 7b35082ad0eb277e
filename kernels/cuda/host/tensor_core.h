// What src/tensor_core.cuh has in PTX, for the host: matrices are put together from what the lanes of a
// warp give, as the PTX manual lays them out, and copies arrive when their thread waits for them.
#pragma once
#include "kernel.cuh"

namespace tensor_core_ {

template <class T> constexpr bool KNOWN = true;

inline void aligned(const void *at, const char *site) {
    if ((uintptr_t)at % 16) host::refuse("16 bytes that are not aligned", site);
}

// Rows of four 8x8 matrices: where line `line` of matrix `i` begins.
inline const u16 *line_of(u32 i, u32 line) {
    u64 bits = host::word(8 * i + line, 0) | (u64)host::word(8 * i + line, 1) << 32;
    return (const u16 *)bits;
}
inline void give_line(const u16 *row, const char *site) {
    aligned(row, site);
    u32 words[2] = {(u32)(u64)row, (u32)((u64)row >> 32)};
    host::give(words, 2, site);
}

DEVICE void load_matrices(u32 (&to)[4], const u16 *row) {
    give_line(row, HOST_SITE);
    u32 lane = host::lane();
    for (u32 i = 0; i < 4; i++) {
        const u16 *own = line_of(i, lane / 4) + lane % 4 * 2;
        to[i] = own[0] | (u32)own[1] << 16;
    }
}
DEVICE void load_matrices_transposed(u32 (&to)[4], const u16 *row) {
    give_line(row, HOST_SITE);
    u32 lane = host::lane(), line = lane % 4 * 2;
    for (u32 i = 0; i < 4; i++) to[i] = line_of(i, line)[lane / 4] | (u32)line_of(i, line + 1)[lane / 4] << 16;
}

// Element `k` of what a lane holds in `word`, of pairs from an even k on.
template <class T> f32 held(u32 lane, u32 word, u32 k) {
    return to_f32(T{(u16)(host::word(lane, word) >> 16 * (k % 2))});
}

// c += a b for a of 16x16, b of 16x8: with four words of a and two of b in each lane.
template <class T> DEVICE void multiply(f32 (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    u32 words[6] = {a[0], a[1], a[2], a[3], b0, b1};
    host::give(words, 6, HOST_SITE);
    u32 lane = host::lane();
    for (u32 e = 0; e < 4; e++) {
        u32 row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
        for (u32 k = 0; k < 16; k++) {
            u32 pair = k % 8 / 2;
            f32 left = held<T>(row % 8 * 4 + pair, row / 8 + k / 8 * 2, k);
            c[e] += left * held<T>(column * 4 + pair, 4 + k / 8, k);
        }
    }
}

template <class T> DEVICE u32 pair(f32 first, f32 second) {
    return (u32)from_f32<T>(first).bits | (u32)from_f32<T>(second).bits << 16;
}

DEVICE void copy_16(void *to, const void *from) {
    aligned(to, HOST_SITE);
    aligned(from, HOST_SITE);
    host::Thread &own = *host::thread;
    if (own.copy_count == sizeof own.copies / sizeof own.copies[0])
        host::refuse("more copies on their way than the host has room for", HOST_SITE);
    own.copies[own.copy_count++] = {to, from, own.groups};
}
DEVICE void copies_commit() { host::thread->groups++; }
template <int LEFT> DEVICE void copies_wait() {
    host::Thread &own = *host::thread;
    u32 kept = 0;
    for (u32 i = 0; i < own.copy_count; i++) {
        host::Copy copy = own.copies[i];
        if (copy.group + LEFT < own.groups) *(uint4 *)copy.to = *(const uint4 *)copy.from;
        else own.copies[kept++] = copy;
    }
    own.copy_count = kept;
}

}  // namespace tensor_core_

// What products of bytes share: tiles in shared memory as words of four steps of k, for dot products of four.
#pragma once
#include "kernel.cuh"

namespace integer_ {

// Words of a tile along k: 64 steps.
constexpr u32 WORDS = 16, STEPS = 4 * WORDS;

// Bytes of one side: `rows` rows (columns of the right side) of `k` steps, `row` and `step` bytes apart.
struct Bytes {
    const u8 *data;
    u32 row, step, rows, k;
    // What is flipped in each byte, so that it has a sign; whether words are aligned.
    u32 flip, vector;
};

// Steps k to k + 3 of a row; zeros beyond the ends.
DEVICE u32 word_of(const Bytes &side, u32 row, u32 k) {
    if (row >= side.rows || k >= side.k) return 0;
    const u8 *from = side.data + (u64)row * side.row + (u64)k * side.step;
    if (side.vector && k + 4 <= side.k) return *(const u32 *)from ^ side.flip;
    u32 word = 0;
#pragma unroll
    for (u32 i = 0; i < 4; i++)
        if (k + i < side.k) word |= (from[(u64)i * side.step] ^ (side.flip & 0xff)) << 8 * i;
    return word;
}

// Brings 64 steps of SIZE rows from row `first` on; neighbors in memory are brought by neighbors.
template <u32 SIZE, u32 THREADS>
DEVICE void bring(const Bytes &side, u32 first, u32 k, u32 (&tile)[WORDS][SIZE + 1]) {
#pragma unroll
    for (u32 v = threadIdx.x; v < SIZE * WORDS; v += THREADS) {
        bool along = side.step == 1;
        u32 row = along ? v / WORDS : v % SIZE, word = along ? v % WORDS : v / SIZE;
        tile[word][row] = word_of(side, first + row, k + word * 4);
    }
}

// A block of threads, DOWN x ACROSS, each with TM x TN sums that lie as far apart.
template <u32 BM, u32 BN, u32 TM, u32 TN> struct Patch {
    static constexpr u32 DOWN = BM / TM, ACROSS = BN / TN, THREADS = DOWN * ACROSS;
    DEVICE u32 row(u32 i) { return threadIdx.x / ACROSS + i * DOWN; }
    DEVICE u32 column(u32 j) { return threadIdx.x % ACROSS + j * ACROSS; }
};

DEVICE i32 dot(u32 a, u32 b, i32 sum) { return __dp4a((i32)a, (i32)b, sum); }

}  // namespace integer_

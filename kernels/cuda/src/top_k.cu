// The best k elements of each row, in order.
//
// An element and its place make one 64-bit key: no two are equal, and the larger is the better. A row
// that fits shared memory is sorted; of a longer one the k largest keys are found digit by digit.
#include "kernel.cuh"

namespace top_k_ {

// Keys that are sorted; TOP_K_MAX in top_k.rs.
constexpr u32 SORTED = 2048;
constexpr u32 DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS;

// Larger for larger numbers; NaN above all, zeros of both signs alike.
DEVICE u32 ordered(f32 x) {
    if (x != x) return 0xffffffffu;
    u32 bits = x == 0.0f ? 0 : __float_as_uint(x);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
template <class T> DEVICE u32 ordered(T x) { return ordered(to_f32(x)); }
DEVICE u32 ordered(i32 x) { return (u32)x ^ 0x80000000u; }

template <class T> DEVICE u64 key_of(const T *x, u32 place, bool largest) {
    u32 order = ordered(x[place]);
    return (u64)(largest ? order : ~order) << 32 | ~place;
}

// Sorts `count` keys, a power of two, the largest first.
DEVICE void sort(u64 *keys, u32 count) {
    for (u32 size = 2; size <= count; size *= 2) {
        for (u32 step = size / 2; step > 0; step /= 2) {
            __syncthreads();
            for (u32 i = threadIdx.x; i < count / 2; i += blockDim.x) {
                u32 a = 2 * i - (i & (step - 1)), b = a + step;
                u64 first = keys[a], second = keys[b];
                if ((first < second) == ((a & size) == 0)) {
                    keys[a] = second;
                    keys[b] = first;
                }
            }
        }
    }
    __syncthreads();
}

// The digit in which the `need`-th largest key is, by the number of keys of each digit.
struct Chosen {
    u32 digit, need, count;
};

// Finds it, for all threads; each sums consecutive digits, from the top down.
DEVICE Chosen choose(const u32 *counts, u32 need, u32 *warps, Chosen *chosen) {
    u32 each = DIGITS / blockDim.x, first = threadIdx.x * each, own = 0;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (u32 i = first; i < first + each; i++) own += counts[DIGITS - 1 - i];
    u32 until = own;
    for (u32 step = 1; step < 32; step *= 2) {
        u32 other = __shfl_up_sync(FULL_WARP, until, step);
        if (lane >= step) until += other;
    }
    if (lane == 31) warps[warp] = until;
    __syncthreads();
    for (u32 i = 0; i < warp; i++) until += warps[i];
    u32 above = until - own;
    if (above < need && need <= until) {
        u32 digit = DIGITS - 1 - first;
        while (above + counts[digit] < need) above += counts[digit--];
        *chosen = {digit, need - above, counts[digit]};
    }
    __syncthreads();
    return *chosen;
}

// Puts the keys of the best k of a row of more than SORTED into `keys`, in any order.
template <class T> DEVICE void select(const T *x, u32 n, u32 k, bool largest, u64 *keys) {
    __shared__ u32 counts[DIGITS], warps[32], found;
    __shared__ Chosen chosen;
    u64 prefix = 0;
    u32 shift = 64, need = k;
    for (bool more = true; more;) {
        u32 bits = min(DIGIT_BITS, shift), above = shift;
        shift -= bits;
        __syncthreads();
        for (u32 i = threadIdx.x; i < DIGITS; i += blockDim.x) counts[i] = 0;
        __syncthreads();
#pragma unroll 4
        for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
            u64 key = key_of(x, i, largest);
            if (above == 64 || key >> above == prefix)
                atomicAdd(&counts[(u32)(key >> shift) & ((1u << bits) - 1)], 1u);
        }
        __syncthreads();
        Chosen now = choose(counts, need, warps, &chosen);
        prefix = prefix << bits | now.digit;
        need = now.need;
        more = now.count > need;
    }
    if (threadIdx.x == 0) found = 0;
    __syncthreads();
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
        u64 key = key_of(x, i, largest);
        if (key >> shift >= prefix) keys[atomicAdd(&found, 1u)] = key;
    }
}

// A block a row; a power of two of threads.
template <class T> DEVICE void top_k(const T *x, T *values, i64 *indices, u32 n, u32 k, u32 largest) {
    __shared__ u64 keys[SORTED];
    x += (u64)blockIdx.x * n;
    u32 count = 1, held = n <= SORTED ? n : k;
    while (count < held) count *= 2;
    // Less than any key.
    for (u32 i = held + threadIdx.x; i < count; i += blockDim.x) keys[i] = 0;
    if (n <= SORTED) {
        for (u32 i = threadIdx.x; i < n; i += blockDim.x) keys[i] = key_of(x, i, largest);
    } else {
        select(x, n, k, largest, keys);
    }
    sort(keys, count);
    for (u32 i = threadIdx.x; i < k; i += blockDim.x) {
        u32 place = ~(u32)keys[i];
        u64 to = (u64)blockIdx.x * k + i;
        values[to] = x[place];
        indices[to] = place;
    }
}

KERNEL_FLOATS(top_k, 1024, (const T *x, T *values, i64 *indices, u32 n, u32 k, u32 largest), (x, values, indices, n, k, largest))
KERNEL(top_k, i32, ::i32, 1024, (const T *x, T *values, i64 *indices, u32 n, u32 k, u32 largest), (x, values, indices, n, k, largest))

}  // namespace top_k_

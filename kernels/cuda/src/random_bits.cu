// Random bits by counting: Threefry-2x32 with 20 rounds (Salmon et al., SC11).
#include "kernel.cuh"

namespace random_bits_ {

DEVICE u32 rotated(u32 x, u32 bits) { return x << bits | x >> (32 - bits); }

// The two words of a counter below 2^32.
DEVICE void threefry(const u32 *key, u32 counter, u32 *x) {
    const u32 rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const u32 keys[3] = {key[0], key[1], 0x1BD11BDAu ^ key[0] ^ key[1]};
    x[0] = counter + keys[0];
    x[1] = keys[1];
#pragma unroll
    for (u32 group = 0; group < 5; group++) {
#pragma unroll
        for (u32 round = 0; round < 4; round++) {
            x[0] += x[1];
            x[1] = rotated(x[1], rotations[(group * 4 + round) % 8]) ^ x[0];
        }
        x[0] += keys[(group + 1) % 3];
        x[1] += keys[(group + 2) % 3] + group + 1;
    }
}

// Words 2 i and 2 i + 1 are those of the counter i; of an odd number the last is left out.
DEVICE void random_bits_body(const u32 *key, u32 *y, u32 n) {
    u32 step = gridDim.x * blockDim.x;
    for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; 2 * i < n; i += step) {
        u32 words[2];
        threefry(key, (u32)i, words);
        y[2 * i] = words[0];
        if (2 * i + 1 < n) y[2 * i + 1] = words[1];
    }
}

KERNEL_PLAIN(random_bits, 256, (const u32 *key, u32 *y, u32 n), (key, y, n))

}  // namespace random_bits_

// Weights of 4 and 8 bits.
#pragma once
#include "product.cuh"

// The same structure as in quantized.rs: `[n, k]` weights, and a scale and a zero point for each
// `group` of successive weights of a row. `flip` brings what is stored to unsigned; without zero
// points, they are `middle`.
struct Quantization {
    u32 k, group, groups, bits, flip, middle, scale_kind;
};

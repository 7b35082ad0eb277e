// What the kernels of matrix products share: the shape, element types that are known at run time
// alone, and the way from complete tiles to memory.
#pragma once
#include "finish.cuh"

// Element types of operands, in the order of `kind` in product.rs.
enum Kind : u32 { KIND_F32, KIND_F16, KIND_BF16 };

// The same structure as in product.rs. Strides are in elements; a `vector` operand may be read 16
// bytes at a time along the axis of stride 1. `splits` parts of `k`, of `k_split` each, make
// partial sums if there is more than one.
struct ProductShape {
    u64 a_batch, b_batch, c_batch, residual_batch;
    u32 batch, m, n, k;
    u32 splits, k_split;
    u32 a_row, a_column, b_row, b_column, c_row, residual_row;
    u32 a_kind, b_kind;
    u32 a_vector, b_vector;
};

DEVICE u32 kind_bytes(u32 kind) { return kind == KIND_F32 ? 4 : 2; }

// An element by its bits: of a half, the low ones. Without branches, of which the compiler would make
// a path for every combination.
DEVICE f32 of_bits(u32 kind, u32 bits) {
    f32 half = to_f32(f16{(u16)bits}), other = __uint_as_float(bits << (kind == KIND_F32 ? 0 : 16));
    return kind == KIND_F16 ? half : other;
}

DEVICE f32 load_kind(const void *from, u32 kind, u64 index) {
    return of_bits(kind, kind == KIND_F32 ? ((const u32 *)from)[index] : ((const u16 *)from)[index]);
}

DEVICE void store_kind(void *to, u32 kind, u64 index, f32 x) {
    if (kind == KIND_F32) ((f32 *)to)[index] = x;
    else if (kind == KIND_F16) store(x, (f16 *)to + index);
    else store(x, (bf16 *)to + index);
}

// Where sums go: `c`, finished, or `partial`, `[splits, batch, m, n]`, as they are.
struct Target {
    const void *bias, *residual;
    void *c;
    f32 *partial;
};

DEVICE void finish_sum(const Target &to, const ProductShape &s, const Ending &ending, u32 batch,
                       u32 row, u32 column, f32 x) {
    if (to.bias) x += load_kind(to.bias, s.a_kind, column);
    f32 residual = 0.0f;
    if (to.residual)
        residual = load_kind(to.residual, s.a_kind,
                             batch * s.residual_batch + (u64)row * s.residual_row + column);
    x = finish(ending, x, to.residual != nullptr, residual);
    store_kind(to.c, s.a_kind, batch * s.c_batch + (u64)row * s.c_row + column, x);
}

// What a block computes.
struct Tile {
    u32 batch, split, row, column;
};

// Tiles are visited eight rows of tiles at a time, so that neighbours in time share operands.
DEVICE Tile tile_of(const ProductShape &s, u32 rows, u32 columns, u32 block) {
    u32 down = (s.m + rows - 1) / rows, across = (s.n + columns - 1) / columns;
    u32 item = block / (down * across), inner = block % (down * across);
    u32 group = inner / (8 * across), within = inner % (8 * across);
    u32 height = min(down - group * 8, 8u);
    return {item / s.splits, item % s.splits, (group * 8 + within % height) * rows,
            within / height * columns};
}

DEVICE void store_sum(const Target &to, const ProductShape &s, const Ending &ending,
                      const Tile &tile, u32 row, u32 column, f32 x) {
    if (row >= s.m || column >= s.n) return;
    if (s.splits == 1) {
        finish_sum(to, s, ending, tile.batch, row, column, x);
        return;
    }
    u64 item = (u64)tile.split * s.batch + tile.batch;
    to.partial[(item * s.m + row) * s.n + column] = x;
}

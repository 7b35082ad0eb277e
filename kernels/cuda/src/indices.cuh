// Indices of any integer type, and how one that is out of range is reported.
#pragma once
#include "layout.cuh"

// In the order of `index_code` in gather.rs.
enum IndexType : u32 { INDEX_I8, INDEX_U8, INDEX_I16, INDEX_U16, INDEX_I32, INDEX_U32, INDEX_I64,
                       INDEX_U64 };

// Indices beyond i64 become negative, which is out of range as well.
DEVICE i64 index_at(const void *indices, u32 type, u64 i) {
    switch (type) {
    case INDEX_I8: return ((const i8 *)indices)[i];
    case INDEX_U8: return ((const u8 *)indices)[i];
    case INDEX_I16: return ((const i16 *)indices)[i];
    case INDEX_U16: return ((const u16 *)indices)[i];
    case INDEX_I32: return ((const i32 *)indices)[i];
    case INDEX_U32: return ((const u32 *)indices)[i];
    default: return ((const i64 *)indices)[i];
    }
}

DEVICE bool within(i64 index, u32 extent) { return (u64)index < extent; }

// The first bad position stays, whatever the order of threads.
DEVICE void report(u64 *fault, u64 position) { atomicMin(fault, position); }

// The structures below are those of parameters.rs.

// Index tuples into the leading axes of a value, for slices of words: [batch, tuples, components].
struct Tuples {
    u32 batch;
    u32 tuples;
    u32 components;
    u32 slice;
    u32 item;  // words of a batch item
    u32 index_type;
    u32 extents[AXES_MAX];
};

// Indices along one axis for single elements: the other axes are those of `strides`, with places in
// the indices (`from`) and in the value (`to`); along the axis there are `count` indices.
struct Along {
    u32 count;
    u32 index_stride;
    u32 stride;
    u32 extent;
    u32 index_type;
};

constexpr u32 NOWHERE = 0xffffffffu;

// First word of the slice of tuple `t`, counted through all batch items, or NOWHERE for a bad one,
// which is reported if `loud`.
DEVICE u32 slice_of(const Tuples &layout, const void *indices, u32 t, u64 *fault, bool loud) {
    u32 place = 0;
#pragma unroll 1
    for (u32 component = 0; component < layout.components; component++) {
        u64 position = (u64)t * layout.components + component;
        i64 index = index_at(indices, layout.index_type, position);
        if (!within(index, layout.extents[component])) {
            if (loud) report(fault, position);
            return NOWHERE;
        }
        place = place * layout.extents[component] + (u32)index;
    }
    return t / layout.tuples * layout.item + place * layout.slice;
}

// What every kernel uses: element types, conversions without host headers, warp and block
// reductions, and the macros that give a kernel its entry points. build.py reads the macros too.
#pragma once

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;

// IEEE binary16 and bfloat16 as storage; arithmetic is done in f32.
struct f16 { u16 bits; };
struct bf16 { u16 bits; };

#define DEVICE static __device__ __forceinline__
#define FULL_WARP 0xffffffffu
#define F32_INFINITY __int_as_float(0x7f800000)
#define F32_NAN __int_as_float(0x7fffffff)

DEVICE f32 to_f32(f32 x) { return x; }
#ifdef HOST_BUILD  // Compiled as C++ by ../host: the processor's own type.
DEVICE f32 to_f32(f16 x) { return (f32)__builtin_bit_cast(_Float16, x.bits); }
DEVICE void store(f32 x, f16 *to) { to->bits = __builtin_bit_cast(u16, (_Float16)x); }
#else
DEVICE f32 to_f32(f16 x) { f32 y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits)); return y; }
DEVICE void store(f32 x, f16 *to) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to->bits) : "f"(x)); }
#endif
DEVICE f32 to_f32(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

DEVICE void store(f32 x, f32 *to) { *to = x; }
// Rounds to nearest even; sm_75 has no instruction for it.
DEVICE void store(f32 x, bf16 *to) {
    u32 bits = __float_as_uint(x);
    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    to->bits = nan ? (u16)0x7fff : (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
template <class T> DEVICE T from_f32(f32 x) {
    T y;
    store(x, &y);
    return y;
}

// Shared memory of the extent that the launch says.
#ifdef HOST_BUILD
#define DYNAMIC_SHARED(name) static unsigned char *&name = host::dynamic_shared;
#else
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[];
#endif

DEVICE f32 warp_sum(f32 x) {
    for (int step = 16; step > 0; step >>= 1) x += __shfl_xor_sync(FULL_WARP, x, step);
    return x;
}
DEVICE f32 warp_max(f32 x) {
    for (int step = 16; step > 0; step >>= 1) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, step));
    return x;
}

// Sum over the block, for all of its threads; blockDim.x is a multiple of 32. `shared` holds 32
// floats and may be used again after the call.
DEVICE f32 block_sum(f32 x, f32 *shared) {
    x = warp_sum(x);
    if (blockDim.x == 32) return x;
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    __syncthreads();
    if (lane == 0) shared[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps ? shared[lane] : 0.0f);
}
DEVICE f32 block_max(f32 x, f32 *shared) {
    x = warp_max(x);
    if (blockDim.x == 32) return x;
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    __syncthreads();
    if (lane == 0) shared[warp] = x;
    __syncthreads();
    return warp_max(lane < warps ? shared[lane] : -F32_INFINITY);
}

// Parameters that are more than a number: as in parameters.rs.

// Attention of `sequences` sequences; with offsets `queries` is the rows of all of them together.
struct AttentionShape {
    u32 heads, kv_heads, head_dim, sequences;
    u32 queries, keys;
    // Elements from one row to the next.
    u32 q_row, k_row, v_row, y_row;
    // Elements of the mask from one to the next; 0 where they share it.
    u32 mask_sequence, mask_head, mask_query, mask_key;
    // Whether query i sees only keys j <= i + keys - queries.
    u32 causal;
    // Whether rows of heads are whole, aligned vectors of 16 bytes.
    u32 vectors;
    f32 scale;
};

// Attention of one query a sequence. Without a table key j of sequence s is row s keys + j; with one
// it is row table[s, j / block] block + j % block of a cache of `rows` rows.
struct DecodeShape {
    u32 heads, kv_heads, head_dim;
    // Of each sequence at most; blocks of the grid that share them.
    u32 keys, splits;
    u32 q_row, k_row, v_row, y_row;
    u32 mask_sequence, mask_head, mask_key;
    u32 block, blocks, rows;
    // Neighboring threads that have a key together: a power of two up to 32.
    u32 lanes;
    u32 vectors;
    f32 scale;
};

// Parameters of kernels that are more than a number: the same structures as in parameters.rs.

// Rows of `norm`: x, or x + added, of [rows, n]; weight and bias of [n]. Absent ones are null.
struct NormRows {
    const void *x, *added, *weight, *bias;
    void *sum, *y;
    u32 rows, n;
};

// x and y of [batch, channels, inner], scale and bias of [channels].
struct ChannelRows {
    const void *x, *scale, *bias;
    void *y;
    u32 channels, inner;
};

// Of `rope`: x of [rows, heads, size], `each` heads a thread, `type` of positions.
struct RopeShape {
    u32 rows, heads, size, each, positions, type, interleaved;
};

// Of reductions of [outer, first, between, last, inner] to [outer, between, inner]: `lanes` lanes of
// n = first * last elements, in slices of `slice`.
struct ReduceLanes {
    u32 lanes, n, between, last, inner, slice;
};

// Of running sums: `lanes` lanes of `n` elements, `inner` apart.
struct ScanLanes {
    u32 lanes, n, inner, exclusive, reverse;
};

// Of `ragged_pool`: x of [rows, columns]. Offsets are of `places` in `indices`, which name rows of x,
// or without indices of the rows themselves.
struct RaggedRows {
    const void *indices;
    u64 *fault;
    u32 rows, columns, places, type;
};

// Of quantization: scales and zeros (null for none) of the middle axis of [.., n, inner].
struct QuantizeLanes {
    const void *scales, *zeros;
    u32 elements, n, inner, quantum, scale_type;
};

// Entry points. KERNEL(name, form, type, threads, parameters, arguments) is `name_form`, which calls
// the template `name<type>` with at most `threads` threads a block; in the parameters `T` is the
// type. The others are several forms at once. KERNEL_PLAIN has no type: `name` calls `name_body`.
#define KERNEL(name, form, type, threads, parameters, arguments)                                   \
    namespace entry_##name##_##form {                                                              \
    using T = type;                                                                                \
    extern "C" __global__ void __launch_bounds__(threads) name##_##form parameters {               \
        name<T> arguments;                                                                         \
    }                                                                                              \
    }
#define KERNEL_FLOATS(name, threads, parameters, arguments)                                        \
    KERNEL(name, f32, ::f32, threads, parameters, arguments)                                       \
    KERNEL(name, f16, ::f16, threads, parameters, arguments)                                       \
    KERNEL(name, bf16, ::bf16, threads, parameters, arguments)
#define KERNEL_INTEGERS(name, threads, parameters, arguments)                                      \
    KERNEL(name, i32, ::i32, threads, parameters, arguments)                                       \
    KERNEL(name, i64, ::i64, threads, parameters, arguments)
// Forms by the size of an element, for kernels that only move it.
#define KERNEL_SIZES(name, threads, parameters, arguments)                                         \
    KERNEL(name, b8, ::u8, threads, parameters, arguments)                                         \
    KERNEL(name, b16, ::u16, threads, parameters, arguments)                                       \
    KERNEL(name, b32, ::u32, threads, parameters, arguments)                                       \
    KERNEL(name, b64, ::u64, threads, parameters, arguments)
#define KERNEL_PLAIN(name, threads, parameters, arguments)                                         \
    extern "C" __global__ void __launch_bounds__(threads) name parameters { name##_body arguments; }

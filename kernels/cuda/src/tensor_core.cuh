// Products of small matrices by tensor cores, and what feeds them: 8x8 matrices of 16-bit elements
// from shared memory, and copies into it that go on beside the arithmetic.
#pragma once
#include "kernel.cuh"

#ifndef HOST_BUILD

namespace tensor_core_ {

// Specializations take the storage class of their template.
#define SPECIAL __device__ __forceinline__

DEVICE u32 shared_address(const void *at) { return (u32)__cvta_generic_to_shared(at); }

// Four 8x8 matrices. Lanes 8i..8i+7 point at the rows of matrix i; lane l gets elements 2(l % 4) and
// the next of row l / 4 of each, or with `transposed` of column l / 4.
DEVICE void load_matrices(u32 (&to)[4], const u16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}
DEVICE void load_matrices_transposed(u32 (&to)[4], const u16 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// c += a b for a of 16x16, b of 16x8. With g = lane / 4 and t = 2 (lane % 4), lane holds of `a` the
// pairs (g, t), (g + 8, t), (g, t + 8), (g + 8, t + 8); of `b` the pairs down column g from rows t
// and t + 8; of `c` (g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1).
// Turing has them for f16 alone: where `KNOWN<T>` is false, use another way.
template <class T> DEVICE void multiply(f32 (&c)[4], const u32 (&a)[4], u32 b0, u32 b1);
template <class T> constexpr bool KNOWN = true;

#if __CUDA_ARCH__ >= 800
template <> SPECIAL void multiply<f16>(f32 (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> SPECIAL void multiply<bf16>(f32 (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
template <> constexpr bool KNOWN<bf16> = false;

DEVICE void multiply_half(f32 (&c)[4], u32 a0, u32 a1, u32 b) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
}
template <> SPECIAL void multiply<f16>(f32 (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    multiply_half(c, a[0], a[1], b0);
    multiply_half(c, a[2], a[3], b1);
}
#endif

// Two floats rounded to a pair, the first in the lower half.
template <class T> DEVICE u32 pair(f32 first, f32 second) {
    return (u32)from_f32<T>(first).bits | (u32)from_f32<T>(second).bits << 16;
}
#if __CUDA_ARCH__ >= 800
template <> SPECIAL u32 pair<f16>(f32 first, f32 second) {
    u32 y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(second), "f"(first));
    return y;
}
template <> SPECIAL u32 pair<bf16>(f32 first, f32 second) {
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(second), "f"(first));
    return y;
}
#endif

// Copies 16 aligned bytes into shared memory, by the time that `copies_wait` says.
DEVICE void copy_16(void *to, const void *from) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
                 : "memory");
#else
    *(uint4 *)to = *(const uint4 *)from;
#endif
}
// Ends a group of copies.
DEVICE void copies_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until all groups of this thread but the last `LEFT` have arrived.
template <int LEFT> DEVICE void copies_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

}  // namespace tensor_core_

#else
#include "tensor_core.h"  // The same functions, of ../host.
#endif

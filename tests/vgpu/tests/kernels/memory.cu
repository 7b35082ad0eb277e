// Memory, atomics and what lanes do together.
#include <cuda_fp16.h>

extern "C" __global__ void vectors(const float4 *x, const uchar4 *u, const short2 *s, float4 *y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float4 v = x[i];
    uchar4 b = u[i];
    short2 h = s[i];
    v.x += b.x + h.x;
    v.y += b.y - h.y;
    v.z += b.z;
    v.w += b.w;
    y[i] = v;
}

// An array that is indexed at run time lies in local memory; its address is generic.
extern "C" __global__ void local_array(const unsigned *x, unsigned *y, unsigned n) {
    unsigned i = threadIdx.x;
    unsigned a[16];
    for (unsigned k = 0; k < 16; k++) a[k] = x[i] * (k + 1);
    unsigned sum = 0;
    for (unsigned k = 0; k < n; k++) {
        sum += a[x[i + k] & 15];
        a[sum & 15] = k;
    }
    y[i] = sum;
}

extern "C" __global__ void atomics(unsigned *u, int *s, float *f, __half2 *h, unsigned long long *w, double *d) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    u[8 + i] = atomicAdd(&u[0], 1u);
    atomicMax(&u[1], i);
    atomicMin(&u[2], i);
    atomicOr(&u[3], 1u << (i & 31));
    atomicXor(&u[4], i);
    atomicInc(&u[5], 9u);
    atomicExch(&u[6], 77u);
    atomicMin(&s[0], -(int)i);
    atomicMax(&s[1], (int)i - 1000);
    atomicAdd(f, 0.5f);
    atomicAdd(h, __floats2half2_rn(1.0f, 0.25f));
    atomicAdd(w, 1ull << 33);
    atomicAdd(d, 0.125);
    unsigned old = *(volatile unsigned *)&u[7], seen;
    do {
        seen = old;
        old = atomicCAS(&u[7], seen, seen + 3);
    } while (old != seen);
}

extern "C" __global__ void lanes(const unsigned *x, unsigned *y) {
    unsigned t = threadIdx.x, v = x[t], n = blockDim.x;
    unsigned all = 0xffffffffu;
    unsigned k = 0;
#define PUT(e) y[k++ * n + t] = (e)
    PUT(__shfl_sync(all, v, 5));
    PUT(__shfl_sync(all, v, t + 3, 8));
    PUT(__shfl_up_sync(all, v, 3));
    PUT(__shfl_up_sync(all, v, 2, 16));
    PUT(__shfl_down_sync(all, v, 7));
    PUT(__shfl_xor_sync(all, v, 12));
    PUT(__ballot_sync(all, v & 1));
    PUT(__any_sync(all, v == 3));
    PUT(__all_sync(all, v < 1000));
    PUT(__activemask());
    PUT(__match_any_sync(all, v & 3));
    PUT(__reduce_add_sync(all, v));
    PUT(__reduce_max_sync(all, v));
    PUT(__syncthreads_count(v & 1));
    PUT(__syncthreads_or(v == x[n - 1]));
    PUT(__syncthreads_and(v != 0xffffu));
    // Half of the warp shuffles alone.
    unsigned r = 0;
    if (t & 1)
        r = __shfl_xor_sync(0xaaaaaaaau, v, 2);
    else
        r = __shfl_xor_sync(0x55555555u, v, 4);
    PUT(r);
    unsigned long long q;
    int pred;
    asm volatile("{.reg .pred p; match.all.sync.b64 %0|p, %2, 0xffffffff; selp.s32 %1, 1, 0, p;}" : "=r"(r), "=r"(pred) : "l"((unsigned long long)7));
    PUT(r + pred);
    q = __shfl_xor_sync(all, (unsigned long long)v << 20, 1);
    PUT((unsigned)(q >> 20));
}

extern "C" __global__ void switches(const unsigned *x, unsigned *y) {
    unsigned v = x[threadIdx.x], r;
    switch (v) {
    case 0: r = v + 10; asm volatile("" : "+r"(r)); break;
    case 1: r = v * 3; asm volatile("" : "+r"(r)); y[64] = 1; break;
    case 2: r = v ^ 5; asm volatile("" : "+r"(r)); y[65] = 2; break;
    case 3: r = v - 9; asm volatile("" : "+r"(r)); y[66] = 3; break;
    case 4: r = v << 4; asm volatile("" : "+r"(r)); y[67] = 4; break;
    case 5: r = v | 64; asm volatile("" : "+r"(r)); y[68] = 5; break;
    default: r = 99;
    }
    y[threadIdx.x] = r;
}

// Warp 0 produces, warp 1 consumes, by named barriers.
extern "C" __global__ void named_barriers(const unsigned *x, unsigned *y) {
    __shared__ unsigned s[32];
    unsigned lane = threadIdx.x & 31;
    if (threadIdx.x < 32) {
        s[lane] = x[lane] + 1;
        asm volatile("bar.arrive 1, 64;" ::: "memory");
    } else {
        asm volatile("bar.sync 1, 64;" ::: "memory");
        y[lane] = s[lane ^ 1];
    }
}

extern "C" __global__ void copies(const float4 *x, float4 *y, unsigned valid) {
    __shared__ float4 s[2][32];
    unsigned t = threadIdx.x;
    for (unsigned stage = 0; stage < 2; stage++) {
        unsigned to = (unsigned)__cvta_generic_to_shared(&s[stage][t]);
        unsigned bytes = t < valid ? 16 : 0;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(x + 32 * stage + t), "r"(bytes) : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    float4 v = s[0][t ^ 1];
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    float4 w = s[1][t ^ 2];
    y[t] = make_float4(v.x + w.x, v.y + w.y, v.z + w.z, v.w + w.w);
}

extern "C" __global__ void unwaited_copy(const float4 *x, float4 *y) {
    __shared__ float4 s[32];
    unsigned to = (unsigned)__cvta_generic_to_shared(&s[threadIdx.x]);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(x + threadIdx.x) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    y[threadIdx.x] = s[threadIdx.x];
}

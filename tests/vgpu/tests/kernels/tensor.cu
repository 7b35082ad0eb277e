// Matrix instructions: one warp, C = A * B + C.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;

template <int M, int N, int K, typename T, typename S>
__device__ void product(const T *a, const T *b, const S *c, S *d) {
    wmma::fragment<wmma::matrix_a, M, N, K, T, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, M, N, K, T, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, M, N, K, S> fc;
    wmma::load_matrix_sync(fa, a, K);
    wmma::load_matrix_sync(fb, b, K);
    wmma::load_matrix_sync(fc, c, N, wmma::mem_row_major);
    wmma::mma_sync(fc, fa, fb, fc);
    wmma::store_matrix_sync(d, fc, N, wmma::mem_row_major);
}

extern "C" __global__ void f16_16(const __half *a, const __half *b, const float *c, float *d) { product<16, 16, 16>(a, b, c, d); }
extern "C" __global__ void f16_32(const __half *a, const __half *b, const float *c, float *d) { product<32, 8, 16>(a, b, c, d); }
extern "C" __global__ void f16_8(const __half *a, const __half *b, const float *c, float *d) { product<8, 32, 16>(a, b, c, d); }
extern "C" __global__ void f16_half(const __half *a, const __half *b, const __half *c, __half *d) { product<16, 16, 16>(a, b, c, d); }
extern "C" __global__ void bf16_16(const __nv_bfloat16 *a, const __nv_bfloat16 *b, const float *c, float *d) { product<16, 16, 16>(a, b, c, d); }
extern "C" __global__ void bf16_32(const __nv_bfloat16 *a, const __nv_bfloat16 *b, const float *c, float *d) { product<32, 8, 16>(a, b, c, d); }
extern "C" __global__ void s8_16(const signed char *a, const signed char *b, const int *c, int *d) { product<16, 16, 16>(a, b, c, d); }
extern "C" __global__ void s8_8(const signed char *a, const signed char *b, const int *c, int *d) { product<8, 32, 16>(a, b, c, d); }

extern "C" __global__ void tf32_16(const float *a, const float *b, const float *c, float *d) {
    wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 8, float> fc;
    wmma::load_matrix_sync(fa, a, 8);
    wmma::load_matrix_sync(fb, b, 8);
    wmma::load_matrix_sync(fc, c, 16, wmma::mem_row_major);
    for (int i = 0; i < fa.num_elements; i++) fa.x[i] = wmma::__float_to_tf32(fa.x[i]);
    for (int i = 0; i < fb.num_elements; i++) fb.x[i] = wmma::__float_to_tf32(fb.x[i]);
    wmma::mma_sync(fc, fa, fb, fc);
    wmma::store_matrix_sync(d, fc, 16, wmma::mem_row_major);
}

// Fragments of mma have a documented layout: loaded by ldmatrix from shared memory, stored by hand.
extern "C" __global__ void mma_f16(const __half *a, const __half *b, const float *c, float *d) {
    __shared__ __align__(16) __half sa[16 * 16], sb[16 * 8];
    unsigned t = threadIdx.x, g = t / 4, m = t % 4;
    for (unsigned i = t; i < 256; i += 32) sa[i] = a[i];
    // b is 8 columns of 16; shared memory holds 16 rows of 8.
    for (unsigned i = t; i < 128; i += 32) sb[(i % 16) * 8 + i / 16] = b[i];
    __syncwarp();
    unsigned ra[4], rb[2];
    unsigned pa = (unsigned)__cvta_generic_to_shared(&sa[(t % 16) * 16 + t / 16 * 8]);
    unsigned pb = (unsigned)__cvta_generic_to_shared(&sb[(t % 16) * 8]);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(ra[0]), "=r"(ra[1]), "=r"(ra[2]), "=r"(ra[3]) : "r"(pa));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(rb[0]), "=r"(rb[1]) : "r"(pb));
    float r[4] = {c[g * 8 + m * 2], c[g * 8 + m * 2 + 1], c[(g + 8) * 8 + m * 2], c[(g + 8) * 8 + m * 2 + 1]};
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(r[0]), "+f"(r[1]), "+f"(r[2]), "+f"(r[3]) : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
    d[g * 8 + m * 2] = r[0];
    d[g * 8 + m * 2 + 1] = r[1];
    d[(g + 8) * 8 + m * 2] = r[2];
    d[(g + 8) * 8 + m * 2 + 1] = r[3];
}

extern "C" __global__ void mma_s8(const unsigned *a, const unsigned *b, const int *c, int *d) {
    unsigned t = threadIdx.x, g = t / 4, m = t % 4;
    // Rows of a and columns of b are 32 bytes.
    unsigned ra[4] = {a[g * 8 + m], a[(g + 8) * 8 + m], a[g * 8 + m + 4], a[(g + 8) * 8 + m + 4]};
    unsigned rb[2] = {b[g * 8 + m], b[g * 8 + m + 4]};
    int r[4] = {c[g * 8 + m * 2], c[g * 8 + m * 2 + 1], c[(g + 8) * 8 + m * 2], c[(g + 8) * 8 + m * 2 + 1]};
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(r[0]), "+r"(r[1]), "+r"(r[2]), "+r"(r[3]) : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));
    d[g * 8 + m * 2] = r[0];
    d[g * 8 + m * 2 + 1] = r[1];
    d[(g + 8) * 8 + m * 2] = r[2];
    d[(g + 8) * 8 + m * 2 + 1] = r[3];
}

extern "C" __global__ void mma_tf32(const float *a, const float *b, const float *c, float *d) {
    unsigned t = threadIdx.x, g = t / 4, m = t % 4;
    float ra[4] = {a[g * 8 + m], a[(g + 8) * 8 + m], a[g * 8 + m + 4], a[(g + 8) * 8 + m + 4]};
    float rb[2] = {b[g * 8 + m], b[g * 8 + m + 4]};
    unsigned ua[4], ub[2];
    for (int i = 0; i < 4; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(ua[i]) : "f"(ra[i]));
    for (int i = 0; i < 2; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(ub[i]) : "f"(rb[i]));
    float r[4] = {c[g * 8 + m * 2], c[g * 8 + m * 2 + 1], c[(g + 8) * 8 + m * 2], c[(g + 8) * 8 + m * 2 + 1]};
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(r[0]), "+f"(r[1]), "+f"(r[2]), "+f"(r[3]) : "r"(ua[0]), "r"(ua[1]), "r"(ua[2]), "r"(ua[3]), "r"(ub[0]), "r"(ub[1]));
    d[g * 8 + m * 2] = r[0];
    d[g * 8 + m * 2 + 1] = r[1];
    d[(g + 8) * 8 + m * 2] = r[2];
    d[(g + 8) * 8 + m * 2 + 1] = r[3];
}

// One instruction a result: out[k * n + i] is instruction k on the operands of thread i.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define THREAD unsigned i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return
#define PUT(k, v) out[(k) * n + i] = (v)
#define TWO(k, op) do { unsigned r; asm(op " %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); PUT(k, r); } while (0)
#define THREE(k, op) do { unsigned r; asm(op " %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c)); PUT(k, r); } while (0)
#define ONE(k, op) do { unsigned r; asm(op " %0, %1;" : "=r"(r) : "r"(a)); PUT(k, r); } while (0)

extern "C" __global__ void integers(const unsigned *x, const unsigned *y, const unsigned *z, unsigned *out, unsigned n) {
    THREAD;
    unsigned a = x[i], b = y[i], c = z[i];
    TWO(0, "add.u32");
    TWO(1, "sub.u32");
    TWO(2, "mul.lo.u32");
    TWO(3, "mul.hi.u32");
    TWO(4, "mul.hi.s32");
    TWO(5, "div.u32");
    TWO(6, "div.s32");
    TWO(7, "rem.u32");
    TWO(8, "rem.s32");
    TWO(9, "min.s32");
    TWO(10, "max.u32");
    TWO(11, "shl.b32");
    TWO(12, "shr.u32");
    TWO(13, "shr.s32");
    TWO(14, "add.sat.s32");
    ONE(15, "popc.b32");
    ONE(16, "clz.b32");
    ONE(17, "brev.b32");
    ONE(18, "bfind.u32");
    ONE(19, "bfind.s32");
    ONE(20, "abs.s32");
    ONE(21, "not.b32");
    THREE(22, "mad.lo.u32");
    THREE(23, "mad.hi.s32");
    THREE(24, "bfe.u32");
    THREE(25, "bfe.s32");
    THREE(26, "prmt.b32");
    THREE(27, "shf.l.wrap.b32");
    THREE(28, "shf.r.clamp.b32");
    THREE(29, "dp4a.s32.s32");
    THREE(30, "dp4a.u32.u32");
    THREE(31, "sad.s32");
    unsigned r;
    asm("bfi.b32 %0, %1, %2, 7, 9;" : "=r"(r) : "r"(a), "r"(b));
    PUT(32, r);
    asm("lop3.b32 %0, %1, %2, %3, 0x5a;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    PUT(33, r);
    unsigned long long w = (unsigned long long)a * b + c;
    PUT(34, (unsigned)(w >> 32));
    PUT(35, (unsigned)(w / (c | 1)));
    PUT(36, (unsigned)((long long)(int)a * (int)b >> 17));
    PUT(37, (unsigned)__umul64hi(w, 0x123456789abcdefull));
    PUT(38, (unsigned)(short)a * (unsigned)(unsigned char)b);
    PUT(39, a < b ? c : (int)a >= (int)b ? 7u : 9u);
}

extern "C" __global__ void floats(const float *x, const float *y, const float *z, float *out, unsigned n) {
    THREAD;
    float a = x[i], b = y[i], c = z[i];
    PUT(0, __fadd_rn(a, b));
    PUT(1, __fadd_rz(a, b));
    PUT(2, __fadd_rd(a, b));
    PUT(3, __fadd_ru(a, b));
    PUT(4, __fmul_rn(a, b));
    PUT(5, __fmul_rz(a, b));
    PUT(6, __fmul_rd(a, b));
    PUT(7, __fmul_ru(a, b));
    PUT(8, __fdiv_rn(a, b));
    PUT(9, __fdiv_rd(a, b));
    PUT(10, __fdiv_ru(a, b));
    PUT(11, __fsqrt_rn(fabsf(a)));
    PUT(12, __fsqrt_rd(fabsf(a)));
    PUT(13, __fsqrt_ru(fabsf(a)));
    PUT(14, __fmaf_rn(a, b, c));
    PUT(15, __fmaf_rd(a, b, c));
    PUT(16, __fmaf_ru(a, b, c));
    PUT(17, fminf(a, b));
    PUT(18, fmaxf(a, b));
    PUT(19, __saturatef(a));
    PUT(20, copysignf(a, b));
    PUT(21, rsqrtf(fabsf(a)));
    PUT(22, exp2f(a));
    PUT(23, __log2f(fabsf(a)));
    PUT(24, __sinf(a));
    PUT(25, __cosf(a));
    PUT(26, tanhf(a));
    PUT(27, expf(a));
    PUT(28, __fdividef(a, b));
    PUT(29, floorf(a));
    PUT(30, rintf(a));
    PUT(31, truncf(a));
    PUT(32, __int2float_rn(__float2int_rn(a)));
    PUT(33, __int2float_rn(__float2int_rd(a)));
    PUT(34, __uint2float_rn(__float2uint_rz(a)));
    PUT(35, (float)((double)a * (double)b + 1.0));
    PUT(36, (float)sqrt((double)fabsf(a)));
    PUT(37, (float)((double)a / (double)b));
    float r;
    asm("tanh.approx.f32 %0, %1;" : "=f"(r) : "f"(a));
    PUT(38, r);
    PUT(39, sinf(a * 1000.0f));
}

extern "C" __global__ void halves(const float *x, const float *y, const float *z, float *out, unsigned n) {
    THREAD;
    __half a = __float2half_rn(x[i]), b = __float2half_rn(y[i]), c = __float2half_rn(z[i]);
    PUT(0, __half2float(a));
    PUT(1, __half2float(__hadd(a, b)));
    PUT(2, __half2float(__hmul(a, b)));
    PUT(3, __half2float(__hfma(a, b, c)));
    PUT(4, __half2float(__float2half_rz(x[i])));
    PUT(5, __half2float(__float2half_rd(x[i])));
    PUT(6, __half2float(__float2half_ru(x[i])));
    __half2 p = __hfma2(__halves2half2(a, b), __halves2half2(b, c), __halves2half2(c, a));
    PUT(7, __low2float(p));
    PUT(8, __high2float(p));
    PUT(9, __half2float(__hmax(a, b)));
    PUT(10, __hlt(a, b) ? 1.0f : 0.0f);
    __nv_bfloat16 d = __float2bfloat16_rn(x[i]), e = __float2bfloat16_rn(y[i]), f = __float2bfloat16_rn(z[i]);
    PUT(11, __bfloat162float(d));
    PUT(12, __bfloat162float(__hadd(d, e)));
    PUT(13, __bfloat162float(__hmul(d, e)));
    PUT(14, __bfloat162float(__hfma(d, e, f)));
    __nv_bfloat162 q = __hmul2(__halves2bfloat162(d, e), __halves2bfloat162(e, f));
    PUT(15, __low2float(q));
    PUT(16, __high2float(q));
    PUT(17, (float)__half2int_rn(a));
    PUT(18, __half2float(__int2half_rn((int)x[i])));
    __half2 packed = __floats2half2_rn(x[i], y[i]);
    PUT(19, __low2float(packed));
    PUT(20, __high2float(packed));
    PUT(21, __half2float(hexp2(a)));
    PUT(22, __half2float(__hneg(a)));
    PUT(23, __half2float(__habs(a)));
}

// What the kernels need to be compiled as C++ for the host: CUDA's words, its built-in variables
// and functions. Threads are fibers of `executor.cpp`. Included before any source by the compiler.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
// Blocks run one after another, so that what a block shares may be static. ThreadSanitizer is told of
// every block that it is new memory.
#define __shared__ static

namespace host {

struct Index { unsigned x, y, z; };
// A copy into shared memory that goes on beside the thread.
struct Copy { void *to; const void *from; unsigned group; };
struct Thread {
    Index index;
    // Copies that have not arrived, and groups of them that have ended.
    Copy copies[64];
    unsigned copy_count, groups;
};
// The thread that runs, its block, and the extents of blocks and of the grid.
extern Thread *thread;
extern Index block, block_extent, grid_extent;

// Waits for all threads of the block.
void barrier(const char *site);
// Gives `value` to the warp, and returns that of `source`, when all lanes have come here.
uint64_t exchange(uint64_t value, unsigned source, const char *site);
unsigned lane();
// Gives up to WORDS words to the warp, which `word` returns from here on for each of its lanes, when all
// of them have come here.
constexpr unsigned WORDS = 6;
void give(const uint32_t *words, unsigned count, const char *site);
uint32_t word(unsigned lane, unsigned index);
// Ends the process with status 3, and says where.
[[noreturn]] void refuse(const char *what, const char *site);
// What a block has of the shared memory whose extent its launch says.
extern unsigned char *dynamic_shared;

template <class T> T shuffle(T value, unsigned source, const char *site) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = exchange(bits, source, site);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace host

#define threadIdx (host::thread->index)
#define blockIdx (host::block)
#define blockDim (host::block_extent)
#define gridDim (host::grid_extent)

#define HOST_TEXT(line) #line
#define HOST_LINE(line) HOST_TEXT(line)
#define HOST_SITE __FILE__ ":" HOST_LINE(__LINE__)
#define __syncthreads() host::barrier(HOST_SITE)
#define __shfl_xor_sync(mask, value, step) host::shuffle(value, host::lane() ^ (step), HOST_SITE)
#define __shfl_sync(mask, value, source) host::shuffle(value, (source) % 32, HOST_SITE)
#define __shfl_up_sync(mask, value, step)                                                          \
    host::shuffle(value, host::lane() < (step) ? host::lane() : host::lane() - (step), HOST_SITE)

template <class T> T atomicAdd(T *to, T x) { return __atomic_fetch_add(to, x, __ATOMIC_RELAXED); }
template <class T> T atomicMin(T *to, T x) {
    T old = __atomic_load_n(to, __ATOMIC_RELAXED);
    while (x < old && !__atomic_compare_exchange_n(to, &old, x, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return old;
}

template <class To, class From> To host_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits are kept");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
inline unsigned __float_as_uint(float x) { return host_bits<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return host_bits<float>(x); }
inline float __int_as_float(int x) { return host_bits<float>(x); }
inline long long __double_as_longlong(double x) { return host_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return host_bits<double>(x); }

// Towards zero.
template <class From> float host_toward_zero(From x) {
    float y = (float)x;
    return std::fabs((long double)y) > std::fabs((long double)x) ? std::nextafter(y, 0.0f) : y;
}
inline float __double2float_rz(double x) { return host_toward_zero(x); }
inline float __ull2float_rz(unsigned long long x) { return host_toward_zero(x); }

// One rounding each: the compiler is told not to merge operations.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
// The sum of c and of products of four bytes.
inline int __dp4a(int a, int b, int c) {
    unsigned sum = (unsigned)c;
    for (int i = 0; i < 32; i += 8) sum += (unsigned)((signed char)(a >> i) * (signed char)(b >> i));
    return (int)sum;
}

template <class A, class B> std::common_type_t<A, B> min(A a, B b) {
    return a < b ? std::common_type_t<A, B>(a) : std::common_type_t<A, B>(b);
}
template <class A, class B> std::common_type_t<A, B> max(A a, B b) {
    return a > b ? std::common_type_t<A, B>(a) : std::common_type_t<A, B>(b);
}
inline void sincospif(float x, float *sine, float *cosine) {
    const double pi = 3.14159265358979323846;
    *sine = (float)std::sin(pi * (double)x);
    *cosine = (float)std::cos(pi * (double)x);
}

struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) ushort4 { unsigned short x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

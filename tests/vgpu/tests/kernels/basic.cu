// What most kernels are made of: elementwise work, shuffles, shared memory, barriers, atomics.

extern "C" __global__ void gelu_f32(const float *x, float *y, unsigned n) {
    unsigned stride = gridDim.x * blockDim.x;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        y[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
}

__device__ __forceinline__ float warp_max(float v) {
    for (int o = 16; o > 0; o >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

__device__ __forceinline__ float warp_sum(float v) {
    for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

// One block a row. blockDim.x is a multiple of 32.
extern "C" __global__ void softmax_rows_f32(const float *x, float *y, unsigned columns) {
    __shared__ float partial[32];
    x += (size_t)blockIdx.x * columns;
    y += (size_t)blockIdx.x * columns;
    unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    float m = -__int_as_float(0x7f800000);
    for (unsigned i = threadIdx.x; i < columns; i += blockDim.x) m = fmaxf(m, x[i]);
    m = warp_max(m);
    if (lane == 0) partial[warp] = m;
    __syncthreads();
    m = warp_max(lane < warps ? partial[lane] : -__int_as_float(0x7f800000));
    float s = 0;
    for (unsigned i = threadIdx.x; i < columns; i += blockDim.x) s += __expf(x[i] - m);
    s = warp_sum(s);
    __syncthreads();
    if (lane == 0) partial[warp] = s;
    __syncthreads();
    s = warp_sum(lane < warps ? partial[lane] : 0.0f);
    for (unsigned i = threadIdx.x; i < columns; i += blockDim.x) y[i] = __expf(x[i] - m) / s;
}

#define TILE 16
extern "C" __global__ void matmul_f32(const float *a, const float *b, float *c, unsigned m, unsigned n, unsigned k) {
    __shared__ float sa[TILE][TILE], sb[TILE][TILE];
    unsigned row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0;
    for (unsigned t = 0; t < k; t += TILE) {
        sa[threadIdx.y][threadIdx.x] = row < m && t + threadIdx.x < k ? a[row * k + t + threadIdx.x] : 0;
        sb[threadIdx.y][threadIdx.x] = column < n && t + threadIdx.y < k ? b[(t + threadIdx.y) * n + column] : 0;
        __syncthreads();
        for (unsigned i = 0; i < TILE; i++) sum = fmaf(sa[threadIdx.y][i], sb[i][threadIdx.x], sum);
        __syncthreads();
    }
    if (row < m && column < n) c[row * n + column] = sum;
}

// Histogram of bytes in dynamic shared memory (256 counters), added to the global one.
extern "C" __global__ void histogram_u8(const unsigned char *x, unsigned *counts, unsigned n) {
    extern __shared__ unsigned local[];
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&local[x[i]], 1u);
    __syncthreads();
    for (unsigned i = threadIdx.x; i < 256; i += blockDim.x)
        if (local[i]) atomicAdd(&counts[i], local[i]);
}

// Collatz steps of each lane: loops of different lengths meet again.
extern "C" __global__ void collatz_u32(const unsigned *x, unsigned *steps, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned v = x[i], count = 0;
    while (v != 1) {
        v = v & 1 ? 3 * v + 1 : v / 2;
        count++;
    }
    steps[i] = count;
}

extern "C" __global__ void __launch_bounds__(128) fill_f32(float *y, float value, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = value;
}

__device__ float table[4] = {1.0f, 2.0f, 4.0f, 8.0f};
__constant__ int scale = 3;
extern "C" __global__ void lookup_f32(float *y, unsigned n) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = table[i & 3] * scale;
}

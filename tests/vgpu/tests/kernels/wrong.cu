// Kernels with one mistake each, which the virtual GPU must find.

// Reads and writes past the end where the launch covers more than n.
extern "C" __global__ void no_bound(const float *x, float *y) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = x[i] + 1.0f;
}

extern "C" __global__ void misaligned(const float *x, float *y) {
    *(float4 *)y = *(const float4 *)(x + 1);
}

// The barrier between writing and reading is missing.
extern "C" __global__ void shared_race(const float *x, float *y) {
    __shared__ float s[256];
    s[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = s[threadIdx.x ^ 33];
}

// Every block writes the same place.
extern "C" __global__ void block_race(float *y) {
    if (threadIdx.x == 0) y[0] = blockIdx.x;
}

// Only the first half is written.
extern "C" __global__ void shared_uninitialized(float *y) {
    __shared__ float s[256];
    if (threadIdx.x < 128) s[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = s[threadIdx.x];
}

extern "C" __global__ void divergent_barrier(float *y) {
    if (threadIdx.x < 16) {
        __syncthreads();
        y[threadIdx.x] = 1.0f;
    } else {
        __syncthreads();
        y[threadIdx.x] = 2.0f;
    }
}

// Lanes that have left are read.
extern "C" __global__ void shuffle_from_gone(float *y, unsigned n) {
    if (threadIdx.x >= n) return;
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, (float)threadIdx.x, 16);
}

extern "C" __global__ void endless(volatile int *y) {
    while (y[0] == 0) {
    }
}

extern "C" __global__ void trapped(int *y) {
    if (y[0] == 0) asm volatile("trap;");
}

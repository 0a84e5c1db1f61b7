// What all families share. `real` is double or float; recursions, seeds and geometry are double in both. No header is read: NVRTC has none.
#ifndef SCATTERC_EMULATE
extern __shared__ __align__(16) unsigned char dynamic_shared[];
#endif

typedef const void* const* __restrict__ Tables;

struct __align__(2 * sizeof(real)) complex {
    real re, im;
};

struct __align__(16) pair {
    double x, y;
};

__device__ __forceinline__ double mad(double a, double b, double c) { return fma(a, b, c); }
__device__ __forceinline__ float mad(float a, float b, float c) { return fmaf(a, b, c); }

// The item of a block: the last whose first block is not behind it.
__device__ __forceinline__ int item_of(const int* first, int items, int block) {
    int low = 0, high = items;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (first[middle] <= block)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// Sums of K values over the threads of a block, in a fixed order: a tree over the lanes, then the warps one after another. All threads receive them; `room` holds K
// numbers per warp.
template <int K>
__device__ __forceinline__ void block_sums(double (&values)[K], double* room) {
    const int warps = (blockDim.x + 31) / 32;
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2)
#pragma unroll
        for (int k = 0; k < K; k++) {
            const double other = __shfl_xor_sync(0xffffffffu, values[k], bits);
            values[k] += other;
        }
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        for (int k = 0; k < K; k++) room[threadIdx.x / 32 * K + k] = values[k];
    __syncthreads();
    for (int k = 0; k < K; k++) {
        double sum = room[k];
        for (int warp = 1; warp < warps; warp++) sum += room[warp * K + k];
        values[k] = sum;
    }
    __syncthreads();
}

// What CUDA kernels share: reductions in a fixed order, and numbers of either type as floats.
#pragma once
#include <cuda_runtime.h>

#include "core/dtype.h"

namespace vlm2vec::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// The block's dynamic shared memory, 16-byte aligned.
__device__ inline uint8_t* dynamic_shared() {
  extern __shared__ uint4 shared_memory[];
  return reinterpret_cast<uint8_t*>(shared_memory);
}

// Over groups of `Width` consecutive lanes; every lane gets the result.
template <int Width = kWarp, typename T>
__device__ T warp_sum(T x) {
  for (int step = Width / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

template <int Width = kWarp>
__device__ float warp_max(float x) {
  for (int step = Width / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, step));
  return x;
}

// Over a block of Warps warps; every thread gets the result. `shared` holds Warps numbers.
template <int Warps, typename T>
__device__ T block_sum(T x, T* shared) {
  x = warp_sum(x);
  __syncthreads();  // the numbers of the last reduction have been read
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  T sum = 0;
  for (int w = 0; w < Warps; ++w) sum += shared[w];
  return sum;
}

template <int Warps>
__device__ float block_max(float x, float* shared) {
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  for (int w = 0; w < Warps; ++w) x = fmaxf(x, shared[w]);
  return x;
}

__device__ inline void store(float* to, float x) { *to = x; }
__device__ inline void store(bf16* to, float x) { *to = to_bf16(x); }

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Calls f with a value of the C++ type of a tensor that is f32 or bf16.
template <typename F>
void with_type(DType dtype, const F& f) {
  if (dtype == DType::BF16)
    f(bf16());
  else
    f(float());
}

}  // namespace vlm2vec::cuda

// Stands in for CUDA's header where the tests compile .cu files as C++: kernels then run on the CPU, thread by thread,
// so that their indexing, barriers and tensor-core fragments are tested on machines without a GPU. engine.cpp says how.
// Only what the CUDA backend uses is here.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __shared__  // kernels use dynamic shared memory only: `extern __shared__ uint4 shared_memory[]`
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  unsigned x, y, z;
};

// Those of the thread that runs.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace vlm2vec::cuda {
extern uint4 shared_memory[];
}

// ---------------------------------------------------------------------------------------------------------------------
// What threads of a block do together
namespace emulation {

constexpr int kWarp = 32;

void block_barrier();
// Posts `bytes` of this thread, waits for its warp, and returns where lane `l` posted its own: result + l * kPostBytes.
constexpr size_t kPostBytes = 32;
const uint8_t* exchange(const void* posted, size_t bytes);

template <typename T>
T from_lane(T value, int lane) {
  static_assert(sizeof(T) <= kPostBytes);
  const uint8_t* posted = exchange(&value, sizeof(T));
  T result;
  std::memcpy(&result, posted + size_t(lane) * kPostBytes, sizeof(T));
  return result;
}

// Ends the process: the kernel did what a GPU must not be asked to do.
[[noreturn]] void stop(const char* message);

void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread);

}  // namespace emulation

inline void __syncthreads() { emulation::block_barrier(); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulation::from_lane(0, 0); }
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulation::from_lane(value, int(threadIdx.x % emulation::kWarp) ^ mask);
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return emulation::from_lane(value, lane);
}

// ---------------------------------------------------------------------------------------------------------------------
// The runtime
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700
};
enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_16BF = 14 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
constexpr unsigned cudaStreamNonBlocking = 1;
using cudaStream_t = struct EmulatedStream*;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor;
};

const char* cudaGetErrorName(cudaError_t);
const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int*);
cudaError_t cudaRuntimeGetVersion(int*);
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
cudaError_t cudaSetDevice(int);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamQuery(cudaStream_t);
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaMemGetInfo(size_t*, size_t*);
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t);
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute, int);

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

cudaError_t emulated_launch(const cudaLaunchConfig_t& config, const void* function,
                            const std::function<void()>& thread);

template <typename... Parameters>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Parameters... arguments) {
  return emulated_launch(*config, reinterpret_cast<const void*>(kernel), [&] { kernel(arguments...); });
}

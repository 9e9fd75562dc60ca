// CUDA's runtime for the emulated device: limits of the smallest supported devices, host memory, no delay.
#include <cstdlib>
#include <map>

#include "cuda_runtime.h"

namespace {

constexpr size_t kMostSharedBytes = 99 * 1024;  // of the smallest supported devices, 8.6 and 8.9
constexpr size_t kPlainSharedBytes = 48 * 1024;
constexpr size_t kMemory = size_t(1) << 32;
constexpr unsigned kMostBlocksYZ = 65535;

cudaError_t last = cudaSuccess;

cudaError_t result(cudaError_t status) {
  if (status != cudaSuccess) last = status;
  return status;
}

// Shared memory that kernels were allowed to use
std::map<const void*, size_t>& allowed() {
  static std::map<const void*, size_t> map;
  return map;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t status) {
  return status == cudaErrorInvalidValue ? "cudaErrorInvalidValue" : "cudaError";
}
const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaErrorInvalidValue ? "invalid argument" : "error";
}
cudaError_t cudaGetLastError() {
  const cudaError_t status = last;
  last = cudaSuccess;
  return status;
}
cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return result(cudaErrorInvalidValue);
  *properties = {"emulated", kMemory, 9, 0};
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return result(device == 0 ? cudaSuccess : cudaErrorInvalidValue); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = reinterpret_cast<cudaStream_t>(&last);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = bytes > kMemory ? nullptr : std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  return result(*memory ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* memory) { return std::free(memory), cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t* available, size_t* total) { return *available = *total = kMemory, cudaSuccess; }
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  return std::memset(memory, value, bytes), cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  return std::memcpy(to, from, bytes), cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute, int value) {
  if (size_t(value) > kMostSharedBytes) return result(cudaErrorInvalidValue);
  allowed()[function] = size_t(value);
  return cudaSuccess;
}

cudaError_t emulated_launch(const cudaLaunchConfig_t& config, const void* function,
                            const std::function<void()>& thread) {
  const size_t shared = config.dynamicSmemBytes;
  const bool fits = shared <= kPlainSharedBytes || (allowed().count(function) && shared <= allowed()[function]);
  const bool grid = config.gridDim.x > 0 && config.gridDim.y > 0 && config.gridDim.z > 0 &&
                    config.gridDim.x < (1u << 31) && config.gridDim.y <= kMostBlocksYZ &&
                    config.gridDim.z <= kMostBlocksYZ;
  if (!fits || !grid || config.blockDim.x > 1024) return result(cudaErrorInvalidValue);
  emulation::run_grid(config.gridDim, config.blockDim, shared, thread);
  return cudaSuccess;
}

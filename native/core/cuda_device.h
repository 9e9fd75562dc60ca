// One CUDA device with one stream, on which everything runs in order. Included by .cu files only.
#pragma once
#include "core/cuda_check.h"
#include "core/device.h"

namespace vlm2vec {

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index);
  ~CudaDevice() override;

  std::string describe() const override;
  void* allocate(size_t bytes) override;
  void release(void* memory) noexcept override;
  void zero(void* memory, size_t bytes) override;
  void to_device(void* to, const void* from_host, size_t bytes) override;
  void to_host(void* to, const void* from_device, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void synchronize() override;

  cudaStream_t stream() const { return stream_; }
  bool alive() const { return dead_.empty(); }

  // Throws E_CUDA for a failed call. An error after which the driver refuses all further calls of the process (an
  // illegal address in a kernel) marks the device dead: every later use throws at once, with the first reason.
  void check(cudaError_t status, const char* statement, const char* file, int line);

  // Runs kernel(arguments...) on the stream; `shared` bytes of dynamic shared memory a block. An empty grid does
  // nothing.
  template <typename... Parameters, typename... Arguments>
  void launch(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared, const Arguments&... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    activate();
    if (shared > kPlainSharedMemory)
      CUDA_CHECK(*this, cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                             cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)));
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3(unsigned(threads));
    config.dynamicSmemBytes = shared;
    config.stream = stream_;
    CUDA_CHECK(*this, cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
  }

 private:
  // More than this has to be asked for, kernel by kernel.
  static constexpr size_t kPlainSharedMemory = 48 * 1024;

  // Makes this device the calling thread's, which need not be the one that made the object.
  void activate();

  int index_;
  cudaStream_t stream_ = nullptr;
  std::string name_;
  size_t memory_ = 0;
  int major_ = 0, minor_ = 0;
  std::string dead_;  // the first error that the driver did not recover from
};

// Tensors that `Device::is_cuda` live on one of these.
inline CudaDevice& cuda_device(const Tensor& x) { return static_cast<CudaDevice&>(*x.device); }

}  // namespace vlm2vec

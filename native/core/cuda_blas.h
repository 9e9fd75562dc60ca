// cuBLASLt, loaded at first use: the addon starts on machines without it.
#pragma once
#include "core/cuda_blas_api.h"
#include "core/cuda_device.h"

namespace vlm2vec {

// Finds libcublasLt beside the addon (RPATH), on the system's library path, or in the usual place of a CUDA toolkit.
// Throws E_CUDA that says where it looked and how to install it.
const blas::Functions& cuda_blas_functions();

// The library's handle on one device, and the workspace that its algorithms may use. A state of the device.
class CudaBlas {
 public:
  // NVIDIA recommends 32 MiB for Hopper; smaller devices need less.
  static constexpr size_t kWorkspaceBytes = size_t(32) << 20;

  explicit CudaBlas(Device& device);
  ~CudaBlas();
  CudaBlas(const CudaBlas&) = delete;
  CudaBlas& operator=(const CudaBlas&) = delete;

  const blas::Functions& functions() const { return functions_; }
  blas::Handle handle() const { return handle_; }
  void* workspace() const { return workspace_; }
  void check(blas::Status status, const char* statement, const char* file, int line) const;

 private:
  Device& device_;
  const blas::Functions& functions_;
  void* workspace_ = nullptr;
  blas::Handle handle_ = nullptr;
};

}  // namespace vlm2vec

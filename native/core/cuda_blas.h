// cuBLASLt, loaded at first use: the addon starts on machines without it. Only its header is needed to build.
#pragma once
#include <cublasLt.h>

#include "core/cuda_device.h"

namespace vlm2vec {

// The functions that are used, by their names without `cublasLt`.
struct CudaBlasFunctions {
  decltype(&cublasLtCreate) Create;
  decltype(&cublasLtDestroy) Destroy;
  decltype(&cublasLtGetStatusName) GetStatusName;
  decltype(&cublasLtMatmulDescCreate) MatmulDescCreate;
  decltype(&cublasLtMatmulDescDestroy) MatmulDescDestroy;
  decltype(&cublasLtMatmulDescSetAttribute) MatmulDescSetAttribute;
  decltype(&cublasLtMatrixLayoutCreate) MatrixLayoutCreate;
  decltype(&cublasLtMatrixLayoutDestroy) MatrixLayoutDestroy;
  decltype(&cublasLtMatmulPreferenceCreate) MatmulPreferenceCreate;
  decltype(&cublasLtMatmulPreferenceDestroy) MatmulPreferenceDestroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) MatmulPreferenceSetAttribute;
  decltype(&cublasLtMatmulAlgoGetHeuristic) MatmulAlgoGetHeuristic;
  decltype(&cublasLtMatmul) Matmul;
};

// Finds libcublasLt beside the addon (RPATH), on the system's library path, or in the usual place of a CUDA toolkit.
// Throws E_CUDA that says where it looked and how to install it.
const CudaBlasFunctions& cuda_blas_functions();

// The library's handle on one device, and the workspace that its algorithms may use. A state of the device.
class CudaBlas {
 public:
  // NVIDIA recommends 32 MiB for Hopper; smaller devices need less.
  static constexpr size_t kWorkspaceBytes = size_t(32) << 20;

  explicit CudaBlas(Device& device);
  ~CudaBlas();
  CudaBlas(const CudaBlas&) = delete;
  CudaBlas& operator=(const CudaBlas&) = delete;

  const CudaBlasFunctions& functions() const { return functions_; }
  cublasLtHandle_t handle() const { return handle_; }
  void* workspace() const { return workspace_; }
  void check(cublasStatus_t status, const char* statement, const char* file, int line) const;

 private:
  Device& device_;
  const CudaBlasFunctions& functions_;
  void* workspace_ = nullptr;
  cublasLtHandle_t handle_ = nullptr;
};

}  // namespace vlm2vec

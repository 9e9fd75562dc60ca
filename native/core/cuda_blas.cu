#include "core/cuda_blas.h"

namespace vlm2vec {

CudaBlas::CudaBlas(Device& device) : device_(device), functions_(cuda_blas_functions()) {
  CUBLAS_CHECK(*this, functions_.Create(&handle_));
  try {
    workspace_ = device.allocate(kWorkspaceBytes);
  } catch (...) {
    functions_.Destroy(handle_);
    throw;
  }
}

CudaBlas::~CudaBlas() {
  if (static_cast<CudaDevice&>(device_).alive()) functions_.Destroy(handle_);
  device_.release(workspace_);
}

void CudaBlas::check(blas::Status status, const char* statement, const char* file, int line) const {
  require(status == blas::kSuccess, "E_CUDA", device_.describe(), ": ", functions_.GetStatusName(status), " in ",
          statement, " at ", file, ":", line);
}

}  // namespace vlm2vec

#pragma once
#include "core/dtype.h"
#include "core/isa.h"
#include "ops/dropout.h"

namespace vlm2vec {

struct DropoutApply {
  DType type;
  void* out;
  const void* x;
  const int32_t* row_ids;
  int64_t rows, columns;
  Dropout options;
  int threads;
};

struct DropoutKernels {
  void (*apply)(const DropoutApply&);
};

VLM2VEC_DECLARE_KERNELS(DropoutKernels, dropout_kernels)

}  // namespace vlm2vec

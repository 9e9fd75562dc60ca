#pragma once
#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

struct RopeApply {
  void* x;  // (rows, heads, 2 * half), in place
  DType type;
  int64_t stride;
  const float *cos, *sin;  // (rows, half)
  int64_t rows, heads, half;
  bool inverse;
  int threads;
};

struct RopeKernels {
  void (*apply)(const RopeApply&);
};

VLM2VEC_DECLARE_KERNELS(RopeKernels, rope_kernels)

}  // namespace vlm2vec

#pragma once
#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

struct Cast {
  void* to;
  DType to_type;
  const void* from;
  DType from_type;
  int64_t size;
  int threads;
};

struct CastKernels {
  void (*cast)(const Cast&);
  bool (*all_finite)(const void* x, DType type, int64_t size, int threads);
  void (*add_scaled)(float* x, const void* y, DType y_type, float scale, int64_t size, int threads);
  void (*scale)(const Cast&, float factor);
};

VLM2VEC_DECLARE_KERNELS(CastKernels, cast_kernels)

}  // namespace vlm2vec

#pragma once
#include "core/dtype.h"
#include "core/isa.h"
#include "ops/adamw.h"

namespace vlm2vec {

struct AdamWUpdate {
  float* parameter;
  bf16* shadow;  // or null
  float *m, *v;
  const float* gradient;
  int64_t size;
  int threads;
};

struct AdamWKernels {
  void (*update)(const AdamWUpdate&, const AdamW& options);
};

VLM2VEC_DECLARE_KERNELS(AdamWKernels, adamw_kernels)

}  // namespace vlm2vec

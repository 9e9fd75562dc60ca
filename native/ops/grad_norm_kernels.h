#pragma once
#include <cstdint>

#include "core/isa.h"

namespace vlm2vec {

// Numbers whose squares are summed before anything is added to other threads' sums.
constexpr int64_t kGradNormBlock = 16384;

struct GradNormKernels {
  // partial[b] = sum of squares of block b of x.
  void (*sum_of_squares)(double* partial, const float* x, int64_t size, int threads);
};

VLM2VEC_DECLARE_KERNELS(GradNormKernels, grad_norm_kernels)

}  // namespace vlm2vec

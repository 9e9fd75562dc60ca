#pragma once
#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

// Strides count numbers from one row to the next.
struct RmsnormForward {
  void* out;
  DType out_type;
  int64_t out_stride;
  float* rstd;
  const void* x;
  DType x_type;
  int64_t x_stride;
  const float* weight;
  float eps;
  int64_t rows, columns;
  int threads;
};

struct RmsnormBackward {
  float* dx;
  int64_t dx_stride;
  float* dweight;  // or null
  const void* dout;
  DType dout_type;
  int64_t dout_stride;
  const void* x;
  DType x_type;
  int64_t x_stride;
  const float* weight;
  const float* rstd;
  int64_t rows, columns;
  int threads;
};

struct RmsnormKernels {
  void (*forward)(const RmsnormForward&);
  void (*backward)(const RmsnormBackward&);
};

VLM2VEC_DECLARE_KERNELS(RmsnormKernels, rmsnorm_kernels)

}  // namespace vlm2vec

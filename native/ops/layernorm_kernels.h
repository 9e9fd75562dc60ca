#pragma once
#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

struct LayernormForward {
  void* out;
  DType out_type;
  float *mean, *rstd;
  const float *x, *weight, *bias;
  float eps;
  int64_t rows, columns;
  int threads;
};

struct LayernormBackward {
  float *dx, *dweight, *dbias;  // the last two may be null
  const void* dout;
  DType dout_type;
  const float *x, *weight, *mean, *rstd;
  int64_t rows, columns;
  int threads;
};

struct LayernormKernels {
  void (*forward)(const LayernormForward&);
  void (*backward)(const LayernormBackward&);
};

VLM2VEC_DECLARE_KERNELS(LayernormKernels, layernorm_kernels)

}  // namespace vlm2vec

#pragma once
#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

struct DoraNorm {
  float* norm;
  const void* w;
  DType w_type;
  const float *a, *b;
  float s;
  int64_t rows, columns, rank;  // N, K, R
  int threads;
};

struct RowScaleForward {
  void* out;
  DType out_type;
  const void* z;
  DType z_type;
  const float *c, *bias;  // bias may be null
  int64_t rows, columns;
  int threads;
};

struct RowScaleBackward {
  void* dz;
  float* dm;
  const void *dout, *z;
  DType type;
  const float *c, *norm;
  int64_t rows, columns;
  int threads;
};

struct DoraKernels {
  void (*norm)(const DoraNorm&);
  void (*row_scale_forward)(const RowScaleForward&);
  void (*row_scale_backward)(const RowScaleBackward&);
};

VLM2VEC_DECLARE_KERNELS(DoraKernels, dora_kernels)

}  // namespace vlm2vec

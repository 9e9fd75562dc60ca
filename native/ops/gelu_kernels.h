#pragma once
#include "core/dtype.h"
#include "core/isa.h"
#include "ops/gelu.h"

namespace vlm2vec {

struct GeluForward {
  Activation kind;
  DType type;
  void* out;
  const void* x;
  int64_t size;
  int threads;
};

struct GeluBackward {
  Activation kind;
  DType type;
  void* dx;
  const void *dout, *x;
  int64_t size;
  int threads;
};

struct GeluKernels {
  void (*forward)(const GeluForward&);
  void (*backward)(const GeluBackward&);
};

VLM2VEC_DECLARE_KERNELS(GeluKernels, gelu_kernels)

}  // namespace vlm2vec

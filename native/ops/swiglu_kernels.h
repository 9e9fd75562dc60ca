#pragma once
#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

struct SwigluForward {
  DType type;
  void* out;
  const void *gate, *up;
  int64_t size;
  int threads;
};

struct SwigluBackward {
  DType type;
  void *dgate, *dup;
  const void *dout, *gate, *up;
  int64_t size;
  int threads;
};

struct SwigluKernels {
  void (*forward)(const SwigluForward&);
  void (*backward)(const SwigluBackward&);
};

VLM2VEC_DECLARE_KERNELS(SwigluKernels, swiglu_kernels)

}  // namespace vlm2vec

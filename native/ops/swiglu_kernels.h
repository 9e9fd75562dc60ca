#pragma once
#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

// Rows of elements, `stride` of them from one row to the next.
template <typename Void>
struct SwigluRows {
  Void* data;
  int64_t stride;
};

struct SwigluForward {
  DType type;
  SwigluRows<void> out;
  SwigluRows<const void> gate, up;
  int64_t rows, columns;
  int threads;
};

struct SwigluBackward {
  DType type;
  SwigluRows<void> dgate, dup;
  SwigluRows<const void> dout, gate, up;
  int64_t rows, columns;
  int threads;
};

struct SwigluKernels {
  void (*forward)(const SwigluForward&);
  void (*backward)(const SwigluBackward&);
};

VLM2VEC_DECLARE_KERNELS(SwigluKernels, swiglu_kernels)

}  // namespace vlm2vec

#pragma once
#include "core/isa.h"
#include "ops/quantize.h"

namespace vlm2vec {

struct QuantizeKernels {
  void (*quantize)(const QuantizedMatrix& to, const void* values, DType type, int threads);
  void (*dequantize)(void* to, DType type, const QuantizedMatrix& from, int64_t first_row, int64_t rows, int threads);
};

VLM2VEC_DECLARE_KERNELS(QuantizeKernels, quantize_kernels)

}  // namespace vlm2vec

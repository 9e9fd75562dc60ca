// Products in whole numbers: x is quantized as well, 256 numbers of a row at a time, so that one large number spoils no
// more than its neighbours:
//   x ~ s code, s = max |x| / 127 in each run of kInt8Run numbers of a row;  out = scale_n sum over runs s (code .
//   code_n)
// The sums in brackets are exact, so that a row has the same bits in every batch. Forward only.
#pragma once
#include "core/isa.h"
#include "ops/quantize.h"

namespace vlm2vec {

constexpr int64_t kInt8Run = 256;

// out (rows, n) = or += x (rows, k) . Wᵀ + bias (n, or null)
struct Int8Product {
  void* out;
  const void* x;
  const void* packed;
  const float* scales;  // (n)
  const float* bias;
  int64_t rows, n, k;
  DType x_type, out_type;
  bool accumulate;
  int threads;
  void* scratch;
};

struct Int8Kernels {
  // Whether this machine multiplies 8-bit numbers faster than f32.
  bool (*fast)();
  size_t (*packed_bytes)(int64_t n, int64_t k);
  void (*pack)(void* packed, const QuantizedMatrix& matrix, int threads);
  size_t (*scratch_bytes)(const Int8Product& product);
  void (*multiply)(const Int8Product& product);
};

VLM2VEC_DECLARE_KERNELS(Int8Kernels, int8_kernels)

}  // namespace vlm2vec

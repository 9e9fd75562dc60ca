// Our own matrix products, for instruction sets and shapes that oneDNN has no invariant kernel for: on AVX2 and
// portable machines they are the products. Sums are f32 in blocks of fixed depth; bf16 is widened in cache.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

// out (rows, columns) = or += x (rows, depth) · packed (depth, columns) + bias (columns, or null)
struct PackedProduct {
  void* out;
  const void* x;
  const void* packed;
  const float* bias;
  int64_t rows, columns, depth;
  DType type, out_type;  // of x and packed; of out
  bool accumulate;
  int threads;
  float* scratch;
};

// dweight (n, k) += doutᵀ · x, dout (m, n), x (m, k)
struct WeightProduct {
  float* dweight;
  const void *dout, *x;
  int64_t m, n, k;
  DType type;
  int threads;
  float* scratch;
};

struct MatmulKernels {
  size_t (*packed_bytes)(int64_t columns, int64_t depth, DType type);
  // weight (n, k), at any address. transposed: for x · weightᵀ (n columns, depth k); else for x · weight.
  void (*pack)(void* packed, const void* weight, int64_t n, int64_t k, DType type, bool transposed, int threads);
  size_t (*scratch_bytes)(const PackedProduct& product);
  void (*multiply)(const PackedProduct& product);
  size_t (*weight_scratch_bytes)(const WeightProduct& product);
  void (*multiply_weight)(const WeightProduct& product);
  // sums (columns) += x (rows, columns), in f64 and in order of the rows
  void (*add_column_sums)(float* sums, const void* x, int64_t rows, int64_t columns, DType type, int threads);
};

VLM2VEC_DECLARE_KERNELS(MatmulKernels, matmul_kernels)

}  // namespace vlm2vec

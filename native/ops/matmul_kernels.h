// Our own matrix products, for instruction sets, shapes and number formats that oneDNN has no invariant kernel for: on
// AVX2 and portable machines, of quantized weights, and of bf16 on most machines, they are the products. Sums are f32,
// of parts that the depth alone decides (ops/microkernel.h, part_of); whatever a weight is stored as is widened in
// cache, a part of a panel at a time, but for bf16 where AMX multiplies it (ops/matmul_amx.h).
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/isa.h"

namespace vlm2vec {

// The right factor (depth, columns) of a product: a weight (n, k) seen as its transpose (forward) or as it is (dX).
struct RightFactor {
  enum class Kind {
    Packed,  // f32 panels, by MatmulKernels::pack
    Plain,   // the weight row by row, at any address
    Int8,    // codes and scales of ops/quantize.h
    Nf4
  };
  Kind kind = Kind::Packed;
  const void* data = nullptr;
  const float* scales = nullptr;
  DType type = DType::F32;  // of Plain
  bool transposed = false;
  int64_t n = 0, k = 0;

  int64_t depth() const { return transposed ? k : n; }
  int64_t columns() const { return transposed ? n : k; }
};

// x (rows, depth) · right, x dense
struct Term {
  const void* x = nullptr;
  RightFactor right;
};

// out (rows, columns) = or += sum of terms + bias (columns, or null). The second term may be absent (x null).
struct PackedProduct {
  void* out;
  Term terms[2];
  const float* bias;
  int64_t rows, columns;
  DType x_type, out_type;
  bool accumulate;
  bool tiles;  // bf16 by those of AMX (ops/amx.h)
  int threads;
  float* scratch;  // 64-byte aligned
};

// dweight (n, k) += doutᵀ · x, dout (m, n), x (m, k)
struct WeightProduct {
  float* dweight;
  const void *dout, *x;
  int64_t m, n, k;
  DType type;
  bool tiles;  // as above
  int threads;
  float* scratch;  // 64-byte aligned
};

struct MatmulKernels {
  size_t (*packed_bytes)(int64_t columns, int64_t depth);
  // weight (n, k) f32, at any address. transposed: for x · weightᵀ (n columns, depth k); else for x · weight.
  void (*pack)(float* packed, const void* weight, int64_t n, int64_t k, bool transposed, int threads);
  size_t (*scratch_bytes)(const PackedProduct& product);
  void (*multiply)(const PackedProduct& product);
  size_t (*weight_scratch_bytes)(const WeightProduct& product);
  void (*multiply_weight)(const WeightProduct& product);
  // oneDNN's copy for dY·W (DnnlMatmul::turns) out of that for X·Wᵀ: blocks of 64 columns.
  void (*turn)(void* to, const void* from, int64_t n, int64_t k, DType type, int threads);
  // sums (columns) += x (rows, columns), in f64 and in order of the rows
  void (*add_column_sums)(float* sums, const void* x, int64_t rows, int64_t columns, DType type, int threads);
};

VLM2VEC_DECLARE_KERNELS(MatmulKernels, matmul_kernels)

}  // namespace vlm2vec

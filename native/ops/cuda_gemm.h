// Row-major matrix products on CUDA, by cuBLASLt: out (M, N) = alpha op(a) (M, K) · op(b) (K, N) + beta out + bias (N).
// f32 products are f32 throughout (no TF32); bf16 products are summed in f32. The algorithm of a shape is chosen once,
// among those whose result does not depend on timing.
#pragma once
#include "core/tensor.h"

namespace vlm2vec::cuda {

struct Gemm {
  Tensor out;  // (M, N) f32, or bf16 where a and b are
  Tensor a;    // (M, K), or (K, M) transposed; f32 or bf16
  Tensor b;    // (K, N), or (N, K) transposed; a's type
  bool transpose_a = false, transpose_b = false;
  float alpha = 1, beta = 0;
  Tensor bias = Tensor();  // (N) f32, or absent
};

// Rows may be strided. Nothing happens where a size is 0.
void gemm(const Gemm& product);

}  // namespace vlm2vec::cuda

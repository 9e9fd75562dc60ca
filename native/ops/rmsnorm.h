// RMSNorm over the last dimension (Zhang & Sennrich 2019; transformers Qwen2RMSNorm).
//   forward:  rstd = 1 / sqrt(mean(x^2) + eps);  out = weight * (x * rstd)
//   backward: g = dout * weight;  dx += rstd * (g - x * rstd^2 * mean(g * x));
//             dweight += sum over rows of dout * x * rstd
// Sums are f32, in a fixed order per row; over rows they are f64 of f32 blocks of 16 rows.
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// out (M, C) f32 or bf16, rstd (M) f32, x (M, C) f32 or bf16, weight (C) f32. Rows of out and x may be strided.
void rmsnorm_forward(Tensor out, Tensor rstd, Tensor x, Tensor weight, float eps);
// dx (M, C) f32, added to: the residual stream's gradient passes by the norm. dweight (C) f32, added to, or absent.
// dout (M, C) f32 or bf16.
void rmsnorm_backward(Tensor dx, Tensor dweight, Tensor dout, Tensor x, Tensor weight, Tensor rstd);

}  // namespace vlm2vec

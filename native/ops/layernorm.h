// LayerNorm over the last dimension (Ba et al. 2016; torch.nn.LayerNorm).
//   forward:  mean, rstd = 1 / sqrt(biased variance + eps);  xhat = (x - mean) * rstd;  out = xhat * weight + bias
//   backward: g = dout * weight;  dx += rstd * (g - mean(g) - xhat * mean(g * xhat));
//             dweight += sum over rows of dout * xhat;  dbias += sum over rows of dout
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// out (M, C) f32 or bf16, mean (M), rstd (M) f32, x (M, C) f32, weight (C), bias (C) f32.
void layernorm_forward(Tensor out, Tensor mean, Tensor rstd, Tensor x, Tensor weight, Tensor bias, float eps);
// dx (M, C) f32, added to. dweight, dbias (C) f32, added to, or both absent. dout (M, C) f32 or bf16.
void layernorm_backward(Tensor dx, Tensor dweight, Tensor dbias, Tensor dout, Tensor x, Tensor weight, Tensor mean,
                        Tensor rstd);

}  // namespace vlm2vec

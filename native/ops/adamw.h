// AdamW with decoupled weight decay (Loshchilov & Hutter 2019; torch.optim.AdamW):
//   g = gradient_scale * gradient;  p -= lr * weight_decay * p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
//   p -= lr / (1 - b1^step) * m / (sqrt(v) / sqrt(1 - b2^step) + eps)
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

struct AdamW {
  double learning_rate, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double gradient_scale = 1;  // clipping
  int64_t step = 1;           // counts from 1
};

// parameter, m, v, gradient: f32, dense, one size. shadow: bf16 copy of the parameter, rewritten, or absent.
void adamw_update(Tensor parameter, Tensor shadow, Tensor m, Tensor v, Tensor gradient, const AdamW& options);

}  // namespace vlm2vec

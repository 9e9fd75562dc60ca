// Rows to unit length (torch.nn.functional.normalize): out = x / n, n = max(|x|, 1e-12).
//   backward: dx = (dout - out (out·dout)) / n
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// out, x (B, C) f32; norm (B) f32 holds n. out may be x.
void l2_normalize_forward(Tensor out, Tensor norm, Tensor x);
void l2_normalize_backward(Tensor dx, Tensor dout, Tensor out, Tensor norm);

}  // namespace vlm2vec

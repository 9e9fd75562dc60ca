// Last-token pooling: out[b] = x[starts[b + 1] - 1]. No padding exists, so there is no mask and no padding side.
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// out (B, C) f32, x (T, C) f32, starts (B + 1) i32.
void pool_last_forward(Tensor out, Tensor x, Tensor starts);
// dx (T, C) f32 is overwritten: dout at the pooled rows, zero elsewhere.
void pool_last_backward(Tensor dx, Tensor dout, Tensor starts);

}  // namespace vlm2vec

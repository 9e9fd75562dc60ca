// SwiGLU (Shazeer 2020): out = silu(gate) * up, silu(x) = x / (1 + e^-x).
//   backward: dup = dout silu(gate);  dgate = dout up sigmoid(gate) (1 + gate (1 - sigmoid(gate)))
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// All (M, F), of one type, f32 or bf16; rows may be strided (halves of one product's output). out may be gate or up.
void swiglu_forward(Tensor out, Tensor gate, Tensor up);
// dgate may be gate's memory and dup up's; `dout` is not overwritten.
void swiglu_backward(Tensor dgate, Tensor dup, Tensor dout, Tensor gate, Tensor up);

}  // namespace vlm2vec

// Activations of one argument. erf: x/2 (1 + erf(x/sqrt 2)); tanh: x/2 (1 + tanh(sqrt(2/pi)(x + 0.044715 x^3)));
// quick: x sigmoid(1.702 x) (CLIP, Qwen2-VL's vision tower); silu: x sigmoid(x).
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

enum class Activation { GeluErf, GeluTanh, GeluQuick, Silu };

// Dense, of one type, f32 or bf16, of any one shape. out may be x.
void gelu_forward(Tensor out, Tensor x, Activation kind);
// dx = dout f'(x). dx may be dout.
void gelu_backward(Tensor dx, Tensor dout, Tensor x, Activation kind);

}  // namespace vlm2vec

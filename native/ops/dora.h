// Row norms and scaling of DoRA (Liu et al. 2024; peft.tuners.lora.dora). With V = W + s·B·A the layer is
//   y = c ∘ z + bias,  z = x Wᵀ + s (x Aᵀ) Bᵀ,  c = m / |V|, norms over each output row.
// PEFT treats |V| as a constant in the backward pass: dz = c ∘ dy;  dm += sum over rows of dy ∘ z / |V|.
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// norm (N) f32 = |W_n + s B_n A|; W (N, K) f32 or bf16, A (R, K) f32, B (N, R) f32.
void dora_norm(Tensor norm, Tensor w, Tensor a, Tensor b, float s);
// out (M, N) f32 or bf16 = c (N) ∘ z (M, N) + bias (N, or absent); out may be z. c f32.
void row_scale_forward(Tensor out, Tensor z, Tensor c, Tensor bias);
// dz = c ∘ dout (dz may be dout); dm (N) f32 += sum over rows of dout ∘ z / norm. z and dout of one type.
void row_scale_backward(Tensor dz, Tensor dm, Tensor dout, Tensor z, Tensor c, Tensor norm);

}  // namespace vlm2vec

// Changes of number type and simple row arithmetic.
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// to and from: one size, dense; f32, bf16, and from f16 (files). Rounds to nearest even.
void cast(Tensor to, Tensor from);
// True if every number is finite. f32, bf16 or f16, dense.
bool all_finite(Tensor x);
// x += scale * y. x f32; y f32 or bf16; one size, dense.
void add_scaled(Tensor x, Tensor y, float scale);
// out = scale * x, same sizes; f32 or bf16, dense. out may be x. Both may be columns of wider matrices.
void scale(Tensor out, Tensor x, float factor);

}  // namespace vlm2vec

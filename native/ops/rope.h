// Rotary position embedding (Su et al. 2021) in half-split form: dimension j turns with j + HS/2. One table serves
// every kind: each frequency j names the axis whose position it turns by.
//   1-D: one axis. 2-D (vision): rows for the first quarter, columns for the second. M-RoPE: t, h, w by sections.
//   forward:  y[j] = x[j] cos - x[j + HS/2] sin;  y[j + HS/2] = x[j + HS/2] cos + x[j] sin      backward: sin negated
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// cos, sin (T, HS/2) f32; positions (A, T) i32; axis (HS/2) i32 in [0, A); inverse_frequency (HS/2) f32.
// The angle is the f32 product of position and inverse frequency, as in transformers.
void rope_table(Tensor cos, Tensor sin, Tensor positions, Tensor axis, Tensor inverse_frequency);
// x (T, heads, HS) f32 or bf16, in place; rows may be strided. inverse: the backward pass.
void rope_apply(Tensor x, Tensor cos, Tensor sin, bool inverse);

}  // namespace vlm2vec

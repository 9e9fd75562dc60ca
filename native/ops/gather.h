// Rows of a table by number, and their gradient. Numbers below zero are rows of a second, small table: learned vectors
// that stand between picture features (LLaVA's image_newline, Phi's sub_GN and glb_GN).
//   forward:  out[n] = rows[n] >= 0 ? x[rows[n]] : extra[-1 - rows[n]]
//   backward: dx[rows[n]] += dout[n], or dextra[-1 - rows[n]] += dout[n], in order of n
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// out (N, C), x (M, C), extra (E, C) f32 or absent, rows (N) i32. E_BATCH for a row outside of [-E, M).
void gather_rows_forward(Tensor out, Tensor x, Tensor extra, Tensor rows);
// dx (M, C) and dextra (E, C) f32, added to; each may be absent: then rows of it are skipped.
void gather_rows_backward(Tensor dx, Tensor dextra, Tensor dout, Tensor rows);

}  // namespace vlm2vec

// Weighted sums of rows of a table: learned positions of a grid, resampled to a picture's (Qwen3-VL).
//   forward:  x[m] += sum over k of weight[m, k] table[index[m, k]], summed in order of k, then added
//   backward: dtable[index[m, k]] += weight[m, k] dx[m], in order of m, then k
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// x (M, C) f32, table (R, C) f32 or bf16, index (M, K) i32, weight (M, K) f32. E_BATCH for an index outside of [0, R).
void weighted_rows_forward(Tensor x, Tensor table, Tensor index, Tensor weight);
// dtable (R, C) f32, added to; dx (M, C) f32.
void weighted_rows_backward(Tensor dtable, Tensor dx, Tensor index, Tensor weight);

}  // namespace vlm2vec

// Token embedding, and the scatter of image features over the embeddings of their placeholders.
//   forward: out[t] = table[tokens[t]]          backward: dtable[tokens[t]] += dout[t], in order of t
// A token below zero stands for no row (placeholders outside of the vocabulary, as Phi-3-V has them): zeros, no
// gradient.
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// out (T, C) f32, tokens (T) i32, table (V, C) f32 or bf16. E_BATCH for a token of at least V.
void embedding_forward(Tensor out, Tensor tokens, Tensor table);
// dtable (V, C) f32, added to; dout (T, C) f32.
void embedding_backward(Tensor dtable, Tensor tokens, Tensor dout);

// x[rows[n]] = features[n]. x (T, C) f32, features (N, C) f32, rows (N) i32, all different.
void scatter_rows_forward(Tensor x, Tensor features, Tensor rows);
// dfeatures[n] = dx[rows[n]] (skipped when dfeatures is absent), then dx[rows[n]] = 0.
void scatter_rows_backward(Tensor dfeatures, Tensor dx, Tensor rows);

}  // namespace vlm2vec

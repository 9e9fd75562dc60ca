// Attention of one query a sequence, that of its last token, over all tokens of the sequence: what the last layer of a
// model needs whose embedding is its last token. The formulas are those of ops/attention.h for that one row.
//   dk and dv are those of all tokens; each is written whole.
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

// q, out (B, NH, HS); k, v (T, NKV, HS); f32 or bf16, all of one type, rows may be strided. lse (NH, B) f32.
// starts (B + 1) i32: sequence b is rows starts[b] .. starts[b + 1] - 1; from 0 to T, none empty (E_BATCH).
void pooled_attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, float scale);
// dq (B, NH, HS), dk, dv (T, NKV, HS) are overwritten; rows may be strided.
void pooled_attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out,
                               Tensor lse, Tensor starts, float scale);

}  // namespace vlm2vec

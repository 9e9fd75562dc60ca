// Softmax attention over packed sequences, with grouped key-value heads. Never stores T x T (Dao et al. 2022).
//   forward:  s_ij = scale q_i·k_j for j in the sequence of i (causal: j <= i);  lse_i = log sum_j e^{s_ij};
//             out_i = sum_j e^{s_ij - lse_i} v_j
//   backward: p_ij = e^{s_ij - lse_i};  delta_i = dout_i·out_i;  ds_ij = p_ij (dout_i·v_j - delta_i);
//             dv_j = sum_i p_ij dout_i;  dk_j = scale sum_i ds_ij q_i;  dq_i = scale sum_j ds_ij k_j
// Query head h reads key-value head h / (NH / NKV). A sequence's result does not depend on its neighbours.
#pragma once
#include "core/tensor.h"

namespace vlm2vec {

struct AttentionSizes {
  float scale;
  bool causal;
};

// q, out (T, NH, HS); k, v (T, NKV, HS); f32 or bf16, all of one type, rows may be strided. lse (NH, T) f32.
// starts (S + 1) i32: sequence s is rows starts[s] .. starts[s + 1] - 1; rising, from 0 to T.
void attention_forward(Tensor out, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, AttentionSizes sizes);
// dq, dk, dv are overwritten; same shapes and type as q, k, v; rows may be strided. No atomics: equal bits every run.
void attention_backward(Tensor dq, Tensor dk, Tensor dv, Tensor dout, Tensor q, Tensor k, Tensor v, Tensor out,
                        Tensor lse, Tensor starts, AttentionSizes sizes);

}  // namespace vlm2vec

// The text decoder of Qwen2-VL: token states -> token states (models: Qwen2VLTextModel). A layer is
//   h += o_proj(attention(rope(q_proj(n1)), rope(k_proj(n1)), v_proj(n1))),  n1 = rmsnorm(h);
//   h += down_proj(silu(gate_proj(n2)) * up_proj(n2)),  n2 = rmsnorm(h)
// The residual stream h is f32 in every mode; products read and write the compute type.
#pragma once
#include "model/linear.h"
#include "model/stack.h"

namespace vlm2vec {

// Rotary tables and sequence bounds of one batch.
struct TextInputs {
  Tensor cos, sin;  // (T, HS/2) f32
  Tensor starts;    // (B + 1) i32
};

class TextLayer {
 public:
  struct Saved {
    Tensor rstd1, x1;          // (T), (T, C)
    Tensor q, k, v, out, lse;  // (T, NH HS), (T, NKV HS) x 2, (T, NH HS), (NH, T); q and k rotated
    Tensor h_mid, rstd2, x2;   // (T, C) f32 between the halves, (T), (T, C)
    Tensor gate, up, product;  // (T, F)
    Linear::Saved q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
  };

  TextLayer(Weights& weights, const TextConfig& config, int64_t index);
  void forward(const Context& context, const TextInputs& inputs, Tensor h, Saved* saved) const;
  void backward(const Context& context, const TextInputs& inputs, Tensor dh, Tensor h_in, const Saved& saved) const;
  size_t saved_bytes(int64_t tokens, DType compute) const;
  template <typename F>
  void each_linear(const F& f) {
    for (Linear* linear : {&q_proj_, &k_proj_, &v_proj_, &o_proj_, &gate_proj_, &up_proj_, &down_proj_}) f(*linear);
  }

 private:
  void attention(const Context& context, const TextInputs& inputs, Tensor h, Saved& saved, bool keep) const;
  void mlp(const Context& context, Tensor h, Saved& saved, bool keep) const;
  Tensor q_heads(Tensor q) const { return q.reshape({q.rows(), config_.heads, config_.head_size}); }
  Tensor kv_heads(Tensor k) const { return k.reshape({k.rows(), config_.kv_heads, config_.head_size}); }

  TextConfig config_;
  Parameter *input_norm_, *post_norm_;
  Linear q_proj_, k_proj_, v_proj_, o_proj_, gate_proj_, up_proj_, down_proj_;
};

// cos and sin of M-RoPE for positions (3, T): frequency j turns by the axis of its section.
void text_rope(const TextConfig& config, Tensor cos, Tensor sin, Tensor positions, Arena& scratch);

}  // namespace vlm2vec

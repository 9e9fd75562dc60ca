#include "model/text.h"

#include <cmath>

#include "ops/attention.h"
#include "ops/cast.h"
#include "ops/rmsnorm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"

namespace vlm2vec {

TextLayer::TextLayer(Weights& weights, const TextConfig& config, int64_t index) : config_(config) {
  const std::string layer = "model.language_model.layers." + std::to_string(index);
  input_norm_ = &weights.at(layer + ".input_layernorm.weight");
  post_norm_ = &weights.at(layer + ".post_attention_layernorm.weight");
  q_proj_ = Linear(weights, layer + ".self_attn.q_proj");
  k_proj_ = Linear(weights, layer + ".self_attn.k_proj");
  v_proj_ = Linear(weights, layer + ".self_attn.v_proj");
  o_proj_ = Linear(weights, layer + ".self_attn.o_proj");
  gate_proj_ = Linear(weights, layer + ".mlp.gate_proj");
  up_proj_ = Linear(weights, layer + ".mlp.up_proj");
  down_proj_ = Linear(weights, layer + ".mlp.down_proj");
}

size_t TextLayer::saved_bytes(int64_t tokens, DType compute) const {
  const int64_t c = config_.hidden_size, f = config_.intermediate_size;
  const int64_t q = config_.heads * config_.head_size, kv = config_.kv_heads * config_.head_size;
  const int64_t f32 = c + 2 + config_.heads, narrow = 2 * c + 2 * q + 2 * kv + 3 * f;
  return size_t(tokens) * (size_t(f32) * 4 + size_t(narrow) * size_of(compute));
}

void TextLayer::forward(const Context& context, const TextInputs& inputs, Tensor h, Saved* saved) const {
  Saved discarded;
  Saved& kept = saved ? *saved : discarded;
  attention(context, inputs, h, kept, saved);
  if (saved) {
    kept.h_mid = context.scratch.allocate(DType::F32, {h.rows(), h.shape[1]});
    copy(kept.h_mid, h);
  }
  mlp(context, h, kept, saved);
}

void TextLayer::attention(const Context& context, const TextInputs& inputs, Tensor h, Saved& s, bool keep) const {
  Arena& arena = context.scratch;
  const int64_t t = h.rows(), q = q_proj_.n(), kv = k_proj_.n();
  s.rstd1 = arena.allocate(DType::F32, {t});
  s.x1 = arena.allocate(context.compute, {t, config_.hidden_size});
  s.q = arena.allocate(context.compute, {t, q});
  s.k = arena.allocate(context.compute, {t, kv});
  s.v = arena.allocate(context.compute, {t, kv});
  s.out = arena.allocate(context.compute, {t, q});
  s.lse = arena.allocate(DType::F32, {config_.heads, t});

  rmsnorm_forward(s.x1, s.rstd1, h, input_norm_->value, config_.rms_norm_eps);
  q_proj_.forward(context, s.q, s.x1, false, keep ? &s.q_proj : nullptr);
  k_proj_.forward(context, s.k, s.x1, false, keep ? &s.k_proj : nullptr);
  v_proj_.forward(context, s.v, s.x1, false, keep ? &s.v_proj : nullptr);
  rope_apply(q_heads(s.q), inputs.cos, inputs.sin, false);
  rope_apply(kv_heads(s.k), inputs.cos, inputs.sin, false);
  const AttentionSizes sizes{1 / std::sqrt(float(config_.head_size)), true};
  attention_forward(q_heads(s.out), s.lse, q_heads(s.q), kv_heads(s.k), kv_heads(s.v), inputs.starts, sizes);
  o_proj_.forward(context, h, s.out, true, keep ? &s.o_proj : nullptr);
}

void TextLayer::mlp(const Context& context, Tensor h, Saved& s, bool keep) const {
  Arena& arena = context.scratch;
  const int64_t t = h.rows(), f = config_.intermediate_size;
  s.rstd2 = arena.allocate(DType::F32, {t});
  s.x2 = arena.allocate(context.compute, {t, config_.hidden_size});
  s.gate = arena.allocate(context.compute, {t, f});
  s.up = arena.allocate(context.compute, {t, f});
  s.product = keep ? arena.allocate(context.compute, {t, f}) : s.gate;

  rmsnorm_forward(s.x2, s.rstd2, h, post_norm_->value, config_.rms_norm_eps);
  gate_proj_.forward(context, s.gate, s.x2, false, keep ? &s.gate_proj : nullptr);
  up_proj_.forward(context, s.up, s.x2, false, keep ? &s.up_proj : nullptr);
  swiglu_forward(s.product, s.gate, s.up);
  down_proj_.forward(context, h, s.product, true, keep ? &s.down_proj : nullptr);
}

void TextLayer::backward(const Context& context, const TextInputs& inputs, Tensor dh, Tensor h_in,
                         const Saved& s) const {
  Arena& arena = context.scratch;
  const int64_t t = dh.rows(), c = config_.hidden_size, f = config_.intermediate_size, q = q_proj_.n(),
                kv = k_proj_.n();
  const auto narrow = [&](Tensor x) {  // the residual's gradient in the compute type
    if (context.compute == DType::F32) return x;
    Tensor result = arena.allocate(context.compute, {x.rows(), x.shape[1]});
    cast(result, x);
    return result;
  };
  {  // h += down_proj(swiglu(gate_proj(n2), up_proj(n2)))
    ArenaScope scope(arena);
    Tensor dproduct = arena.allocate(context.compute, {t, f});
    Tensor dgate = arena.allocate(context.compute, {t, f});
    Tensor dup = arena.allocate(context.compute, {t, f});
    Tensor dx2 = arena.allocate(DType::F32, {t, c});
    down_proj_.backward(context, dproduct, narrow(dh), s.down_proj, false);
    swiglu_backward(dgate, dup, dproduct, s.gate, s.up);
    gate_proj_.backward(context, dx2, dgate, s.gate_proj, false);
    up_proj_.backward(context, dx2, dup, s.up_proj, true);
    rmsnorm_backward(dh, post_norm_->gradient, dx2, s.h_mid, post_norm_->value, s.rstd2);
  }
  ArenaScope scope(arena);  // h += o_proj(attention(...))
  Tensor dout = arena.allocate(context.compute, {t, q});
  Tensor dq = arena.allocate(context.compute, {t, q});
  Tensor dk = arena.allocate(context.compute, {t, kv});
  Tensor dv = arena.allocate(context.compute, {t, kv});
  Tensor dx1 = arena.allocate(DType::F32, {t, c});
  o_proj_.backward(context, dout, narrow(dh), s.o_proj, false);
  const AttentionSizes sizes{1 / std::sqrt(float(config_.head_size)), true};
  attention_backward(q_heads(dq), kv_heads(dk), kv_heads(dv), q_heads(dout), q_heads(s.q), kv_heads(s.k), kv_heads(s.v),
                     q_heads(s.out), s.lse, inputs.starts, sizes);
  rope_apply(q_heads(dq), inputs.cos, inputs.sin, true);
  rope_apply(kv_heads(dk), inputs.cos, inputs.sin, true);
  q_proj_.backward(context, dx1, dq, s.q_proj, false);
  k_proj_.backward(context, dx1, dk, s.k_proj, true);
  v_proj_.backward(context, dx1, dv, s.v_proj, true);
  rmsnorm_backward(dh, input_norm_->gradient, dx1, h_in, input_norm_->value, s.rstd1);
}

void text_rope(const TextConfig& config, Tensor cos, Tensor sin, Tensor positions, Arena& scratch) {
  const int64_t half = config.head_size / 2;
  ArenaScope scope(scratch);
  Tensor axis = scratch.allocate(DType::I32, {half});
  Tensor frequency = scratch.allocate(DType::F32, {half});
  int64_t j = 0;
  for (int section = 0; section < 3; ++section)
    for (int i = 0; i < config.mrope_section[section]; ++i, ++j) {
      axis.as<int32_t>()[j] = section;
      // as torch computes it: an f32 power of an f32 exponent, then its reciprocal
      const float exponent = float(2 * j) / float(config.head_size);
      frequency.as<float>()[j] = 1.0f / float(std::pow(config.rope_theta, double(exponent)));
    }
  rope_table(cos, sin, positions, axis, frequency);
}

}  // namespace vlm2vec

#include "model/text.h"

#include <cmath>
#include <cstring>

#include "ops/cast.h"
#include "ops/rope.h"

namespace vlm2vec {

BlockSpec text_block(const TextConfig& config, const std::string& prefix, int64_t index) {
  const std::string layer = prefix + "layers." + std::to_string(index), attention = layer + ".self_attn.",
                    mlp = layer + ".mlp.";
  BlockSpec spec{config.hidden_size, config.heads,        config.kv_heads,
                 config.head_size,   config.rms_norm_eps, config.causal};
  spec.norm1 = layer + ".input_layernorm";
  spec.norm2 = layer + ".post_attention_layernorm";
  spec.out = attention + "o_proj";
  if (config.fused_projections) {
    spec.qkv = {attention + "qkv_proj"};
    spec.mlp = {{mlp + "gate_up_proj", mlp + "down_proj"}, true, Activation::Silu};
  } else {
    spec.qkv = {attention + "q_proj", attention + "k_proj", attention + "v_proj"};
    spec.mlp = {{mlp + "gate_proj", mlp + "up_proj", mlp + "down_proj"}, true, Activation::Silu};
  }
  if (config.qk_norm) {
    spec.q_norm = attention + "q_norm";
    spec.k_norm = attention + "k_norm";
  }
  return spec;
}

namespace {

// The position (0 time, 1 height, 2 width) that frequency j turns by.
int32_t axis_of(const RopeConfig& rope, int64_t j) {
  switch (rope.kind) {
    case RopeConfig::Kind::Plain: return 0;
    case RopeConfig::Kind::Sections: return j < rope.sections[0] ? 0 : j < rope.sections[0] + rope.sections[1] ? 1 : 2;
    case RopeConfig::Kind::Interleaved: return j % 3 != 0 && j < 3 * rope.sections[j % 3] ? int32_t(j % 3) : 0;
  }
  return 0;
}

void fill_table(const TextConfig& config, const std::vector<double>& factors, Tensor cos, Tensor sin, Tensor positions,
                Arena& scratch) {
  const int64_t half = config.head_size / 2;
  ArenaScope scope(scratch);
  Tensor axis = scratch.allocate(DType::I32, {half});
  Tensor frequency = scratch.allocate(DType::F32, {half});
  for (int64_t j = 0; j < half; ++j) {
    axis.as<int32_t>()[j] = axis_of(config.rope, j);
    // as torch computes it: an f32 power of an f32 exponent, times an f32 factor, then its reciprocal
    const float power = float(std::pow(config.rope.theta, double(float(2 * j) / float(config.head_size))));
    frequency.as<float>()[j] = 1.0f / (factors.empty() ? power : float(factors[size_t(j)]) * power);
  }
  rope_table(cos, sin, positions, axis, frequency);
}

}  // namespace

void text_rope(const TextConfig& config, Tensor cos, Tensor sin, Tensor positions, Tensor starts, Arena& scratch) {
  const RopeConfig& rope = config.rope;
  fill_table(config, rope.short_factors, cos, sin, positions, scratch);
  if (rope.short_factors.empty()) return;
  // long factors for each sequence that needs them: what an item becomes does not depend on its neighbours
  ArenaScope scope(scratch);
  Tensor long_cos, long_sin;
  const int32_t* at = starts.as<int32_t>();
  for (int64_t b = 0; b + 1 < starts.rows(); ++b) {
    const int64_t first = at[b], count = at[b + 1] - first;
    if (count <= rope.original_positions) continue;
    if (!long_cos) {
      long_cos = scratch.allocate(DType::F32, {cos.rows(), cos.shape[1]});
      long_sin = scratch.allocate(DType::F32, {cos.rows(), cos.shape[1]});
      fill_table(config, rope.long_factors, long_cos, long_sin, positions, scratch);
    }
    copy(cos.slice(first, count), long_cos.slice(first, count));
    copy(sin.slice(first, count), long_sin.slice(first, count));
  }
  scale(cos, cos, float(rope.attention_factor));
  scale(sin, sin, float(rope.attention_factor));
}

PassBytes text_bytes(const TextConfig& config, DType compute, int64_t tokens) {
  PassBytes bytes = block_bytes(text_block(config, "", 0), config.intermediate_size, config.layers, tokens, compute);
  bytes.fixed += size_t(tokens) * 4 * 3 * size_t(config.hidden_size);
  return bytes;
}

}  // namespace vlm2vec

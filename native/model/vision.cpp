#include "model/vision.h"

#include <cmath>

#include "ops/attention.h"
#include "ops/cast.h"
#include "ops/layernorm.h"
#include "ops/rope.h"

namespace vlm2vec {

namespace {
constexpr float kNormEps = 1e-6f;
constexpr double kTheta = 10000;
const char* const kVisual = "model.visual.";

// The merger's rows are tokens of `merged` patches: their place in the batch follows from their first patch.
Context merger_context(const Context& context, int64_t tokens, int64_t merged) {
  Context result = context;
  if (context.dropout <= 0) return result;
  result.row_ids = context.scratch.allocate(DType::I32, {tokens});
  for (int64_t i = 0; i < tokens; ++i)
    result.row_ids.as<int32_t>()[i] = context.row_ids.as<int32_t>()[i * merged] / int32_t(merged);
  return result;
}
}  // namespace

VisionBlock::VisionBlock(Weights& weights, const VisionConfig& config, int64_t index) : config_(config) {
  const std::string block = std::string(kVisual) + "blocks." + std::to_string(index);
  norm1_ = &weights.at(block + ".norm1.weight");
  norm1_bias_ = &weights.at(block + ".norm1.bias");
  norm2_ = &weights.at(block + ".norm2.weight");
  norm2_bias_ = &weights.at(block + ".norm2.bias");
  qkv_ = Linear(weights, block + ".attn.qkv");
  proj_ = Linear(weights, block + ".attn.proj");
  fc1_ = Linear(weights, block + ".mlp.fc1");
  fc2_ = Linear(weights, block + ".mlp.fc2");
}

size_t VisionBlock::saved_bytes(int64_t patches, DType compute) const {
  const int64_t e = config_.embed_dim, f = config_.intermediate_size;
  const int64_t f32 = e + 4 + config_.heads, narrow = 2 * e + 3 * e + e + 2 * f;
  return size_t(patches) * (size_t(f32) * 4 + size_t(narrow) * size_of(compute));
}

void VisionBlock::forward(const Context& context, const VisionInputs& inputs, Tensor h, Saved* saved) const {
  Saved discarded;
  Saved& kept = saved ? *saved : discarded;
  attention(context, inputs, h, kept, saved);
  if (saved) {
    kept.h_mid = context.scratch.allocate(DType::F32, {h.rows(), h.shape[1]});
    copy(kept.h_mid, h);
  }
  mlp(context, h, kept, saved);
}

void VisionBlock::attention(const Context& context, const VisionInputs& inputs, Tensor h, Saved& s, bool keep) const {
  Arena& arena = context.scratch;
  const int64_t p = h.rows(), e = config_.embed_dim;
  s.mean1 = arena.allocate(DType::F32, {p});
  s.rstd1 = arena.allocate(DType::F32, {p});
  s.x1 = arena.allocate(context.compute, {p, e});
  s.qkv = arena.allocate(context.compute, {p, 3 * e});
  s.out = arena.allocate(context.compute, {p, e});
  s.lse = arena.allocate(DType::F32, {config_.heads, p});

  layernorm_forward(s.x1, s.mean1, s.rstd1, h, norm1_->value, norm1_bias_->value, kNormEps);
  qkv_.forward(context, s.qkv, s.x1, false, keep ? &s.qkv_linear : nullptr);
  rope_apply(part(s.qkv, 0), inputs.cos, inputs.sin, false);
  rope_apply(part(s.qkv, 1), inputs.cos, inputs.sin, false);
  const AttentionSizes sizes{1 / std::sqrt(float(e / config_.heads)), false};
  attention_forward(heads(s.out), s.lse, part(s.qkv, 0), part(s.qkv, 1), part(s.qkv, 2), inputs.starts, sizes);
  proj_.forward(context, h, s.out, true, keep ? &s.proj : nullptr);
}

void VisionBlock::mlp(const Context& context, Tensor h, Saved& s, bool keep) const {
  Arena& arena = context.scratch;
  const int64_t p = h.rows();
  s.mean2 = arena.allocate(DType::F32, {p});
  s.rstd2 = arena.allocate(DType::F32, {p});
  s.x2 = arena.allocate(context.compute, {p, config_.embed_dim});
  s.hidden = arena.allocate(context.compute, {p, config_.intermediate_size});
  s.activated = keep ? arena.allocate(context.compute, {p, config_.intermediate_size}) : s.hidden;

  layernorm_forward(s.x2, s.mean2, s.rstd2, h, norm2_->value, norm2_bias_->value, kNormEps);
  fc1_.forward(context, s.hidden, s.x2, false, keep ? &s.fc1 : nullptr);
  gelu_forward(s.activated, s.hidden, config_.activation);
  fc2_.forward(context, h, s.activated, true, keep ? &s.fc2 : nullptr);
}

void VisionBlock::backward(const Context& context, const VisionInputs& inputs, Tensor dh, Tensor h_in,
                           const Saved& s) const {
  Arena& arena = context.scratch;
  const int64_t p = dh.rows(), e = config_.embed_dim;
  const auto narrow = [&](Tensor x) {
    if (context.compute == DType::F32) return x;
    Tensor result = arena.allocate(context.compute, {x.rows(), x.shape[1]});
    cast(result, x);
    return result;
  };
  {  // h += fc2(act(fc1(layernorm(h))))
    ArenaScope scope(arena);
    Tensor dhidden = arena.allocate(context.compute, {p, config_.intermediate_size});
    Tensor dx2 = arena.allocate(DType::F32, {p, e});
    fc2_.backward(context, dhidden, narrow(dh), s.fc2, false);
    gelu_backward(dhidden, dhidden, s.hidden, config_.activation);
    fc1_.backward(context, dx2, dhidden, s.fc1, false);
    layernorm_backward(dh, norm2_->gradient, norm2_bias_->gradient, dx2, s.h_mid, norm2_->value, s.mean2, s.rstd2);
  }
  ArenaScope scope(arena);  // h += proj(attention(...))
  Tensor dout = arena.allocate(context.compute, {p, e});
  Tensor dqkv = arena.allocate(context.compute, {p, 3 * e});
  Tensor dx1 = arena.allocate(DType::F32, {p, e});
  proj_.backward(context, dout, narrow(dh), s.proj, false);
  const AttentionSizes sizes{1 / std::sqrt(float(e / config_.heads)), false};
  attention_backward(part(dqkv, 0), part(dqkv, 1), part(dqkv, 2), heads(dout), part(s.qkv, 0), part(s.qkv, 1),
                     part(s.qkv, 2), heads(s.out), s.lse, inputs.starts, sizes);
  rope_apply(part(dqkv, 0), inputs.cos, inputs.sin, true);
  rope_apply(part(dqkv, 1), inputs.cos, inputs.sin, true);
  qkv_.backward(context, dx1, dqkv, s.qkv_linear, false);
  layernorm_backward(dh, norm1_->gradient, norm1_bias_->gradient, dx1, h_in, norm1_->value, s.mean1, s.rstd1);
}

// ---------------------------------------------------------------------------------------------------------------------

VisionTower::VisionTower(Weights& weights, const VisionConfig& config) : config_(config) {
  const std::string visual = kVisual;
  patch_embed_ = Linear(weights, visual + "patch_embed.proj");
  for (int64_t i = 0; i < config.depth; ++i) stack_.blocks.emplace_back(weights, config, i);
  norm_ = &weights.at(visual + "merger.ln_q.weight");
  norm_bias_ = &weights.at(visual + "merger.ln_q.bias");
  fc1_ = Linear(weights, visual + "merger.mlp.0");
  fc2_ = Linear(weights, visual + "merger.mlp.2");
}

bool VisionTower::trains() {
  bool any = norm_->trained() || norm_bias_->trained();
  each_linear([&](const Linear& linear) { any = any || linear.trains(); });
  return any;  // a tower's norms are trained only together with its linear layers
}

void VisionTower::forward(const Context& context, const VisionInputs& inputs, Tensor features, Tensor patches,
                          Saved* saved, size_t memory) const {
  Arena& arena = context.scratch;
  const int64_t p = patches.rows(), e = config_.embed_dim, merged = config_.merged();
  Saved discarded;
  Saved& s = saved ? *saved : discarded;
  s.patches = patches;
  if (context.compute != DType::F32) {
    s.patches = arena.allocate(context.compute, {p, patches.shape[1]});
    cast(s.patches, patches);
  }
  s.h = arena.allocate(DType::F32, {p, e});
  patch_embed_.forward(context, s.h, s.patches, false, saved ? &s.patch_embed : nullptr);
  if (saved) {
    stack_.forward(context, inputs, s.h, s.blocks, memory);
  } else {
    stack_.forward(context, inputs, s.h);
  }
  s.mean = arena.allocate(DType::F32, {p});
  s.rstd = arena.allocate(DType::F32, {p});
  Tensor x = arena.allocate(context.compute, {p, e});
  s.hidden = arena.allocate(context.compute, {p / merged, e * merged});
  Tensor activated = arena.allocate(context.compute, {p / merged, e * merged});
  layernorm_forward(x, s.mean, s.rstd, s.h, norm_->value, norm_bias_->value, kNormEps);
  const Context merger = merger_context(context, p / merged, merged);
  fc1_.forward(merger, s.hidden, x.reshape({p / merged, e * merged}), false, saved ? &s.fc1 : nullptr);
  gelu_forward(activated, s.hidden, Activation::GeluErf);
  fc2_.forward(merger, features, activated, false, saved ? &s.fc2 : nullptr);
}

void VisionTower::backward(const Context& context, const VisionInputs& inputs, Tensor dfeatures, Saved& s) const {
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const int64_t p = s.h.rows(), e = config_.embed_dim, merged = config_.merged();
  Tensor dout = dfeatures;
  if (context.compute != DType::F32) {
    dout = arena.allocate(context.compute, {dfeatures.rows(), dfeatures.shape[1]});
    cast(dout, dfeatures);
  }
  Tensor dhidden = arena.allocate(context.compute, {p / merged, e * merged});
  Tensor dx = arena.allocate(DType::F32, {p / merged, e * merged});
  Tensor dh = arena.allocate_zero(DType::F32, {p, e});
  const Context merger = merger_context(context, p / merged, merged);
  fc2_.backward(merger, dhidden, dout, s.fc2, false);
  gelu_backward(dhidden, dhidden, s.hidden, Activation::GeluErf);
  fc1_.backward(merger, dx, dhidden, s.fc1, false);
  layernorm_backward(dh, norm_->gradient, norm_bias_->gradient, dx.reshape({p, e}), s.h, norm_->value, s.mean, s.rstd);
  stack_.backward(context, inputs, dh, s.blocks);
  if (!patch_embed_.trains()) return;
  Tensor narrow = dh;
  if (context.compute != DType::F32) {
    narrow = arena.allocate(context.compute, {p, e});
    cast(narrow, dh);
  }
  patch_embed_.backward(context, {}, narrow, s.patch_embed, false);
}

void vision_layout(const VisionConfig& config, const int32_t* grids, int64_t images, std::vector<int32_t>& positions,
                   std::vector<int32_t>& starts) {
  std::vector<int32_t> rows, columns;
  starts.assign(1, 0);
  const int32_t merge = int32_t(config.merge_size);
  for (int64_t i = 0; i < images; ++i) {
    const int32_t t = grids[3 * i], h = grids[3 * i + 1], w = grids[3 * i + 2];
    for (int32_t slice = 0; slice < t; ++slice) {
      for (int32_t row = 0; row < h; row += merge)
        for (int32_t column = 0; column < w; column += merge)
          for (int32_t y = 0; y < merge; ++y)
            for (int32_t x = 0; x < merge; ++x) {
              rows.push_back(row + y);
              columns.push_back(column + x);
            }
      starts.push_back(int32_t(rows.size()));
    }
  }
  positions = std::move(rows);
  positions.insert(positions.end(), columns.begin(), columns.end());
}

void vision_rope(const VisionConfig& config, Tensor cos, Tensor sin, Tensor positions, Arena& scratch) {
  const int64_t head_size = config.embed_dim / config.heads, half = head_size / 2, quarter = half / 2;
  ArenaScope scope(scratch);
  Tensor axis = scratch.allocate(DType::I32, {half});
  Tensor frequency = scratch.allocate(DType::F32, {half});
  for (int64_t j = 0; j < half; ++j) {
    axis.as<int32_t>()[j] = j < quarter ? 0 : 1;
    const float exponent = float(2 * (j % quarter)) / float(half);
    frequency.as<float>()[j] = 1.0f / float(std::pow(kTheta, double(exponent)));
  }
  rope_table(cos, sin, positions, axis, frequency);
}

}  // namespace vlm2vec

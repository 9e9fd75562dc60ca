#include "model/encoder.h"

#include "ops/embedding.h"
#include "ops/l2_normalize.h"
#include "ops/pool.h"
#include "ops/rmsnorm.h"

namespace vlm2vec {

namespace {

// A batch's array as a tensor of the device it is in.
Tensor view(Device& device, const void* data, DType dtype, std::initializer_list<int64_t> shape) {
  return Tensor(device, const_cast<void*>(data), dtype, shape);
}

Tensor to_tensor(Arena& arena, const std::vector<int32_t>& values, std::initializer_list<int64_t> shape) {
  Tensor tensor = arena.allocate(DType::I32, shape);
  tensor.device->to_device(tensor.data, values.data(), values.size() * sizeof(int32_t));
  return tensor;
}

}  // namespace

Encoder::Encoder(Weights& weights)
    : config_(weights.config()),
      vision_(weights, config_.vision),
      embed_tokens_(&weights.at("model.language_model.embed_tokens.weight")),
      norm_(&weights.at("model.language_model.norm.weight")) {
  for (int64_t i = 0; i < config_.text.layers; ++i) layers_.blocks.emplace_back(weights, config_.text, i);
  vision_trains_ = vision_.trains();
}

void Encoder::invalidate() {
  each_linear([](Linear& linear) { linear.invalidate(); });
}

size_t Encoder::packed_bytes() {
  size_t total = 0;
  each_linear([&](const Linear& linear) { total += linear.packed_bytes(); });
  return total;
}

Tensor Encoder::encode_images(Context context, const Batch& batch, Saved* saved, size_t memory) const {
  if (batch.patch_count == 0) return {};
  Arena& arena = context.scratch;
  const VisionConfig& config = config_.vision;
  const int64_t p = batch.patch_count, half = config.embed_dim / config.heads / 2;
  Tensor features = arena.allocate(DType::F32, {p / config.merged(), config_.text.hidden_size});
  // without `saved` everything but the features is given back
  const Arena::Mark mark = arena.mark();
  Saved discarded;
  Saved& s = saved ? *saved : discarded;

  std::vector<int32_t> positions, starts;
  vision_layout(config, batch.grids, batch.image_count, positions, starts);
  s.vision_inputs.starts = to_tensor(arena, starts, {int64_t(starts.size())});
  s.vision_inputs.cos = arena.allocate(DType::F32, {p, half});
  s.vision_inputs.sin = arena.allocate(DType::F32, {p, half});
  vision_rope(config, s.vision_inputs.cos, s.vision_inputs.sin, to_tensor(arena, positions, {2, p}), arena);
  Tensor patches = view(context.device, batch.patches, DType::F32, {p, config.patch_values()});
  vision_.forward(context, s.vision_inputs, features, patches, saved ? &s.vision : nullptr, memory);
  if (!saved) arena.rewind(mark);
  return features;
}

Tensor Encoder::encode(Context context, const Batch& batch, Tensor features, Saved* saved, size_t memory,
                       Tensor last_hidden) const {
  Arena& arena = context.scratch;
  const TextConfig& config = config_.text;
  const int64_t t = batch.token_count, b = batch.sequence_count, c = config.hidden_size;
  Tensor embeddings = arena.allocate(DType::F32, {b, c});
  const Arena::Mark mark = arena.mark();
  Saved discarded;
  Saved& s = saved ? *saved : discarded;
  s.embeddings = embeddings;

  Tensor h = arena.allocate(DType::F32, {t, c});
  embedding_forward(h, view(context.device, batch.tokens, DType::I32, {t}), embed_tokens_->value);
  if (features) {
    std::vector<int32_t> rows;
    for (int64_t i = 0; i < t; ++i)
      if (batch.tokens[i] == config_.image_token || batch.tokens[i] == config_.video_token) rows.push_back(int32_t(i));
    s.rows = to_tensor(arena, rows, {int64_t(rows.size())});
    scatter_rows_forward(h, features, s.rows);
  }
  s.text_inputs.starts = view(context.device, batch.seq_starts, DType::I32, {b + 1});
  s.text_inputs.cos = arena.allocate(DType::F32, {t, config.head_size / 2});
  s.text_inputs.sin = arena.allocate(DType::F32, {t, config.head_size / 2});
  text_rope(config, s.text_inputs.cos, s.text_inputs.sin, view(context.device, batch.positions, DType::I32, {3, t}),
            arena);
  if (saved) {
    layers_.forward(context, s.text_inputs, h, s.layers, memory);
  } else {
    layers_.forward(context, s.text_inputs, h);
  }

  s.pooled = arena.allocate(DType::F32, {b, c});
  s.rstd = arena.allocate(DType::F32, {b});
  s.norm = arena.allocate(DType::F32, {b});
  pool_last_forward(s.pooled, h, s.text_inputs.starts);
  rmsnorm_forward(embeddings, s.rstd, s.pooled, norm_->value, config.rms_norm_eps);
  l2_normalize_forward(embeddings, s.norm, embeddings);
  if (last_hidden) rmsnorm_forward(last_hidden, arena.allocate(DType::F32, {t}), h, norm_->value, config.rms_norm_eps);
  if (!saved) arena.rewind(mark);
  return embeddings;
}

void Encoder::backward(Context context, Tensor patch_ids, const Batch& batch, Tensor dembeddings, Saved& s,
                       bool with_vision) const {
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const int64_t t = batch.token_count, b = batch.sequence_count, c = config_.text.hidden_size;
  Tensor dnormed = arena.allocate(DType::F32, {b, c});
  Tensor dpooled = arena.allocate_zero(DType::F32, {b, c});
  Tensor dh = arena.allocate(DType::F32, {t, c});
  l2_normalize_backward(dnormed, dembeddings, s.embeddings, s.norm);
  rmsnorm_backward(dpooled, norm_->gradient, dnormed, s.pooled, norm_->value, s.rstd);
  pool_last_backward(dh, dpooled, s.text_inputs.starts);
  layers_.backward(context, s.text_inputs, dh, s.layers);

  Tensor dfeatures;
  if (s.rows) {
    if (with_vision) dfeatures = arena.allocate(DType::F32, {s.rows.rows(), c});
    scatter_rows_backward(dfeatures, dh, s.rows);
  }
  if (embed_tokens_->trained())
    embedding_backward(embed_tokens_->gradient, view(context.device, batch.tokens, DType::I32, {t}), dh);
  context.row_ids = patch_ids;
  if (dfeatures) vision_.backward(context, s.vision_inputs, dfeatures, s.vision);
}

size_t Encoder::vision_share(const Batch& batch, DType compute, size_t memory) const {
  if (memory == 0 || batch.patch_count == 0 || !vision_trains_) return 0;
  const double vision = double(activation_bytes(config_, compute, 0, batch.patch_count, true).all);
  const double text = double(activation_bytes(config_, compute, batch.token_count, 0, false).all);
  return std::max<size_t>(1, size_t(double(memory) * vision / (vision + text)));
}

ActivationBytes activation_bytes(const ModelConfig& config, DType compute, int64_t tokens, int64_t patches,
                                 bool with_vision) {
  const TextConfig& t = config.text;
  const VisionConfig& v = config.vision;
  const size_t width = size_of(compute);
  // as text.cpp and vision.cpp allocate: a block's saved tensors, its input, and the largest temporaries of its
  // backward
  const size_t q = size_t(t.heads * t.head_size), kv = size_t(t.kv_heads * t.head_size), c = size_t(t.hidden_size),
               f = size_t(t.intermediate_size);
  const size_t layer = size_t(tokens) * (4 * (c + 2 + size_t(t.heads)) + width * (2 * c + 2 * q + 2 * kv + 3 * f));
  const size_t layer_input = size_t(tokens) * 4 * c;
  const size_t layer_backward = size_t(tokens) * (width * 3 * f + 4 * c + width * c);
  const size_t text = size_t(tokens) * 4 * (3 * c + size_t(t.head_size));
  const size_t e = size_t(v.embed_dim), g = size_t(v.intermediate_size);
  const size_t p = with_vision ? size_t(patches) : 0;
  const size_t block = p * (4 * (e + 4 + size_t(v.heads)) + width * (6 * e + 2 * g));
  const size_t block_input = p * 4 * e, block_backward = p * (width * (g + 5 * e) + 4 * e);
  const size_t tower = p * (4 * 2 * e + width * (size_t(v.patch_values()) + 4 * e));
  const size_t layers = size_t(t.layers), depth = size_t(v.depth);
  const size_t fixed =
      text + tower + layers * layer_input + depth * block_input + std::max(layer_backward, block_backward);
  return {fixed + layers * layer + depth * block, fixed + std::max(layer, block)};
}

}  // namespace vlm2vec

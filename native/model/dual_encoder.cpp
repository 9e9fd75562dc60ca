#include "model/dual_encoder.h"

#include <cmath>

#include "model/vision.h"
#include "ops/cast.h"
#include "ops/embedding.h"
#include "ops/gather.h"
#include "ops/l2_normalize.h"
#include "ops/pool.h"
#include "ops/pooled_attention.h"

namespace vlm2vec {

namespace {

const char *const kText = "text_model.", *const kVision = "vision_model.", *const kHead = "vision_model.head.";

ClipSizes text_sizes(const TextConfig& t) {
  return {t.hidden_size, t.heads, t.intermediate_size, t.rms_norm_eps, t.activation, t.causal};
}

// The text tower's last linear layer.
std::string text_projection(const ModelConfig& config) {
  return config.vision.class_token ? "text_projection" : std::string(kText) + "head";
}

}  // namespace

void dual_encoder_parameters(ParameterTable& table, const ModelConfig& config) {
  const TextConfig& t = config.text;
  const int64_t e = config.vision.embed_dim, f = config.vision.intermediate_size, d = config.vision.output_size;
  const bool clip = config.vision.class_token;
  clip_vision_parameters(table, config.vision, kVision);
  table.part = Part::Merger;
  if (clip) {
    table.linear("visual_projection", d, e, false);
  } else {
    const std::string head = kHead;
    table.other(head + "probe", {1, 1, e}, Role::Embedding);
    table.linear(head + "attention.in_proj", 3 * e, e, true);
    table.linear(head + "attention.out_proj", e, e, true);
    table.norm(head + "layernorm", e, true);
    table.linear(head + "mlp.fc1", f, e, true);
    table.linear(head + "mlp.fc2", e, f, true);
  }
  const std::string text = kText;
  table.part = Part::Text;
  table.other(text + "embeddings.token_embedding.weight", {t.vocab_size, t.hidden_size}, Role::Embedding);
  table.other(text + "embeddings.position_embedding.weight", {t.position_embeddings, t.hidden_size}, Role::Embedding);
  for (int64_t i = 0; i < t.layers; ++i) clip_block_parameters(table, text_sizes(t), text + "encoder.", i);
  table.norm(text + "final_layer_norm", t.hidden_size, true);
  table.linear(text_projection(config), d, t.hidden_size, !clip);
}

DualEncoder::DualEncoder(Weights& weights)
    : config_(weights.config()),
      vision_(weights, config_.vision, kVision),
      post_norm_(weights, std::string(kVision) + "post_layernorm", config_.vision.norm_eps) {
  const std::string text = kText, head = kHead;
  const ClipSizes sizes = text_sizes(config_.text);
  tokens_ = &weights.at(text + "embeddings.token_embedding.weight");
  positions_ = &weights.at(text + "embeddings.position_embedding.weight");
  for (int64_t i = 0; i < config_.text.layers; ++i)
    text_.blocks.emplace_back(weights, clip_block(sizes, text + "encoder.", i));
  final_norm_ = Norm(weights, text + "final_layer_norm", sizes.eps);
  text_projection_ = Linear(weights, text_projection(config_));
  if (!has_head()) {
    visual_projection_ = Linear(weights, "visual_projection");
    return;
  }
  probe_ = &weights.at(head + "probe");
  head_in_ = Linear(weights, head + "attention.in_proj");
  head_out_ = Linear(weights, head + "attention.out_proj");
  head_norm_ = Norm(weights, head + "layernorm", config_.vision.norm_eps);
  head_mlp_ = Mlp(weights, {{head + "mlp.fc1", head + "mlp.fc2"}, false, config_.vision.activation});
}

size_t DualEncoder::packed_bytes() {
  size_t total = 0;
  each_linear([&](const Linear& linear) { total += linear.packed_bytes(); });
  return total;
}

DualEncoder::Texts DualEncoder::texts(const Batch& batch) const {
  Texts texts;
  for (int64_t b = 0; b < batch.sequence_count; ++b) {
    int32_t position = 0;
    for (int32_t t = batch.seq_starts[b]; t < batch.seq_starts[b + 1]; ++t) {
      if (config_.is_placeholder(batch.tokens[t])) continue;
      texts.tokens.push_back(batch.tokens[t]);
      texts.rows.push_back(t);
      texts.positions.push_back(position++);
    }
    if (position == 0) continue;
    texts.sequences.push_back(b);
    texts.starts.push_back(int32_t(texts.tokens.size()));
  }
  return texts;
}

// out (sequences with a text, D)
void DualEncoder::encode_texts(const Context& context, Tensor out, const Texts& texts, Tensor last_hidden) const {
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const int64_t t = int64_t(texts.tokens.size()), c = config_.text.hidden_size, b = out.rows();
  Tensor h = arena.allocate(DType::F32, {t, c});
  embedding_forward(h, to_tensor(arena, texts.tokens, {t}), tokens_->value);
  {
    ArenaScope inner(arena);
    Tensor positions = arena.allocate(DType::F32, {t, c});
    embedding_forward(positions, to_tensor(arena, texts.positions, {t}), positions_->value);
    add_scaled(h, positions, 1);
  }
  BlockInputs inputs;
  inputs.starts = to_tensor(arena, texts.starts, {b + 1});
  text_.forward(context, inputs, h);
  Tensor pooled = arena.allocate(DType::F32, {b, c}), normed = arena.allocate(context.compute, {b, c});
  pool_last_forward(pooled, h, inputs.starts);
  Norm::Saved discarded;
  final_norm_.forward(context, normed, pooled, discarded);
  text_projection_.forward(context, out, normed, false, nullptr);
  if (!last_hidden) return;
  Tensor hidden = arena.allocate(DType::F32, {t, c});
  final_norm_.forward(context, hidden, h, discarded);
  scatter_rows_forward(last_hidden, hidden, to_tensor(arena, texts.rows, {t}));
}

// out (I, D)
void DualEncoder::encode_pictures(const Context& context, Tensor out, const Batch& batch) const {
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  ClipVision::Saved saved;
  Tensor h = vision_.forward(context, batch, saved, false, 0);
  if (has_head()) return pool_pictures(context, out, h, saved);
  const int64_t i = out.rows(), e = config_.vision.embed_dim;
  Tensor pooled = arena.allocate(DType::F32, {i, e}), normed = arena.allocate(context.compute, {i, e});
  gather_rows_forward(pooled, h, {}, saved.inputs.starts.slice(0, i));  // class tokens
  Norm::Saved discarded;
  post_norm_.forward(context, normed, pooled, discarded);
  visual_projection_.forward(context, out, normed, false, nullptr);
}

// One query a picture, that of the probe, attends to all rows of the picture.
void DualEncoder::pool_pictures(const Context& context, Tensor out, Tensor h, const ClipVision::Saved& saved) const {
  Arena& arena = context.scratch;
  const int64_t m = h.rows(), i = out.rows(), e = config_.vision.embed_dim, heads = config_.vision.heads,
                hs = e / heads;
  Norm::Saved discarded;
  Tensor x = arena.allocate(context.compute, {m, e}), qkv = arena.allocate(context.compute, {m, 3 * e});
  post_norm_.forward(context, x, h, discarded);
  head_in_.forward(context, qkv, x, false, nullptr);

  Tensor zeros = arena.allocate_zero(DType::I32, {i}), probes = arena.allocate(DType::F32, {i, e});
  embedding_forward(probes, zeros, probe_->value);
  Tensor probe_qkv = arena.allocate(context.compute, {i, 3 * e});
  head_in_.forward(context, probe_qkv, narrowed(context, probes), false, nullptr);
  Tensor attended = arena.allocate(context.compute, {i, e}), lse = arena.allocate(DType::F32, {heads, i});
  pooled_attention_forward(attended.reshape({i, heads, hs}), lse, probe_qkv.heads(0, heads, hs),
                           qkv.heads(e, heads, hs), qkv.heads(2 * e, heads, hs), saved.inputs.starts,
                           1 / std::sqrt(float(hs)));

  head_out_.forward(context, out, attended, false, nullptr);
  Tensor normed = arena.allocate(context.compute, {i, e});
  head_norm_.forward(context, normed, out, discarded);
  Mlp::Saved mlp;
  head_mlp_.forward(context, out, normed, true, mlp, false);
}

Tensor DualEncoder::embed(const Context& context, const Batch& batch, Tensor last_hidden) const {
  if (last_hidden) zero(last_hidden);
  Arena& arena = context.scratch;
  const int64_t d = dimension();
  Tensor embeddings = arena.allocate_zero(DType::F32, {batch.sequence_count, d});
  const Texts text = texts(batch);
  if (!text.sequences.empty()) {
    Tensor vectors = arena.allocate(DType::F32, {int64_t(text.sequences.size()), d});
    encode_texts(context, vectors, text, last_hidden);
    for (size_t n = 0; n < text.sequences.size(); ++n)
      copy(embeddings.slice(text.sequences[n], 1), vectors.slice(int64_t(n), 1));
  }
  if (batch.image_count() > 0) {
    Tensor vectors = arena.allocate(DType::F32, {batch.image_count(), d});
    encode_pictures(context, vectors, batch);
    int64_t picture = 0;
    for (int64_t b = 0; b < batch.sequence_count; ++b) {
      int64_t count = 0;
      for (int32_t t = batch.seq_starts[b]; t < batch.seq_starts[b + 1]; ++t)
        count += config_.is_placeholder(batch.tokens[t]);
      for (int64_t n = 0; n < count; ++n, ++picture) {
        const int64_t row = batch.feature_rows ? batch.feature_rows[picture] : picture;
        add_scaled(embeddings.slice(b, 1), vectors.slice(row, 1), 1 / float(count));
      }
    }
  }
  Tensor norm = arena.allocate(DType::F32, {batch.sequence_count});
  l2_normalize_forward(embeddings, norm, embeddings);
  return embeddings;
}

}  // namespace vlm2vec

#include "model/encoder.h"

#include "model/family.h"
#include "ops/embedding.h"
#include "ops/gather.h"
#include "ops/l2_normalize.h"
#include "ops/rmsnorm.h"

namespace vlm2vec {

Encoder::Encoder(Weights& weights) : config_(weights.config()), vision_(make_vision_tower(weights)) {
  const std::string& prefix = find_family(config_.family).text_prefix;
  embed_tokens_ = &weights.at(prefix + "embed_tokens.weight");
  norm_ = &weights.at(prefix + "norm.weight");
  for (int64_t i = 0; i < config_.text.layers; ++i)
    layers_.blocks.emplace_back(weights, text_block(config_.text, prefix, i));
  layers_.apart = 1;
  vision_trains_ = vision_->trains();
  shape_ = {vision_->levels(), vision_->separators(), config_.vision.merged(), config_.text.hidden_size};
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
  if (batch.patch_count() == 0) return {};
  Arena& arena = context.scratch;
  Tensor features = arena.allocate(DType::F32, {own_rows(batch), config_.text.hidden_size});
  // without `saved` everything but the features is given back
  const Arena::Mark mark = arena.mark();
  auto kept = vision_->forward(context, features, batch, saved, memory);
  if (saved) saved->vision = std::move(kept);
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
      if (config_.is_placeholder(batch.tokens[i])) rows.push_back(int32_t(i));
    s.rows = to_tensor(arena, rows, {int64_t(rows.size())});
    scatter_rows_forward(h, features.slice(0, s.rows.rows()), s.rows);
  }
  context.observe("layer.0", h);
  s.text_inputs.starts = view(context.device, batch.seq_starts, DType::I32, {b + 1});
  s.text_inputs.cos = arena.allocate(DType::F32, {t, config.head_size / 2});
  s.text_inputs.sin = arena.allocate(DType::F32, {t, config.head_size / 2});
  text_rope(config, s.text_inputs.cos, s.text_inputs.sin, view(context.device, batch.positions, DType::I32, {3, t}),
            s.text_inputs.starts, arena);
  const auto add_level = [&](size_t layer, Tensor out) {  // DeepStack: level k enters after layer k - 1
    context.observe("layer." + std::to_string(layer + 1), out);
    const int64_t n = features ? s.rows.rows() : 0, level = int64_t(layer) + 1;
    if (n > 0 && level < vision_->levels()) gather_rows_backward(out, {}, features.slice(level * n, n), s.rows);
  };
  if (saved) {
    s.layers.dense = vision_->levels() > 1 ? size_t(vision_->levels()) : 0;
    layers_.forward(context, s.text_inputs, h, s.layers, memory, add_level);
  } else {
    layers_.forward(context, s.text_inputs, h, add_level);
  }

  s.pooled = arena.allocate(DType::F32, {b, c});
  s.last_input = h;
  if (s.last_recomputed) {
    const Context passing = context.passing();
    ArenaScope scope(passing.scratch);
    Block::Saved none;
    layers_.blocks.back().forward_pooled(passing, s.text_inputs, s.pooled, h, none, false);
  } else {
    layers_.blocks.back().forward_pooled(context, s.text_inputs, s.pooled, h, s.last, saved != nullptr);
  }
  if (features && config.layers < vision_->levels()) add_last_level(arena, batch, features, s);
  s.rstd = arena.allocate(DType::F32, {b});
  s.norm = arena.allocate(DType::F32, {b});
  rmsnorm_forward(embeddings, s.rstd, s.pooled, norm_->value, config.rms_norm_eps);
  l2_normalize_forward(embeddings, s.norm, embeddings);
  if (last_hidden) {  // of every token, which the embedding does not need
    layers_.blocks.back().forward(context, s.text_inputs, h, nullptr);
    add_level(size_t(config.layers) - 1, h);
    rmsnorm_forward(last_hidden, arena.allocate(DType::F32, {t}), h, norm_->value, config.rms_norm_eps);
  }
  if (!saved) arena.rewind(mark);
  return embeddings;
}

// The level that enters after the last layer matters where a sequence ends with a placeholder.
void Encoder::add_last_level(Arena& arena, const Batch& batch, Tensor features, Saved& s) const {
  std::vector<int32_t> sequences, numbers;
  int32_t number = 0;
  for (int64_t b = 0; b < batch.sequence_count; ++b)
    for (int32_t i = batch.seq_starts[b]; i < batch.seq_starts[b + 1]; ++i)
      if (config_.is_placeholder(batch.tokens[i])) {
        if (i + 1 == batch.seq_starts[b + 1]) {
          sequences.push_back(int32_t(b));
          numbers.push_back(number);
        }
        ++number;
      }
  if (numbers.empty()) return;
  const int64_t count = int64_t(numbers.size()), n = s.rows.rows();
  s.ending_sequences = to_tensor(arena, sequences, {count});
  s.ending_features = to_tensor(arena, numbers, {count});
  ArenaScope scope(arena);
  Tensor added = arena.allocate(DType::F32, {count, config_.text.hidden_size});
  gather_rows_forward(added, features.slice(config_.text.layers * n, n), {}, s.ending_features);
  gather_rows_backward(s.pooled, {}, added, s.ending_sequences);
}

void Encoder::backward(Context context, Tensor patch_ids, const Batch& batch, Tensor dembeddings, Saved& s,
                       const Sharing& sharing) const {
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const int64_t t = batch.token_count, b = batch.sequence_count, c = config_.text.hidden_size;
  Tensor dnormed = arena.allocate(DType::F32, {b, c});
  Tensor dpooled = arena.allocate_zero(DType::F32, {b, c});
  Tensor dh = arena.allocate(DType::F32, {t, c});
  l2_normalize_backward(dnormed, dembeddings, s.embeddings, s.norm);
  rmsnorm_backward(dpooled, norm_->gradient, dnormed, s.pooled, norm_->value, s.rstd);
  s.text_inputs.starts = view(context.device, batch.seq_starts, DType::I32, {b + 1});  // this call's memory
  Tensor dfeatures;
  const int64_t n = s.rows ? s.rows.rows() : 0, levels = vision_->levels();
  if (n > 0 && vision_trains_) dfeatures = arena.allocate_zero(DType::F32, {levels * n, c});
  if (dfeatures && s.ending_features) {
    Tensor taken = arena.allocate(DType::F32, {s.ending_features.rows(), c});
    gather_rows_forward(taken, dpooled, {}, s.ending_sequences);
    gather_rows_backward(dfeatures.slice(config_.text.layers * n, n), {}, taken, s.ending_features);
  }
  {
    ArenaScope last(arena);
    if (s.last_recomputed) {
      Tensor pooled = arena.allocate(DType::F32, {b, c});
      layers_.blocks.back().forward_pooled(context, s.text_inputs, pooled, s.last_input, s.last, true);
    }
    layers_.blocks.back().backward_pooled(context, s.text_inputs, dh, dpooled, s.last_input, s.last);
  }
  layers_.backward(context, s.text_inputs, dh, s.layers, [&](size_t layer, Tensor dout) {
    const int64_t level = int64_t(layer) + 1;
    if (dfeatures && level < levels) gather_rows_forward(dfeatures.slice(level * n, n), dout, {}, s.rows);
  });
  if (n > 0) scatter_rows_backward(dfeatures ? dfeatures.slice(0, n) : dfeatures, dh, s.rows);
  if (embed_tokens_->trained())
    embedding_backward(embed_tokens_->gradient, view(context.device, batch.tokens, DType::I32, {t}), dh);
  context.row_ids = patch_ids;
  if (!dfeatures) return;
  const Tensor down = place_backward(context, shape_, batch, dfeatures, sharing);
  if (batch.patch_count() > 0) vision_->backward(context, down, batch, *s.vision);
}

size_t Encoder::vision_share(const Batch& batch, DType compute, size_t memory) const {
  if (memory == 0 || batch.patch_count() == 0 || !vision_trains_) return 0;
  const double vision = double(activation_bytes(config_, compute, 0, batch.patch_count(), true).all);
  const double text = double(activation_bytes(config_, compute, batch.token_count, 0, false).all);
  return std::max<size_t>(1, size_t(double(memory) * vision / (vision + text)));
}

ActivationBytes activation_bytes(const ModelConfig& config, DType compute, int64_t tokens, int64_t patches,
                                 bool with_vision) {
  const PassBytes text = text_bytes(config.text, compute, tokens);
  const PassBytes vision = vision_bytes(config.vision, compute, with_vision ? patches : 0);
  const size_t fixed = text.fixed + vision.fixed + std::max(text.backward, vision.backward);
  return {fixed + text.kept + vision.kept, fixed + std::max(text.block, vision.block)};
}

KeptInputs kept_inputs(const ModelConfig& config, DType compute, size_t stride, int64_t step_tokens,
                       int64_t chunk_tokens) {
  const TextConfig& t = config.text;
  const size_t layers = size_t(t.layers - 1), state = 4 * size_t(t.hidden_size);
  const size_t kept = (layers + stride - 1) / stride + 1;  // and the last layer's input
  const PassBytes chunk = text_bytes(t, compute, chunk_tokens);
  return {stride, size_t(step_tokens) * (kept * state + 4 * size_t(t.head_size)),
          stride * (chunk.block + size_t(chunk_tokens) * state) + chunk.backward + size_t(chunk_tokens) * 2 * state};
}

KeptInputs least_inputs(const ModelConfig& config, DType compute, int64_t step_tokens, int64_t chunk_tokens) {
  KeptInputs least = kept_inputs(config, compute, 1, step_tokens, chunk_tokens);
  for (size_t stride = 2; stride < size_t(config.text.layers); ++stride) {
    const KeptInputs other = kept_inputs(config, compute, stride, step_tokens, chunk_tokens);
    if (other.bytes() < least.bytes()) least = other;
  }
  return least;
}

}  // namespace vlm2vec

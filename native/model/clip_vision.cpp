#include "model/clip_vision.h"

#include "model/parameters.h"
#include "model/vision.h"
#include "ops/cast.h"
#include "ops/embedding.h"
#include "ops/gather.h"

namespace vlm2vec {

BlockSpec clip_block(const ClipSizes& sizes, const std::string& encoder, int64_t index) {
  const std::string layer = encoder + "layers." + std::to_string(index) + ".", attention = layer + "self_attn.";
  BlockSpec spec{sizes.width, sizes.heads, sizes.heads, sizes.width / sizes.heads, sizes.eps, sizes.causal};
  spec.norm1 = layer + "layer_norm1";
  spec.norm2 = layer + "layer_norm2";
  spec.out = attention + "out_proj";
  spec.qkv = {attention + "q_proj", attention + "k_proj", attention + "v_proj"};
  spec.mlp = {{layer + "mlp.fc1", layer + "mlp.fc2"}, false, sizes.activation};
  return spec;
}

void clip_block_parameters(ParameterTable& table, const ClipSizes& sizes, const std::string& encoder, int64_t index) {
  const std::string layer = encoder + "layers." + std::to_string(index) + ".";
  table.norm(layer + "layer_norm1", sizes.width, true);
  for (const char* module : {"q_proj", "k_proj", "v_proj", "out_proj"})
    table.linear(layer + "self_attn." + module, sizes.width, sizes.width, true);
  table.norm(layer + "layer_norm2", sizes.width, true);
  table.linear(layer + "mlp.fc1", sizes.mlp_width, sizes.width, true);
  table.linear(layer + "mlp.fc2", sizes.width, sizes.mlp_width, true);
}

ClipSizes clip_sizes(const VisionConfig& config) {
  return {config.embed_dim, config.heads, config.intermediate_size, config.norm_eps, config.activation, false};
}

void clip_vision_parameters(ParameterTable& table, const VisionConfig& config, const std::string& prefix) {
  const int64_t e = config.embed_dim, side = config.patch_size;
  const std::string embeddings = prefix + "embeddings.";
  table.part = Part::Vision;
  if (config.class_token) table.vector(embeddings + "class_embedding", e);
  table.other(embeddings + "patch_embedding.weight", {e, config.in_channels, side, side}, Role::Linear);
  if (!config.class_token) table.vector(embeddings + "patch_embedding.bias", e);
  table.other(embeddings + "position_embedding.weight", {config.position_embeddings, e}, Role::Embedding);
  if (config.class_token) table.norm(prefix + "pre_layrnorm", e, true);
  for (int64_t i = 0; i < config.depth; ++i) {
    table.used = i < config.feature_blocks;
    clip_block_parameters(table, clip_sizes(config), prefix + "encoder.", i);
  }
  table.used = config.pooled;
  table.norm(prefix + "post_layernorm", e, true);
  table.used = true;
}

// ---------------------------------------------------------------------------------------------------------------------

ClipVision::ClipVision(Weights& weights, const VisionConfig& config, const std::string& prefix)
    : config_(config), tile_(config.position_embeddings - config.class_token) {
  patch_embed_ = Linear(weights, prefix + "embeddings.patch_embedding");
  positions_ = &weights.at(prefix + "embeddings.position_embedding.weight");
  if (config.class_token) {
    class_ = &weights.at(prefix + "embeddings.class_embedding");
    pre_norm_ = Norm(weights, prefix + "pre_layrnorm", config.norm_eps);
  }
  for (int64_t i = 0; i < config.feature_blocks; ++i)
    stack_.blocks.emplace_back(weights, clip_block(clip_sizes(config), prefix + "encoder.", i));
}

bool ClipVision::trains() {
  bool any = positions_->trained();
  each_linear([&](const Linear& linear) { any = any || linear.trains(); });
  return any;  // norms are trained only together with linear layers
}

// Rows of the blocks: for each tile its class token and its patches as they come.
void ClipVision::arrange(const Context& context, const Batch& batch, Saved& s) const {
  Arena& arena = context.scratch;
  const int32_t merge = int32_t(config_.merge_size), extra = config_.class_token;
  std::vector<int32_t> rows, positions, starts{0}, ids;
  const int32_t* patch_ids = context.dropout > 0 ? context.row_ids.as<int32_t>() : nullptr;
  const auto add = [&](int32_t row, int32_t position, int32_t id) {
    rows.push_back(row);
    positions.push_back(position);
    if (patch_ids) ids.push_back(id);
  };
  int32_t patch = 0;
  for (int64_t i = 0; i < batch.image_count(); ++i) {
    const auto [t, h, w] = batch.pictures[size_t(i)].grid;
    require(h == w && int64_t(h) * w == tile_, "E_BATCH", "picture ", i, " of the batch has tiles of ", h, " x ", w,
            " patches; this tower has positions for ", tile_, " of a square");
    for (int32_t slice = 0; slice < t; ++slice) {
      // a tile's place in the whole batch, from its first patch's
      const int32_t first = patch_ids ? patch_ids[patch] : 0, tile_id = first + extra * (first / int32_t(tile_));
      if (extra) add(-1, 0, tile_id);
      const int32_t tile_start = patch;
      for (int32_t row = 0; row < h; row += merge)
        for (int32_t column = 0; column < w; column += merge)
          for (int32_t y = 0; y < merge; ++y)
            for (int32_t x = 0; x < merge; ++x, ++patch)
              add(patch, extra + (row + y) * w + column + x, tile_id + extra + patch - tile_start);
      starts.push_back(int32_t(rows.size()));
    }
  }
  s.rows = to_tensor(arena, rows, {int64_t(rows.size())});
  s.positions = to_tensor(arena, positions, {int64_t(positions.size())});
  s.inputs.starts = to_tensor(arena, starts, {int64_t(starts.size())});
  if (patch_ids) s.row_ids = to_tensor(arena, ids, {int64_t(ids.size())});
}

Context ClipVision::hidden(const Context& context, const Saved& saved) const {
  Context result = context;
  result.row_ids = saved.row_ids;
  return result;
}

Tensor ClipVision::forward(const Context& context, const Batch& batch, Saved& s, bool keep, size_t memory) const {
  Arena& arena = context.scratch;
  const int64_t e = config_.embed_dim, p = batch.patch_count(), m = rows(batch);
  Tensor h = arena.allocate(DType::F32, {m, e});
  arrange(context, batch, s);
  Tensor embedded = config_.class_token ? arena.allocate(DType::F32, {m, e}) : h;
  Tensor patches = arena.allocate(DType::F32, {p, e});
  const Arena::Mark mark = arena.mark();
  const Tensor pixels = joined_patches(context, batch);
  patch_embed_.forward(context, patches, pixels, false, keep ? &s.patch_embed : nullptr);
  if (!keep) arena.rewind(mark);
  gather_rows_forward(embedded, patches, class_ ? class_->value.reshape({1, e}) : Tensor(), s.rows);
  {
    ArenaScope scope(arena);
    Tensor positions = arena.allocate(DType::F32, {m, e});
    embedding_forward(positions, s.positions, positions_->value);
    add_scaled(embedded, positions, 1);
  }
  if (config_.class_token) {
    s.embedded = embedded;
    pre_norm_.forward(context, h, embedded, s.pre_norm);
  }
  const Context inside = hidden(context, s);
  if (keep) {
    stack_.forward(inside, s.inputs, h, s.blocks, memory);
  } else {
    stack_.forward(inside, s.inputs, h);
  }
  return h;
}

void ClipVision::backward(const Context& context, Tensor dh, Saved& s) const {
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const int64_t e = config_.embed_dim;
  stack_.backward(hidden(context, s), s.inputs, dh, s.blocks);
  Tensor dembedded = dh;
  if (config_.class_token) {
    dembedded = arena.allocate_zero(DType::F32, {dh.rows(), e});
    pre_norm_.backward(dembedded, dh, s.embedded, s.pre_norm);
  }
  if (positions_->trained()) embedding_backward(positions_->gradient, s.positions, dembedded);
  const bool class_trains = class_ && class_->trained();
  if (!class_trains && !patch_embed_.trains()) return;
  const int64_t p = dh.rows() / tile_rows() * tile_;
  Tensor dpatches = arena.allocate_zero(DType::F32, {p, e});
  gather_rows_backward(dpatches, class_trains ? class_->gradient.reshape({1, e}) : Tensor(), dembedded, s.rows);
  if (patch_embed_.trains()) patch_embed_.backward(context, {}, narrowed(context, dpatches), s.patch_embed, false);
}

// Row of each patch in h.
Tensor ClipVision::patch_rows(const Context& context, const Saved& s) const {
  const int64_t m = s.rows.rows();
  Tensor result = context.scratch.allocate(DType::I32, {m / tile_rows() * tile_});
  for (int64_t row = 0; row < m; ++row)
    if (s.rows.as<int32_t>()[row] >= 0) result.as<int32_t>()[s.rows.as<int32_t>()[row]] = int32_t(row);
  return result;
}

Tensor ClipVision::patches(const Context& context, Tensor h, const Saved& saved) const {
  if (!config_.class_token) return h;
  const Tensor rows = patch_rows(context, saved);
  Tensor x = context.scratch.allocate(DType::F32, {rows.rows(), config_.embed_dim});
  gather_rows_forward(x, h, {}, rows);
  return x;
}

void ClipVision::patches_backward(const Context& context, Tensor dh, Tensor dx, const Saved& saved) const {
  ArenaScope scope(context.scratch);
  if (!config_.class_token) return add_scaled(dh, dx, 1);
  gather_rows_backward(dh, {}, dx, patch_rows(context, saved));
}

PassBytes clip_vision_bytes(const VisionConfig& config, DType compute, int64_t patches) {
  const int64_t tile = config.position_embeddings - config.class_token;
  const int64_t rows = tile > 0 ? patches / tile * (tile + config.class_token) : 0;
  PassBytes bytes = block_bytes(clip_block(clip_sizes(config), "", 0), config.intermediate_size, config.feature_blocks,
                                rows, compute);
  const size_t e = size_t(config.embed_dim), p = size_t(patches);
  bytes.fixed += size_t(rows) * 4 * 3 * e + p * (4 * 2 * e + size_of(compute) * size_t(config.patch_values()));
  return bytes;
}

}  // namespace vlm2vec

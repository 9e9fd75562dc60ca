#include "model/qwen_tower.h"

#include <cmath>

#include "model/learned_positions.h"
#include "model/merger.h"
#include "ops/cast.h"
#include "ops/gather.h"
#include "ops/rope.h"

namespace vlm2vec {

namespace {

constexpr double kTheta = 10000;

// cos and sin of 2-D RoPE for positions (2, P): the first half of the frequencies turns by row, the second by column.
void vision_rope(const VisionConfig& config, Tensor cos, Tensor sin, Tensor positions, Arena& scratch) {
  const int64_t half = config.head_size() / 2, quarter = half / 2;
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

class QwenTower : public VisionTower {
 public:
  QwenTower(Weights& weights, const QwenTowerSpec& spec) : config_(weights.config().vision), spec_(spec) {
    patch_embed_ = Linear(weights, "model.visual.patch_embed.proj");
    for (const BlockSpec& block : spec.blocks) stack_.blocks.emplace_back(weights, block);
    merger_ = Merger(weights, spec.merger, config_);
    for (const auto& [block, merger] : spec.deepstack) deepstack_[block] = Merger(weights, merger, config_);
    if (!spec.positions.empty()) positions_ = LearnedPositions(weights, spec.positions, config_);
  }

  int64_t levels() const override { return 1 + int64_t(deepstack_.size()); }

  std::unique_ptr<VisionTower::Saved> forward(const Context& context, Tensor features, const Batch& batch, bool keep,
                                              size_t memory) const override;
  void backward(const Context& context, Tensor dfeatures, const Batch& batch, VisionTower::Saved& saved) const override;
  bool trains() override {
    bool any = merger_.trains() || positions_.trains();
    each_linear([&](const Linear& linear) { any = any || linear.trains(); });
    return any;  // a block's norms are trained only together with its linear layers
  }
  void each_linear(const std::function<void(Linear&)>& f) override {
    f(patch_embed_);
    for (auto& block : stack_.blocks) block.each_linear(f);
    merger_.each_linear(f);
    for (auto& [block, merger] : deepstack_) merger.each_linear(f);
  }

 private:
  struct Saved : VisionTower::Saved {
    BlockInputs inputs;
    Tensor order;  // (N) i32, or absent
    Linear::Saved patch_embed;
    Stack<Block>::Saved blocks;
    Merger::Saved merger;
    std::map<size_t, Merger::Saved> deepstack;
    LearnedPositions::Saved positions;
  };
  void arrange(const Context& context, const Arrangement& arrangement, Saved& saved) const;
  // The level of features that the output of a block becomes; 0: none.
  int64_t level_of(size_t block) const {
    const auto found = deepstack_.find(int64_t(block));
    return found == deepstack_.end() ? 0 : 1 + std::distance(deepstack_.begin(), found);
  }

  VisionConfig config_;
  QwenTowerSpec spec_;
  Linear patch_embed_;
  Stack<Block> stack_;
  Merger merger_;
  std::map<int64_t, Merger> deepstack_;  // by block
  LearnedPositions positions_;
};

void QwenTower::arrange(const Context& context, const Arrangement& arrangement, Saved& s) const {
  Arena& arena = context.scratch;
  const int64_t p = int64_t(arrangement.positions.size()) / 2, half = config_.head_size() / 2;
  s.inputs.starts = to_tensor(arena, arrangement.starts, {int64_t(arrangement.starts.size())});
  if (!arrangement.local_starts.empty())
    s.inputs.local_starts = to_tensor(arena, arrangement.local_starts, {int64_t(arrangement.local_starts.size())});
  if (!arrangement.order.empty()) s.order = to_tensor(arena, arrangement.order, {int64_t(arrangement.order.size())});
  s.inputs.cos = arena.allocate(DType::F32, {p, half});
  s.inputs.sin = arena.allocate(DType::F32, {p, half});
  vision_rope(config_, s.inputs.cos, s.inputs.sin, to_tensor(arena, arrangement.positions, {2, p}), arena);
}

std::unique_ptr<VisionTower::Saved> QwenTower::forward(const Context& context, Tensor features, const Batch& batch,
                                                       bool keep, size_t memory) const {
  Arena& arena = context.scratch;
  auto kept = std::make_unique<Saved>();
  Saved& s = *kept;
  const Arrangement arrangement = spec_.arrange(config_, batch);
  arrange(context, arrangement, s);
  Tensor h = arena.allocate(DType::F32, {batch.patch_count(), config_.embed_dim});
  const Arena::Mark mark = arena.mark();
  patch_embed_.forward(context, h, joined_patches(context, batch, arrangement.order), false,
                       keep ? &s.patch_embed : nullptr);
  if (!keep) arena.rewind(mark);
  if (positions_) positions_.forward(context, h, arrangement.positions, batch, s.positions);
  const int64_t n = batch.patch_count() / config_.merged();
  const auto merge_level = [&](size_t block, Tensor out) {
    const int64_t level = level_of(block);
    if (level == 0) return;
    Tensor input = out;
    if (keep) {
      input = arena.allocate(DType::F32, {out.rows(), out.shape[1]});
      copy(input, out);
    }
    deepstack_.at(int64_t(block)).forward(context, features.slice(level * n, n), input, s.deepstack[block], keep);
  };
  if (keep) {
    stack_.forward(context, s.inputs, h, s.blocks, memory, merge_level);
  } else {
    stack_.forward(context, s.inputs, h, merge_level);
  }
  features = features.slice(0, n);
  if (s.order) {  // feature n of the blocks is feature order[n] of the batch
    Tensor ordered = arena.allocate(DType::F32, {features.rows(), features.shape[1]});
    merger_.forward(context, ordered, h, s.merger, keep);
    zero(features);
    gather_rows_backward(features, {}, ordered, s.order);
  } else {
    merger_.forward(context, features, h, s.merger, keep);
  }
  return keep ? std::move(kept) : nullptr;
}

void QwenTower::backward(const Context& context, Tensor dfeatures, const Batch& batch,
                         VisionTower::Saved& saved) const {
  Saved& s = static_cast<Saved&>(saved);
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  Tensor dh = arena.allocate_zero(DType::F32, {batch.patch_count(), config_.embed_dim});
  if (s.order) {
    Tensor ordered = arena.allocate(DType::F32, {dfeatures.rows(), dfeatures.shape[1]});
    gather_rows_forward(ordered, dfeatures, {}, s.order);
    dfeatures = ordered;
  }
  const int64_t n = batch.patch_count() / config_.merged();
  merger_.backward(context, dh, dfeatures.slice(0, n), s.merger);
  stack_.backward(context, s.inputs, dh, s.blocks, [&](size_t block, Tensor dout) {
    const int64_t level = level_of(block);
    if (level > 0)
      deepstack_.at(int64_t(block)).backward(context, dout, dfeatures.slice(level * n, n), s.deepstack.at(block));
  });
  if (positions_) positions_.backward(dh, s.positions);
  if (patch_embed_.trains()) patch_embed_.backward(context, {}, narrowed(context, dh), s.patch_embed, false);
}

}  // namespace

std::unique_ptr<VisionTower> make_qwen_tower(Weights& weights, const QwenTowerSpec& spec) {
  return std::make_unique<QwenTower>(weights, spec);
}

PassBytes qwen_tower_bytes(const VisionConfig& config, const QwenTowerSpec& spec, DType compute, int64_t patches) {
  const size_t p = size_t(patches), e = size_t(config.embed_dim);
  PassBytes bytes;
  if (!spec.blocks.empty())
    bytes = block_bytes(spec.blocks[0], config.intermediate_size, config.depth, patches, compute);
  bytes.fixed += p * (4 * 2 * e + size_of(compute) * (size_t(config.patch_values()) + 4 * e));
  return bytes;
}

Arrangement arrange_slices(const VisionConfig& config, const Batch& batch) {
  Arrangement result;
  std::vector<int32_t> columns;
  std::vector<int32_t>& rows = result.positions;
  result.starts.assign(1, 0);
  const int32_t merge = int32_t(config.merge_size);
  for (const Picture& picture : batch.pictures) {
    const auto [t, h, w] = picture.grid;
    for (int32_t slice = 0; slice < t; ++slice) {
      for (int32_t row = 0; row < h; row += merge)
        for (int32_t column = 0; column < w; column += merge)
          for (int32_t y = 0; y < merge; ++y)
            for (int32_t x = 0; x < merge; ++x) {
              rows.push_back(row + y);
              columns.push_back(column + x);
            }
      result.starts.push_back(int32_t(rows.size()));
    }
  }
  rows.insert(rows.end(), columns.begin(), columns.end());
  return result;
}

}  // namespace vlm2vec

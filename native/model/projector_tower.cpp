#include "model/projector_tower.h"

#include "model/clip_vision.h"
#include "ops/cast.h"

namespace vlm2vec {

namespace {

// Places of separators in the batch, for dropout: far from those of features.
constexpr int32_t kSeparatorIds = 1 << 30;

class ProjectorTower : public VisionTower {
 public:
  ProjectorTower(Weights& weights, const ProjectorTowerSpec& spec)
      : config_(weights.config().vision),
        spec_(spec),
        clip_(weights, config_, spec.tower),
        projector_(weights, {{spec.first, spec.second}, false, spec.activation}) {
    for (const std::string& name : spec.separators) separators_.push_back(&weights.at(name));
  }

  int64_t separators() const override { return int64_t(separators_.size()); }
  std::unique_ptr<VisionTower::Saved> forward(const Context& context, Tensor features, const Batch& batch, bool keep,
                                              size_t memory) const override;
  void backward(const Context& context, Tensor dfeatures, const Batch& batch, VisionTower::Saved& saved) const override;
  bool trains() override {
    bool any = clip_.trains();
    projector_.each_linear([&](const Linear& linear) { any = any || linear.trains(); });
    for (const Parameter* separator : separators_) any = any || separator->trained();
    return any;
  }
  void each_linear(const std::function<void(Linear&)>& f) override {
    clip_.each_linear(f);
    projector_.each_linear(f);
  }

 private:
  struct Saved : VisionTower::Saved {
    ClipVision::Saved clip;
    Mlp::Saved projector;
  };
  int64_t merged_width() const { return config_.embed_dim * config_.merged(); }
  void read_separators(Tensor rows) const;
  void separators_backward(Tensor dseparators) const;
  Context feature_context(const Context& context, const Batch& batch) const;

  VisionConfig config_;
  ProjectorTowerSpec spec_;
  ClipVision clip_;
  Mlp projector_;
  std::vector<Parameter*> separators_;
};

// The learned vectors to rows (S, width).
void ProjectorTower::read_separators(Tensor rows) const {
  for (size_t i = 0; i < separators_.size(); ++i)
    copy(rows.slice(int64_t(i), 1), separators_[i]->value.reshape({1, rows.shape[1]}));
}

void ProjectorTower::separators_backward(Tensor dseparators) const {
  for (size_t i = 0; i < separators_.size(); ++i)
    if (separators_[i]->trained())
      add_scaled(separators_[i]->gradient.reshape({1, dseparators.shape[1]}), dseparators.slice(int64_t(i), 1), 1);
}

// The projector's rows have places of their own in the batch: those of merged patches, separators far behind them.
Context ProjectorTower::feature_context(const Context& context, const Batch& batch) const {
  Context result = context;
  if (context.dropout <= 0) return result;
  const int64_t merged = config_.merged(), m = batch.patch_count() / merged;
  const int64_t projected = spec_.separators_projected ? separators() : 0;
  result.row_ids = context.scratch.allocate(DType::I32, {m + projected});
  int32_t* ids = result.row_ids.as<int32_t>();
  for (int64_t n = 0; n < m; ++n) ids[n] = context.row_ids.as<int32_t>()[n * merged] / int32_t(merged);
  for (int64_t i = 0; i < projected; ++i) ids[m + i] = kSeparatorIds + int32_t(i);
  return result;
}

std::unique_ptr<VisionTower::Saved> ProjectorTower::forward(const Context& context, Tensor features, const Batch& batch,
                                                            bool keep, size_t memory) const {
  Arena& arena = context.scratch;
  auto kept = std::make_unique<Saved>();
  Saved& s = *kept;
  const int64_t width = merged_width(), m = batch.patch_count() / config_.merged();
  Tensor h = clip_.forward(context, batch, s.clip, keep, memory);
  Tensor x = clip_.patches(context, h, s.clip).reshape({m, width});
  const Context inside = feature_context(context, batch);
  if (spec_.separators_projected) {
    Tensor all = arena.allocate(DType::F32, {m + separators(), width});
    copy(all.slice(0, m), x);
    read_separators(all.slice(m, separators()));
    projector_.forward(inside, features, narrowed(context, all), false, s.projector, keep);
  } else {
    projector_.forward(inside, features.slice(0, m), narrowed(context, x), false, s.projector, keep);
    read_separators(features.slice(m, separators()));
  }
  return keep ? std::move(kept) : nullptr;
}

void ProjectorTower::backward(const Context& context, Tensor dfeatures, const Batch& batch,
                              VisionTower::Saved& saved) const {
  Saved& s = static_cast<Saved&>(saved);
  Arena& arena = context.scratch;
  ArenaScope scope(arena);
  const int64_t width = merged_width(), e = config_.embed_dim, p = batch.patch_count(), m = p / config_.merged();
  const Context inside = feature_context(context, batch);
  const int64_t projected = spec_.separators_projected ? separators() : 0;
  Tensor dx = arena.allocate(DType::F32, {m + projected, width});
  projector_.backward(inside, dx, narrowed(context, dfeatures.slice(0, m + projected)), s.projector);
  separators_backward((projected > 0 ? dx : dfeatures).slice(m, separators()));
  Tensor dh = arena.allocate_zero(DType::F32, {clip_.rows(batch), e});
  clip_.patches_backward(context, dh, dx.slice(0, m).reshape({p, e}), s.clip);
  clip_.backward(context, dh, s.clip);
}

}  // namespace

std::unique_ptr<VisionTower> make_projector_tower(Weights& weights, const ProjectorTowerSpec& spec) {
  return std::make_unique<ProjectorTower>(weights, spec);
}

PassBytes projector_tower_bytes(const VisionConfig& config, DType compute, int64_t patches) {
  PassBytes bytes = clip_vision_bytes(config, compute, patches);
  const size_t features = size_t(patches / config.merged()), width = size_t(config.embed_dim * config.merged()),
               c = size_t(config.output_size);
  bytes.fixed += features * (4 * (2 * width + 2 * c) + size_of(compute) * (width + 3 * c));
  return bytes;
}

void projector_tower_parameters(ParameterTable& table, const VisionConfig& config, const ProjectorTowerSpec& spec) {
  const int64_t width = config.embed_dim * config.merged(), c = config.output_size;
  clip_vision_parameters(table, config, spec.tower);
  table.part = Part::Merger;
  table.linear(spec.first, c, width, config.projector_bias);
  table.linear(spec.second, c, c, config.projector_bias);
}

}  // namespace vlm2vec

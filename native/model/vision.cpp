#include "model/vision.h"

#include "model/projector_tower.h"
#include "model/qwen_tower.h"

namespace vlm2vec {

namespace {

struct Kind {
  VisionKind kind;
  std::unique_ptr<VisionTower> (*make)(Weights& weights);
  PassBytes (*bytes)(const VisionConfig& config, DType compute, int64_t patches);
};

template <QwenTowerSpec (*spec)(const VisionConfig&)>
constexpr Kind qwen(VisionKind kind) {
  return {kind, [](Weights& weights) { return make_qwen_tower(weights, spec(weights.config().vision)); },
          [](const VisionConfig& config, DType compute, int64_t patches) {
            return qwen_tower_bytes(config, spec(config), compute, patches);
          }};
}

template <ProjectorTowerSpec (*spec)(const VisionConfig&)>
constexpr Kind projector(VisionKind kind) {
  return {kind, [](Weights& weights) { return make_projector_tower(weights, spec(weights.config().vision)); },
          projector_tower_bytes};
}

class NoTower final : public VisionTower {
 public:
  std::unique_ptr<Saved> forward(const Context&, Tensor, const Batch&, bool, size_t) const override { return {}; }
  void backward(const Context&, Tensor, const Batch&, Saved&) const override {}
  bool trains() override { return false; }
  void each_linear(const std::function<void(Linear&)>&) override {}
};

const Kind kNone{VisionKind::None, [](Weights&) -> std::unique_ptr<VisionTower> { return std::make_unique<NoTower>(); },
                 [](const VisionConfig&, DType, int64_t) { return PassBytes(); }};

const Kind kKinds[] = {kNone,
                       qwen<qwen2_tower>(VisionKind::Qwen2),
                       qwen<qwen2_5_tower>(VisionKind::Qwen2_5),
                       qwen<qwen3_tower>(VisionKind::Qwen3),
                       projector<llava_tower>(VisionKind::Llava),
                       projector<phi3_tower>(VisionKind::Phi3)};

const Kind& find_kind(VisionKind kind) {
  for (const Kind& each : kKinds)
    if (each.kind == kind) return each;
  fail("E_MODEL", "config: no engine for this kind of vision tower");
}

}  // namespace

Tensor joined_patches(const Context& context, const Batch& batch, const std::vector<int32_t>& order) {
  const int64_t values = batch.pictures.front().layout.values();
  Tensor patches = context.scratch.allocate(context.compute, {batch.patch_count(), values});
  patchify(patches, batch.pictures, order);
  return patches;
}

std::unique_ptr<VisionTower> make_vision_tower(Weights& weights) {
  return find_kind(weights.config().vision.kind).make(weights);
}

PassBytes vision_bytes(const VisionConfig& config, DType compute, int64_t patches) {
  return find_kind(config.kind).bytes(config, compute, patches);
}

Tensor to_tensor(Arena& arena, const std::vector<int32_t>& values, std::initializer_list<int64_t> shape) {
  Tensor tensor = arena.allocate(DType::I32, shape);
  tensor.device->to_device(tensor.data, values.data(), values.size() * sizeof(int32_t));
  return tensor;
}

}  // namespace vlm2vec

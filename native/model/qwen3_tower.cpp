// The vision tower of Qwen3-VL: learned positions beside the rotary ones, and mergers of their own for the features
// that DeepStack adds to the first text layers.
#include "model/qwen_tower.h"

namespace vlm2vec {

QwenTowerSpec qwen3_tower(const VisionConfig& config) {
  QwenTowerSpec spec = qwen2_tower(config);
  const std::string visual = "model.visual.";
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const std::string mlp = visual + "blocks." + std::to_string(i) + ".mlp.";
    spec.blocks[i].mlp.modules = {mlp + "linear_fc1", mlp + "linear_fc2"};
  }
  const auto merger = [](const std::string& name) {
    return MergerSpec{name + ".norm", name + ".linear_fc1", name + ".linear_fc2"};
  };
  spec.merger = merger(visual + "merger");
  for (size_t k = 0; k < config.deepstack_blocks.size(); ++k)
    spec.deepstack[config.deepstack_blocks[k]] = merger(visual + "deepstack_merger_list." + std::to_string(k));
  spec.positions = visual + "pos_embed.weight";
  return spec;
}

}  // namespace vlm2vec

// The vision tower of Qwen2-VL: LayerNorms, a plain MLP.
#include "model/qwen_tower.h"

namespace vlm2vec {

QwenTowerSpec qwen2_tower(const VisionConfig& config) {
  QwenTowerSpec spec;
  for (int64_t i = 0; i < config.depth; ++i) {
    const std::string name = "model.visual.blocks." + std::to_string(i);
    BlockSpec block{config.embed_dim, config.heads, config.heads, config.head_size(), config.norm_eps, false};
    block.norm1 = name + ".norm1";
    block.norm2 = name + ".norm2";
    block.qkv = {name + ".attn.qkv"};
    block.out = name + ".attn.proj";
    block.mlp = {{name + ".mlp.fc1", name + ".mlp.fc2"}, false, config.activation};
    spec.blocks.push_back(block);
  }
  spec.merger = {"model.visual.merger.ln_q", "model.visual.merger.mlp.0", "model.visual.merger.mlp.2"};
  spec.arrange = arrange_slices;
  return spec;
}

}  // namespace vlm2vec

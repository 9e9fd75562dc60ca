// Qwen3-VL and Qwen3-VL-Embedding (models: Qwen3VLForConditionalGeneration).
#include "model/family.h"

namespace vlm2vec {

static void merger_parameters(ParameterTable& table, const VisionConfig& v, const std::string& name, bool norm_merged) {
  const int64_t merged = v.embed_dim * v.merged();
  table.norm(name + ".norm", norm_merged ? merged : v.embed_dim, true);
  table.linear(name + ".linear_fc1", merged, merged, true);
  table.linear(name + ".linear_fc2", v.output_size, merged, true);
}

static void parameters(ParameterTable& table, const ModelConfig& config) {
  const VisionConfig& v = config.vision;
  const int64_t e = v.embed_dim, f = v.intermediate_size;
  const std::string visual = "model.visual.";
  table.part = Part::Vision;
  table.other(visual + "patch_embed.proj.weight", {e, v.in_channels, v.temporal_patch_size, v.patch_size, v.patch_size},
              Role::Linear);
  table.vector(visual + "patch_embed.proj.bias", e);
  table.other(visual + "pos_embed.weight", {v.position_embeddings, e}, Role::Embedding);
  for (int64_t i = 0; i < v.depth; ++i) {
    const std::string block = visual + "blocks." + std::to_string(i);
    table.norm(block + ".norm1", e, true);
    table.linear(block + ".attn.qkv", 3 * e, e, true);
    table.linear(block + ".attn.proj", e, e, true);
    table.norm(block + ".norm2", e, true);
    table.linear(block + ".mlp.linear_fc1", f, e, true);
    table.linear(block + ".mlp.linear_fc2", e, f, true);
  }
  table.part = Part::Merger;
  merger_parameters(table, v, visual + "merger", false);
  for (size_t k = 0; k < v.deepstack_blocks.size(); ++k)
    merger_parameters(table, v, visual + "deepstack_merger_list." + std::to_string(k), true);
  text_parameters(table, config.text, "model.language_model.");
}

const Family kQwen3Vl{"qwen3_vl", "model.language_model.", parameters, qwen_namings()};

}  // namespace vlm2vec

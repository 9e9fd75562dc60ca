// Qwen2.5-VL (models: Qwen2_5_VLForConditionalGeneration): Qwen2-VL's decoder, a tower of RMSNorms and gated MLPs.
#include "model/family.h"

namespace vlm2vec {

static void parameters(ParameterTable& table, const ModelConfig& config) {
  const VisionConfig& v = config.vision;
  const int64_t e = v.embed_dim, f = v.intermediate_size, merged = e * v.merged();
  table.part = Part::Vision;
  table.other("model.visual.patch_embed.proj.weight",
              {e, v.in_channels, v.temporal_patch_size, v.patch_size, v.patch_size}, Role::Linear);
  for (int64_t i = 0; i < v.depth; ++i) {
    const std::string block = "model.visual.blocks." + std::to_string(i);
    table.norm(block + ".norm1", e, false);
    table.linear(block + ".attn.qkv", 3 * e, e, true);
    table.linear(block + ".attn.proj", e, e, true);
    table.norm(block + ".norm2", e, false);
    table.linear(block + ".mlp.gate_proj", f, e, true);
    table.linear(block + ".mlp.up_proj", f, e, true);
    table.linear(block + ".mlp.down_proj", e, f, true);
  }
  table.part = Part::Merger;
  table.norm("model.visual.merger.ln_q", e, false);
  table.linear("model.visual.merger.mlp.0", merged, merged, true);
  table.linear("model.visual.merger.mlp.2", v.output_size, merged, true);
  text_parameters(table, config.text, "model.language_model.");
}

const Family kQwen2_5Vl{"qwen2_5_vl", "model.language_model.", parameters, qwen_namings()};

}  // namespace vlm2vec

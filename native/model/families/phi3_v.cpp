// Phi-3-vision and Phi-3.5-vision (remote code of the hub: Phi3VForCausalLM): CLIP, a projector through which the
// separators go too, and a Phi-3 decoder.
#include "model/family.h"
#include "model/projector_tower.h"

namespace vlm2vec {

namespace {

const std::string kVision = "model.vision_embed_tokens.";
const std::string kTower = kVision + "img_processor.";

}  // namespace

ProjectorTowerSpec phi3_tower(const VisionConfig& config) {
  return {kTower + "vision_model.",
          kVision + "img_projection.0",
          kVision + "img_projection.2",
          config.projector_activation,
          {kVision + "sub_GN", kVision + "glb_GN"},
          true};
}

namespace {

void parameters(ParameterTable& table, const ModelConfig& config) {
  const int64_t width = config.vision.embed_dim * config.vision.merged();
  projector_tower_parameters(table, config.vision, phi3_tower(config.vision));
  table.other(kVision + "sub_GN", {1, 1, 1, width}, Role::Vector);
  table.other(kVision + "glb_GN", {1, 1, width}, Role::Vector);
  text_parameters(table, config.text, "model.");
}

// The remote code has its names from the CLIP class, which lost `vision_model.` in transformers 5.
std::vector<Naming> namings() {
  const std::string clip = kTower + "vision_model.", wte = kVision + "wte.", model = "model.", head = "lm_head.";
  return {{"transformers-5", {{clip, clip}, {model, model}, {head, head}}},
          {"clip-of-transformers-5", {{clip, kTower}, {model, model}, {head, head}}},
          {"embeddings-in-vision", {{clip, clip}, {"model.embed_tokens.", wte}, {model, model}, {head, head}}},
          {"bare", {{clip, clip.substr(model.size())}, {model, ""}, {head, head}}}};
}

}  // namespace

const Family kPhi3V{"phi3_v", "model.", parameters, namings(), {}, {kVision + "wte.weight"}};

}  // namespace vlm2vec

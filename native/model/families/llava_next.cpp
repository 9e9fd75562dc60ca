// LLaVA-NeXT (models: LlavaNextForConditionalGeneration): CLIP, a projector, image_newline, and a Mistral, Llama or
// Qwen2 decoder.
#include "model/family.h"
#include "model/projector_tower.h"

namespace vlm2vec {

ProjectorTowerSpec llava_tower(const VisionConfig& config) {
  const std::string projector = "model.multi_modal_projector.";
  return {"model.vision_tower.",       projector + "linear_1",  projector + "linear_2",
          config.projector_activation, {"model.image_newline"}, false};
}

namespace {

void parameters(ParameterTable& table, const ModelConfig& config) {
  projector_tower_parameters(table, config.vision, llava_tower(config.vision));
  table.vector("model.image_newline", config.vision.output_size);
  text_parameters(table, config.text, "model.language_model.");
}

// transformers 5 has no `vision_model.` in memory, and takes the decoder's `model.` out; what it saves is `saved-5`.
std::vector<Naming> namings() {
  const std::string tower = "model.vision_tower.", projector = "model.multi_modal_projector.",
                    newline = "model.image_newline", text = "model.language_model.", head = "lm_head.";
  const auto naming = [&](const char* name, const char* t, const char* p, const char* n, const char* l, const char* h) {
    return Naming{name, {{tower, t}, {projector, p}, {newline, n}, {text, l}, {head, h}}};
  };
  return {naming("transformers-5", "model.vision_tower.", "model.multi_modal_projector.", "model.image_newline",
                 "model.language_model.", "lm_head."),
          naming("transformers-4.52", "model.vision_tower.vision_model.", "model.multi_modal_projector.",
                 "model.image_newline", "model.language_model.", "lm_head."),
          naming("transformers-4", "vision_tower.vision_model.", "multi_modal_projector.", "image_newline",
                 "language_model.model.", "language_model.lm_head."),
          naming("saved-5", "vision_tower.", "multi_modal_projector.", "image_newline", "language_model.model.",
                 "language_model.lm_head."),
          naming("bare", "vision_tower.", "multi_modal_projector.", "image_newline", "language_model.", "lm_head.")};
}

}  // namespace

const Family kLlavaNext{"llava_next", "model.language_model.", parameters, namings()};

}  // namespace vlm2vec

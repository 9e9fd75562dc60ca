// Text decoders by themselves (models: Qwen2ForCausalLM, Qwen3ForCausalLM, MistralForCausalLM, Phi3ForCausalLM), and
// without a head (Qwen2Model and so on), whose names have no `model.`.
#include "model/family.h"

namespace vlm2vec {

namespace {

const char *const kModel = "model.", *const kHead = "lm_head.";

void parameters(ParameterTable& table, const ModelConfig& config) { text_parameters(table, config.text, kModel); }

Family decoder(const char* name) {
  return {name,
          kModel,
          parameters,
          {{"transformers-5", {{kModel, kModel}, {kHead, kHead}}}, {"bare", {{kModel, ""}, {kHead, kHead}}}}};
}

}  // namespace

const Family kQwen2 = decoder("qwen2"), kQwen3 = decoder("qwen3"), kMistral = decoder("mistral"),
             kPhi3 = decoder("phi3");

}  // namespace vlm2vec

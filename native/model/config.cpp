#include "model/config.h"

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace vlm2vec {

namespace {

Activation activation_of(const std::string& name) {
  if (name == "quick_gelu") return Activation::GeluQuick;
  if (name == "gelu") return Activation::GeluErf;
  if (name == "gelu_pytorch_tanh") return Activation::GeluTanh;
  if (name == "silu") return Activation::Silu;
  fail("E_MODEL", "config: unknown activation ", name);
}

}  // namespace

ModelConfig ModelConfig::from_json(const nlohmann::json& json) {
  ModelConfig config;
  try {
    config.family = json.at("family").get<std::string>();
    require(config.family == "qwen2_vl", "E_MODEL", "config: no engine for the model family ", config.family);
    const auto& text = json.at("text");
    config.text = {text.at("vocabSize"),
                   text.at("hiddenSize"),
                   text.at("intermediateSize"),
                   text.at("layers"),
                   text.at("heads"),
                   text.at("kvHeads"),
                   text.at("headSize"),
                   text.at("rmsNormEps"),
                   text.at("ropeTheta"),
                   {}};
    for (int i = 0; i < 3; ++i) config.text.mrope_section[i] = text.at("mropeSection").at(size_t(i)).get<int>();
    const auto& vision = json.at("vision");
    config.vision = {vision.at("depth"),
                     vision.at("embedDim"),
                     vision.at("heads"),
                     vision.at("intermediateSize"),
                     vision.at("inChannels"),
                     vision.at("patchSize"),
                     vision.at("temporalPatchSize"),
                     vision.at("mergeSize"),
                     vision.at("outputSize"),
                     activation_of(vision.at("activation").get<std::string>())};
    config.image_token = json.at("tokens").at("image");
    config.video_token = json.at("tokens").at("video");
  } catch (const nlohmann::json::exception& error) {
    fail("E_MODEL", "config: ", error.what());
  }
  const TextConfig& t = config.text;
  const VisionConfig& v = config.vision;
  require(t.vocab_size > 0 && t.hidden_size > 0 && t.intermediate_size > 0 && t.layers > 0 && t.heads > 0 &&
              t.kv_heads > 0 && t.head_size > 0 && v.depth >= 0 && v.embed_dim > 0 && v.heads > 0 && v.patch_size > 0 &&
              v.temporal_patch_size > 0 && v.merge_size > 0 && v.in_channels > 0 && v.intermediate_size > 0,
          "E_MODEL", "config: a size is not positive");
  require(t.heads % t.kv_heads == 0, "E_MODEL", "config: ", t.heads, " attention heads are no multiple of ", t.kv_heads,
          " key-value heads");
  require(t.head_size % 2 == 0 && t.mrope_section[0] + t.mrope_section[1] + t.mrope_section[2] == t.head_size / 2,
          "E_MODEL", "config: mrope_section does not add up to half of the head size ", t.head_size);
  require(v.embed_dim % v.heads == 0 && (v.embed_dim / v.heads) % 4 == 0, "E_MODEL", "config: vision width ",
          v.embed_dim, " with ", v.heads, " heads: the head size must be a whole multiple of 4");
  require(v.output_size == t.hidden_size, "E_MODEL", "config: the vision tower puts out ", v.output_size,
          " values, the text model takes ", t.hidden_size);
  return config;
}

}  // namespace vlm2vec

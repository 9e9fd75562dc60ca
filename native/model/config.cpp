#include "model/config.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "model/family.h"

namespace vlm2vec {

namespace {

// One of a list of names; E_MODEL lists nothing: the reader in TypeScript has checked.
template <typename T>
T named(const char* what, const std::string& name, std::initializer_list<std::pair<const char*, T>> known) {
  for (const auto& [each, value] : known)
    if (name == each) return value;
  fail("E_MODEL", "config: unknown ", what, " ", name);
}

Activation activation_of(const std::string& name) {
  return named<Activation>("activation", name,
                           {{"quick_gelu", Activation::GeluQuick},
                            {"gelu", Activation::GeluErf},
                            {"gelu_pytorch_tanh", Activation::GeluTanh},
                            {"silu", Activation::Silu}});
}

RopeConfig read_rope(const nlohmann::json& json) {
  RopeConfig rope;
  rope.kind = named<RopeConfig::Kind>("rope kind", json.at("kind"),
                                      {{"sections", RopeConfig::Kind::Sections},
                                       {"interleaved", RopeConfig::Kind::Interleaved},
                                       {"plain", RopeConfig::Kind::Plain}});
  rope.theta = json.at("theta");
  if (rope.kind != RopeConfig::Kind::Plain)
    for (int i = 0; i < 3; ++i) rope.sections[i] = json.at("sections").at(size_t(i)).get<int>();
  if (json.contains("longRope")) {
    const auto& factors = json.at("longRope");
    rope.short_factors = factors.at("short").get<std::vector<double>>();
    rope.long_factors = factors.at("long").get<std::vector<double>>();
    rope.original_positions = factors.at("originalPositions");
    rope.attention_factor = factors.at("attentionFactor");
  }
  return rope;
}

TextConfig read_text(const nlohmann::json& json) {
  TextConfig text{
      json.at("vocabSize"),     json.at("hiddenSize"), json.at("intermediateSize"), json.at("layers"),
      json.at("heads"),         json.at("kvHeads"),    json.at("headSize"),         json.at("rmsNormEps"),
      json.at("attentionBias"), json.at("qkNorm"),     json.at("fusedProjections"), read_rope(json.at("rope"))};
  text.causal = json.value("causal", true);
  return text;
}

VisionConfig read_vision(const nlohmann::json& json) {
  VisionConfig vision{named<VisionKind>("vision kind", json.at("kind"),
                                        {{"qwen2", VisionKind::Qwen2},
                                         {"qwen2_5", VisionKind::Qwen2_5},
                                         {"qwen3", VisionKind::Qwen3},
                                         {"llava", VisionKind::Llava},
                                         {"phi3", VisionKind::Phi3},
                                         {"dual", VisionKind::Dual}}),
                      json.at("depth"),
                      json.at("embedDim"),
                      json.at("heads"),
                      json.at("intermediateSize"),
                      json.at("inChannels"),
                      json.at("patchSize"),
                      json.at("temporalPatchSize"),
                      json.at("mergeSize"),
                      json.at("outputSize"),
                      activation_of(json.at("activation")),
                      json.at("normEps")};
  vision.window_size = json.value("windowSize", int64_t(0));
  vision.full_attention_blocks = json.value("fullAttentionBlocks", std::vector<int64_t>());
  vision.position_embeddings = json.value("positionEmbeddings", int64_t(0));
  vision.deepstack_blocks = json.value("deepstackBlocks", std::vector<int64_t>());
  vision.separators = json.value("separators", int64_t(0));
  vision.class_token = json.value("classToken", false);
  vision.feature_blocks = json.value("featureBlocks", vision.depth);
  vision.pooled = vision.kind == VisionKind::Dual;
  vision.projector_bias = json.value("projectorBias", true);
  vision.projector_activation = activation_of(json.value("projectorActivation", "gelu"));
  return vision;
}

void read_tower(const nlohmann::json& json, TextConfig& text) {
  text.position_embeddings = json.at("positionEmbeddings");
  text.activation = activation_of(json.at("activation"));
}

void check_text(const TextConfig& t) {
  const RopeConfig& rope = t.rope;
  require(t.vocab_size > 0 && t.hidden_size > 0 && t.intermediate_size > 0 && t.layers > 0 && t.heads > 0 &&
              t.kv_heads > 0 && t.head_size > 0,
          "E_MODEL", "config: a size of the text model is not positive");
  require(t.heads % t.kv_heads == 0, "E_MODEL", "config: ", t.heads, " attention heads are no multiple of ", t.kv_heads,
          " key-value heads");
  require(t.head_size % 2 == 0, "E_MODEL", "config: the head size ", t.head_size, " is not even");
  require(rope.kind != RopeConfig::Kind::Sections ||
              rope.sections[0] + rope.sections[1] + rope.sections[2] == t.head_size / 2,
          "E_MODEL", "config: mrope_section does not add up to half of the head size ", t.head_size);
  for (const auto* factors : {&rope.short_factors, &rope.long_factors})
    require(factors->empty() || int64_t(factors->size()) == t.head_size / 2, "E_MODEL", "config: ", factors->size(),
            " LongRoPE factors, expected half of the head size ", t.head_size);
  require(rope.short_factors.empty() == rope.long_factors.empty(), "E_MODEL",
          "config: LongRoPE needs short and long factors");
}

void check_vision(const VisionConfig& v) {
  require(v.depth >= 0 && v.embed_dim > 0 && v.heads > 0 && v.patch_size > 0 && v.temporal_patch_size > 0 &&
              v.merge_size > 0 && v.in_channels > 0 && v.intermediate_size > 0 && v.output_size > 0,
          "E_MODEL", "config: a size of the vision tower is not positive");
  require(v.embed_dim % v.heads == 0 && v.head_size() % 4 == 0, "E_MODEL", "config: vision width ", v.embed_dim,
          " with ", v.heads, " heads: the head size must be a whole multiple of 4");
  require(v.feature_blocks >= 0 && v.feature_blocks <= v.depth, "E_MODEL", "config: features of block ",
          v.feature_blocks, " of ", v.depth);
  const bool clip = v.kind == VisionKind::Llava || v.kind == VisionKind::Phi3 || v.kind == VisionKind::Dual;
  require(!clip || v.position_embeddings > int64_t(v.class_token), "E_MODEL", "config: a tower of ",
          v.position_embeddings, " positions");
  require(v.kind != VisionKind::Qwen2_5 || v.window_size >= v.merge_size * v.patch_size, "E_MODEL",
          "config: an attention window of ", v.window_size, " pixels is smaller than a feature");
  require(v.kind != VisionKind::Qwen3 || v.position_embeddings > 0, "E_MODEL", "config: no learned positions");
  for (const auto* blocks : {&v.full_attention_blocks, &v.deepstack_blocks})
    for (int64_t block : *blocks)
      require(block >= 0 && block < v.depth, "E_MODEL", "config: there is no vision block ", block, " of ", v.depth);
}

}  // namespace

ModelConfig ModelConfig::from_json(const nlohmann::json& json) {
  ModelConfig config;
  try {
    config.family = json.at("family").get<std::string>();
    find_family(config.family);
    config.text = read_text(json.at("text"));
    if (json.contains("vision")) config.vision = read_vision(json.at("vision"));
    if (config.dual()) read_tower(json.at("text"), config.text);
    config.image_token = json.at("tokens").at("image");
    config.video_token = json.at("tokens").value("video", -1);
    config.numbered_pictures = json.at("tokens").value("numbered", false);
  } catch (const nlohmann::json::exception& error) {
    fail("E_MODEL", "config: ", error.what());
  }
  check_text(config.text);
  if (!config.takes_pictures()) return config;
  check_vision(config.vision);
  require(config.dual() || config.vision.output_size == config.text.hidden_size, "E_MODEL",
          "config: the vision tower puts out ", config.vision.output_size, " values, the text model takes ",
          config.text.hidden_size);
  return config;
}

}  // namespace vlm2vec

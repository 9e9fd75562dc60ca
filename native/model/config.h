// The plain numbers of one architecture, as src/model/config.ts reads them from config.json and passes them on.
// B sequences, T packed tokens, C hidden width, L layers, NH query heads, NKV key-value heads, HS head size, F MLP
// width, V vocabulary, P patches, PD values a patch, E vision width.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "ops/gelu.h"

namespace vlm2vec {

struct TextConfig {
  int64_t vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_size;
  float rms_norm_eps;
  double rope_theta;
  int mrope_section[3];  // rotary frequencies that turn by time, height and width; they add up to head_size / 2
};

struct VisionConfig {
  int64_t depth, embed_dim, heads, intermediate_size, in_channels, patch_size, temporal_patch_size, merge_size,
      output_size;
  Activation activation;

  int64_t patch_values() const { return in_channels * temporal_patch_size * patch_size * patch_size; }  // PD
  int64_t merged() const { return merge_size * merge_size; }  // patches that become one token
};

struct ModelConfig {
  std::string family;
  TextConfig text;
  VisionConfig vision;
  int32_t image_token, video_token;

  // Throws E_MODEL for a family that has no parameter table, and for sizes that do not fit each other.
  static ModelConfig from_json(const nlohmann::json& json);
};

}  // namespace vlm2vec

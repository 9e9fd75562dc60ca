// The plain numbers of a model, as src/model/config.ts reads them from config.json and passes them on.
// B sequences, T packed tokens, C hidden width, L layers, NH query heads, NKV key-value heads, HS head size, F MLP
// width, V vocabulary, P patches, PD values a patch, E vision width.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ops/gelu.h"

namespace vlm2vec {

// How the text decoder turns queries and keys by position.
struct RopeConfig {
  enum class Kind {
    Sections,     // M-RoPE: the first sections[0] frequencies turn by time, then by height, then by width (Qwen2-VL)
    Interleaved,  // M-RoPE: time, height, width in turn while sections[1] and [2] last, then time (Qwen3-VL)
    Plain         // one position a token: the first of the three
  };
  Kind kind;
  double theta;
  int sections[3] = {};  // add up to HS / 2
  // LongRoPE (Plain only): each frequency is divided by a factor, a long one where the sequence is longer than
  // `original_positions`; cos and sin are multiplied by `attention_factor`. Empty: none.
  std::vector<double> short_factors, long_factors;
  int64_t original_positions = 0;
  double attention_factor = 1;
};

struct TextConfig {
  int64_t vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_size;  // head_size need not be C/NH
  float rms_norm_eps;
  bool attention_bias;     // of q, k and v
  bool qk_norm;            // RMSNorm of each query and key head before it is turned
  bool fused_projections;  // qkv_proj and gate_up_proj, as Phi-3 has them
  RopeConfig rope;
  // text towers of dual encoders: learned positions in place of rotary ones; rms_norm_eps is that of LayerNorm
  int64_t position_embeddings = 0;
  Activation activation = Activation::Silu;
  bool causal = true;
};

enum class VisionKind {
  None,  // a text decoder by itself
  Qwen2,
  Qwen2_5,
  Qwen3,
  Llava,  // CLIP and a projector
  Phi3,
  Dual  // CLIP's or SigLIP's own
};

struct VisionConfig {
  VisionKind kind = VisionKind::None;
  int64_t depth = 0, embed_dim = 0, heads = 1, intermediate_size = 0, in_channels = 0, patch_size = 0,
          temporal_patch_size = 0, merge_size = 1, output_size = 0;
  Activation activation = Activation::Silu;
  float norm_eps = 0;
  // Qwen2.5: side of an attention window in pixels, and the blocks that attend beyond it
  int64_t window_size = 0;
  std::vector<int64_t> full_attention_blocks{};
  // Qwen3, CLIP: learned positions (Qwen3: of which the largest square is used; CLIP: a square number, and the class
  // token); Qwen3: the blocks whose output enters the first text layers
  int64_t position_embeddings = 0;
  std::vector<int64_t> deepstack_blocks{};
  // learned vectors that may stand between features (Batch::feature_rows)
  int64_t separators = 0;
  // CLIP: a class token and pre_layrnorm (else a bias of the patches), the blocks that are computed, and whether the
  // whole tower is, post_layernorm and pooling included
  bool class_token = false;
  int64_t feature_blocks = 0;
  bool pooled = false;
  // of the projector behind it
  bool projector_bias = true;
  Activation projector_activation = Activation::GeluErf;

  int64_t head_size() const { return embed_dim / heads; }
  int64_t patch_values() const { return in_channels * temporal_patch_size * patch_size * patch_size; }  // PD
  int64_t merged() const { return merge_size * merge_size; }  // patches that become one feature
};

struct ModelConfig {
  std::string family;
  TextConfig text;
  VisionConfig vision;
  int32_t image_token, video_token;  // -1: the model has none
  bool numbered_pictures = false;    // tokens below zero stand for pictures, outside of the vocabulary (Phi-3-V)

  bool takes_pictures() const { return vision.kind != VisionKind::None; }
  // Two towers (model/dual_encoder.h) in place of a decoder.
  bool dual() const { return vision.kind == VisionKind::Dual; }
  bool is_placeholder(int32_t token) const {
    return token < 0 ? numbered_pictures : token == image_token || token == video_token;
  }

  // Throws E_MODEL for a family that has no parameter table, and for sizes that do not fit each other.
  static ModelConfig from_json(const nlohmann::json& json);
};

}  // namespace vlm2vec

// The vision transformer of CLIP and SigLIP (models: CLIPVisionModel, SiglipVisionModel): tiles of one size -> hidden
// states. A tile is one temporal slice of a picture's grid; its patches may come merge blocks first.
//   CLIP    h = pre_layrnorm([class; patches Wᵀ] + positions), then pre-norm blocks with biases everywhere
//   SigLIP  h = patches Wᵀ + b + positions, then the same blocks
#pragma once
#include "model/batch.h"
#include "model/block.h"

namespace vlm2vec {

class ParameterTable;

// A block of CLIP's or SigLIP's encoders, of text or vision; `encoder` is the prefix of their layers' modules.
struct ClipSizes {
  int64_t width, heads, mlp_width;
  float eps;
  Activation activation;
  bool causal;
};
BlockSpec clip_block(const ClipSizes& sizes, const std::string& encoder, int64_t index);
void clip_block_parameters(ParameterTable& table, const ClipSizes& sizes, const std::string& encoder, int64_t index);
ClipSizes clip_sizes(const VisionConfig& config);

// All of a tower but its pooling head; `prefix` ends with a dot.
void clip_vision_parameters(ParameterTable& table, const VisionConfig& config, const std::string& prefix);

class ClipVision {
 public:
  struct Saved {
    BlockInputs inputs;
    Tensor row_ids;          // (M) i32 of dropout, or absent
    Tensor rows, positions;  // (M) i32: patch of the batch, -1 the class token; learned position
    Tensor embedded;         // (M, E) f32 before pre_layrnorm, CLIP only
    Norm::Saved pre_norm;
    Linear::Saved patch_embed;
    Stack<Block>::Saved blocks;
  };

  ClipVision(Weights& weights, const VisionConfig& config, const std::string& prefix);

  // M: patches, and a class token for each tile.
  int64_t rows(const Batch& batch) const { return batch.patch_count() / tile_ * (tile_ + config_.class_token); }
  int64_t tile_rows() const { return tile_ + config_.class_token; }
  // Hidden states (M, E) f32 in the scratch memory: tile after tile, the class token first.
  Tensor forward(const Context& context, const Batch& batch, Saved& saved, bool keep, size_t memory) const;
  // dh (M, E) f32 is overwritten.
  void backward(const Context& context, Tensor dh, Saved& saved) const;
  // x (P, E) of h (M, E): the class tokens left out; and dh += the rows of dx.
  Tensor patches(const Context& context, Tensor h, const Saved& saved) const;
  void patches_backward(const Context& context, Tensor dh, Tensor dx, const Saved& saved) const;

  bool trains();
  template <typename F>
  void each_linear(const F& f) {
    f(patch_embed_);
    for (auto& block : stack_.blocks) block.each_linear(f);
  }

 private:
  void arrange(const Context& context, const Batch& batch, Saved& saved) const;
  Tensor patch_rows(const Context& context, const Saved& saved) const;
  Context hidden(const Context& context, const Saved& saved) const;

  VisionConfig config_;
  int64_t tile_;  // patches of a tile
  Linear patch_embed_;
  Parameter* class_ = nullptr;
  Parameter* positions_;
  Norm pre_norm_;
  Stack<Block> stack_;
};

PassBytes clip_vision_bytes(const VisionConfig& config, DType compute, int64_t patches);

}  // namespace vlm2vec

// Two towers into one space (models: CLIPModel, SiglipModel). A sequence of a batch is the tokens of its text, then a
// placeholder for each of its pictures; either part may be missing:
//   text_b   = projection(final_layer_norm(h at the last text token of b))
//   image_i  = CLIP: visual_projection(post_layernorm(h at the class token))
//              SigLIP: the pooling head on post_layernorm(h): y = out_proj(attention(probe, h, h)); y +
//              mlp(layernorm(y))
//   embedding_b = l2_normalise(text_b + mean of its image_i): added as they are, with equal weight, as VLM2Vec's
//   evaluation of its baselines does
// Embedding only: there is no backward pass.
#pragma once
#include "model/clip_vision.h"
#include "model/engine.h"

namespace vlm2vec {

class DualEncoder : public Engine {
 public:
  explicit DualEncoder(Weights& weights);
  int64_t dimension() const override { return text_projection_.n(); }
  int64_t hidden_size() const override { return config_.text.hidden_size; }
  // last_hidden: zero at placeholders
  Tensor embed(const Context& context, const Batch& batch, Tensor last_hidden) const override;
  size_t packed_bytes() override;

 private:
  // The text part of each sequence.
  struct Texts {
    std::vector<int32_t> tokens, positions, starts{0}, rows;  // rows: their places among the batch's tokens
    std::vector<int64_t> sequences;                           // of the batch, that have one
  };
  Texts texts(const Batch& batch) const;
  void encode_texts(const Context& context, Tensor out, const Texts& texts, Tensor last_hidden) const;
  void encode_pictures(const Context& context, Tensor out, const Batch& batch) const;
  void pool_pictures(const Context& context, Tensor out, Tensor h, const ClipVision::Saved& saved) const;
  template <typename F>
  void each_linear(const F& f) {
    vision_.each_linear(f);
    for (auto& block : text_.blocks) block.each_linear(f);
    f(text_projection_);
    if (has_head()) {
      f(head_in_);
      f(head_out_);
      head_mlp_.each_linear(f);
    } else {
      f(visual_projection_);
    }
  }
  bool has_head() const { return !config_.vision.class_token; }

  ModelConfig config_;
  ClipVision vision_;
  Norm post_norm_;
  Stack<Block> text_;
  Parameter *tokens_, *positions_;
  Norm final_norm_;
  Linear text_projection_, visual_projection_;
  // SigLIP's pooling head
  Parameter* probe_ = nullptr;
  Linear head_in_, head_out_;
  Norm head_norm_;
  Mlp head_mlp_;
};

// The parameters of both towers.
void dual_encoder_parameters(ParameterTable& table, const ModelConfig& config);

}  // namespace vlm2vec

// The whole model: vision -> scatter -> text -> pool -> normalise; and the mirror image of it.
//   embedding_b = l2_normalise(rmsnorm(h at the last token of b))
#pragma once
#include "model/engine.h"
#include "model/text.h"
#include "model/vision.h"

namespace vlm2vec {

class Encoder : public Engine {
 public:
  // What backward needs; lives in the pass's scratch memory.
  struct Saved {
    std::unique_ptr<VisionTower::Saved> vision;
    BlockInputs text_inputs;
    Stack<Block>::Saved layers;                // all but the last
    Tensor last_input;                         // (T, C) f32
    Block::Saved last;                         // of the last layer, for pooled tokens
    Tensor rows;                               // (N) i32 placeholder rows
    Tensor ending_sequences, ending_features;  // (K) i32 sequences that end with a placeholder, and its number
    Tensor pooled, rstd, embeddings, norm;     // (B, C) before the final norm, (B), (B, C), (B)
  };

  explicit Encoder(Weights& weights);

  int64_t dimension() const override { return config_.text.hidden_size; }
  int64_t hidden_size() const override { return config_.text.hidden_size; }
  Tensor embed(const Context& context, const Batch& batch, Tensor last_hidden) const override {
    return encode(context, batch, encode_images(context, batch, nullptr, 0), nullptr, 0, last_hidden);
  }

  // Image features (levels N, C) f32, allocated in the pass's scratch memory; absent where the batch has no pictures.
  Tensor encode_images(Context context, const Batch& batch, Saved* saved, size_t memory) const;
  // Embeddings (B, C) f32, allocated in the scratch memory. last_hidden (T, C) f32, the final norm of every token, or
  // absent.
  Tensor encode(Context context, const Batch& batch, Tensor features, Saved* saved, size_t memory,
                Tensor last_hidden) const;
  // Adds gradients to the trained parameters. with_vision: `saved` holds the vision tower's pass too, and its rows have
  // the ids patch_ids (dropout).
  void backward(Context context, Tensor patch_ids, const Batch& batch, Tensor dembeddings, Saved& saved,
                bool with_vision) const;

  bool vision_trains() const { return vision_trains_; }
  // Rows of the features of a batch.
  int64_t feature_rows(const Batch& batch) const { return vision_->levels() * batch.feature_count(config_.vision); }
  void invalidate();  // after an optimizer step
  size_t packed_bytes() override;
  size_t layer_bytes(int64_t tokens, DType compute) const { return layers_.blocks[0].saved_bytes(tokens, compute); }
  // How a limit of `memory` bytes on kept activations is split between tower and text: the tower's share.
  size_t vision_share(const Batch& batch, DType compute, size_t memory) const;

 private:
  void add_last_level(Arena& arena, const Batch& batch, Tensor features, Saved& saved) const;
  template <typename F>
  void each_linear(const F& f) {
    vision_->each_linear(f);
    for (auto& layer : layers_.blocks) layer.each_linear(f);
  }

  ModelConfig config_;
  std::unique_ptr<VisionTower> vision_;
  Parameter *embed_tokens_, *norm_;
  Stack<Block> layers_;
  bool vision_trains_;
};

// Bytes that one pass over a chunk keeps for backward, everything kept, and the least if all blocks are recomputed.
struct ActivationBytes {
  size_t all, least;
  size_t inputs;  // of the text model alone: inputs of its layers, and what the last layer keeps
};
ActivationBytes activation_bytes(const ModelConfig& config, DType compute, int64_t tokens, int64_t patches,
                                 bool with_vision);

}  // namespace vlm2vec

// The whole model: vision -> scatter -> text -> pool -> normalise; and the mirror image of it.
//   embedding_b = l2_normalise(rmsnorm(h at the last token of b))
#pragma once
#include "model/engine.h"
#include "model/placement.h"
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
    bool last_recomputed = false;              // chosen by the caller: nothing of the last layer is kept but its input
    Block::Saved last;                         // of the last layer, for pooled tokens
    Tensor rows;                               // (N) i32 placeholder rows
    Tensor ending_sequences, ending_features;  // (K) i32 sequences that end with a placeholder, and its number
    Tensor pooled, rstd, embeddings, norm;     // (B, C) before the final norm, (B), (B, C), (B)
  };

  explicit Encoder(Weights& weights);

  int64_t dimension() const override { return config_.text.hidden_size; }
  int64_t hidden_size() const override { return config_.text.hidden_size; }
  Tensor embed(const Context& context, const Batch& batch, Tensor last_hidden) const override {
    const Tensor own = encode_images(context, batch, nullptr, 0);
    return encode(context, batch, place_features(context, shape_, batch, own, {}), nullptr, 0, last_hidden);
  }

  // Features of the batch's own pictures (levels M + S, C) f32, allocated in the pass's scratch memory; absent where it
  // has none.
  Tensor encode_images(Context context, const Batch& batch, Saved* saved, size_t memory) const;
  // Embeddings (B, C) f32, allocated in the scratch memory. features (levels N, C) f32 as they are placed, or absent.
  // last_hidden (T, C) f32, the final norm of every token, or absent.
  Tensor encode(Context context, const Batch& batch, Tensor features, Saved* saved, size_t memory,
                Tensor last_hidden) const;
  // Adds gradients to the trained parameters. Where the tower trains, `saved` holds its pass over the batch's own
  // pictures too, whose rows have the ids patch_ids (dropout).
  void backward(Context context, Tensor patch_ids, const Batch& batch, Tensor dembeddings, Saved& saved,
                const Sharing& sharing) const;

  bool vision_trains() const { return vision_trains_; }
  const FeatureShape& feature_shape() const { return shape_; }
  // Rows of what `encode_images` gives.
  int64_t own_rows(const Batch& batch) const { return shape_.rows(batch.own_features(config_.vision)); }
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
  FeatureShape shape_;
  Parameter *embed_tokens_, *norm_;
  Stack<Block> layers_;
  bool vision_trains_;
};

// Bytes that one pass over a chunk keeps for backward, everything kept, and the least if all blocks are recomputed.
struct ActivationBytes {
  size_t all, least;
};
ActivationBytes activation_bytes(const ModelConfig& config, DType compute, int64_t tokens, int64_t patches,
                                 bool with_vision);

// The text model's bytes where a first pass keeps the inputs of every `stride`-th layer for a second one, which
// recomputes `stride` layers at a time: for all tokens of the step, and while a chunk is gone through.
struct KeptInputs {
  size_t stride, step, chunk;
  size_t bytes() const { return step + chunk; }
};
KeptInputs kept_inputs(const ModelConfig& config, DType compute, size_t stride, int64_t step_tokens,
                       int64_t chunk_tokens);
// The stride that takes the least.
KeptInputs least_inputs(const ModelConfig& config, DType compute, int64_t step_tokens, int64_t chunk_tokens);

}  // namespace vlm2vec

// Learned positions of Qwen3's vision tower: a square grid of vectors, resampled to the grid of each picture.
#pragma once
#include "model/batch.h"
#include "model/context.h"
#include "model/weights.h"

namespace vlm2vec {

class LearnedPositions {
 public:
  struct Saved {
    Tensor index, weight;  // (P, 4)
  };

  LearnedPositions() = default;
  LearnedPositions(Weights& weights, const std::string& parameter, const VisionConfig& config);
  bool trains() const { return table_ && table_->trained(); }
  // h (P, E) f32, added to; `positions` 2 x P as in Arrangement.
  void forward(const Context& context, Tensor h, const std::vector<int32_t>& positions, const Batch& batch,
               Saved& saved) const;
  void backward(Tensor dh, const Saved& saved) const;
  explicit operator bool() const { return table_ != nullptr; }

 private:
  Parameter* table_ = nullptr;
  int64_t side_ = 0;
};

}  // namespace vlm2vec

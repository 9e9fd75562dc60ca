// The merger of Qwen's vision towers: merge x merge neighbouring patches become one feature.
#pragma once
#include "model/qwen_tower.h"

namespace vlm2vec {

class Merger {
 public:
  struct Saved {
    Tensor h;  // (P, E) input
    Norm::Saved norm;
    Mlp::Saved mlp;
  };

  Merger() = default;
  Merger(Weights& weights, const MergerSpec& spec, const VisionConfig& config);
  bool trains() const { return norm_.trains(); }
  // features (P / merged, C) f32, h (P, E) f32. The rows of `context` are those of the patches.
  void forward(const Context& context, Tensor features, Tensor h, Saved& saved, bool keep) const;
  // dh (P, E) f32, added to.
  void backward(const Context& context, Tensor dh, Tensor dfeatures, const Saved& saved) const;
  template <typename F>
  void each_linear(const F& f) {
    mlp_.each_linear(f);
  }

 private:
  Tensor merged(Tensor x) const { return x.reshape({x.size() / width_, width_}); }
  Tensor normed(Tensor x) const { return x.reshape({x.size() / norm_.width(), norm_.width()}); }

  int64_t width_ = 0, merged_ = 1;  // of a merged row; patches in it
  Norm norm_;
  Mlp mlp_;
};

}  // namespace vlm2vec

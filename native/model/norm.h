// A norm of a checkpoint: LayerNorm where it has a bias, else RMSNorm.
#pragma once
#include "model/context.h"
#include "model/weights.h"

namespace vlm2vec {

class Norm {
 public:
  struct Saved {
    Tensor mean, rstd;  // (M) f32; RMSNorm has no mean
  };

  Norm() = default;
  Norm(Weights& weights, const std::string& module, float eps);

  int64_t width() const { return weight_->spec.n(); }
  bool trains() const { return weight_->trained(); }
  // out (M, C) f32 or bf16, x (M, C). The statistics are allocated in the scratch memory.
  void forward(const Context& context, Tensor out, Tensor x, Saved& saved) const;
  // dx (M, C) f32, added to; dout (M, C) f32 or bf16.
  void backward(Tensor dx, Tensor dout, Tensor x, const Saved& saved) const;

 private:
  Parameter* weight_ = nullptr;
  Parameter* bias_ = nullptr;
  float eps_ = 0;
};

}  // namespace vlm2vec

// A linear layer y = x Wᵀ + b with an optional LoRA or DoRA adapter (Hu et al. 2022; Liu et al. 2024;
// peft.tuners.lora):
//   LoRA  y = x Wᵀ + b + s (x Aᵀ) Bᵀ
//   DoRA  y = c ∘ z + b,  z = x Wᵀ + s (x Aᵀ) Bᵀ,  c = m / |W + s B A| per output row, the norm a constant in backward
// With dropout the adapter sees d(x) instead of x; DoRA then is y = x Wᵀ - d(x) Wᵀ + c ∘ z + b with z made of d(x), as
// PEFT has it.
#pragma once
#include "model/context.h"
#include "model/weights.h"
#include "ops/matmul.h"

namespace vlm2vec {

class Linear {
 public:
  // What backward needs. Lives in the pass's scratch memory.
  struct Saved {
    Tensor x;        // (M, K) input
    Tensor dropped;  // (M, K) d(x), or absent: x itself
    Tensor u;        // (M, R) s d(x) Aᵀ
    Tensor z;        // (M, N) f32, DoRA only
  };

  Linear() = default;
  // Where W does not stay (Weights::resident) it is packed or quantized here and its plain values are given back.
  Linear(Weights& weights, const std::string& module);
  // Of single parameters that outlive it (bench): no bias, no DoRA.
  Linear(Parameter& weight, Adapter* adapter);

  int64_t n() const { return weight_.n(); }
  int64_t k() const { return weight_.k(); }

  // out (M, N) = y, or out += y for an f32 out. x (M, K) of the compute type. `saved` null: nothing is kept. u (M, R):
  // s x Aᵀ, where it has been computed already.
  void forward(const Context& context, Tensor out, Tensor x, bool accumulate, Saved* saved, Tensor u = {}) const;
  // dx (M, K) = gradient of x, or += for an f32 dx; absent: not wanted. dout (M, N) of the compute type.
  void backward(const Context& context, Tensor dx, Tensor dout, const Saved& saved, bool accumulate) const;

  // The steps of `backward` for a layer with an adapter and no dropout, of which a LinearGroup does the others for
  // several layers at once: the gradients of z and u, and those of all parameters but A; then dx.
  struct Upstream {
    Tensor dz, du;  // (M, N), (M, R)
  };
  Upstream backward_outputs(const Context& context, Tensor dout, const Saved& saved) const;
  void backward_input(Tensor dx, Tensor dz, bool accumulate, LowRank low_rank) const {
    matmul_backward_x(dx, dz, weight_, accumulate, low_rank);
  }

  // After an optimizer step: packed copies are stale, DoRA's norms too.
  void invalidate();
  bool trains() const;
  bool adapted() const { return adapter_ != nullptr; }
  const Adapter* adapter() const { return adapter_; }
  int64_t version() const { return version_; }  // of the adapter's weights: counts `invalidate`
  size_t packed_bytes() const;

 private:
  void forward_adapter(const Context& context, Tensor out, Tensor x, bool accumulate, Saved& saved, Tensor u) const;
  void refresh_dora() const;
  void dora_norm_to(Tensor norm) const;
  Tensor dropped_input(const Context& context, Tensor x) const;
  Tensor bias() const { return bias_ ? bias_->value : Tensor(); }

  Parameter* parameter_ = nullptr;
  Parameter* bias_ = nullptr;
  Adapter* adapter_ = nullptr;
  Weight weight_;
  Weight a_, b_;                 // of the adapter
  std::shared_ptr<Arena> dora_;  // norm and c
  Tensor norm_, c_;              // (N) f32
  mutable bool dora_stale_ = true;
  int64_t version_ = 0;
};

}  // namespace vlm2vec
